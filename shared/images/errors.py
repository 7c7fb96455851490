"""What can go wrong with an image, in the words a kubelet uses for it.

Why subclasses: the agent must tell a wrong name (never retried) from a registry that is away (retried with back-off).

ImageError
├── InvalidReference      InvalidImageName
├── ImageNotFound         ErrImagePull, no candidate registry has it
├── ImageDenied           ErrImagePull, credentials missing or refused
├── RegistryUnavailable   RegistryUnavailable, network trouble or a 5xx
├── CorruptContent        ErrImagePull, a digest or a size does not match, or a document is malformed
├── UnsupportedImage      ErrImagePull, no such platform, media type or compression here
├── ImageNeverPull        ErrImageNeverPull
├── StorageFailure        ErrImagePull, the node's disk is full or refuses what a layer needs
└── BuildError            a Dockerfile or context that cannot be built
"""

from shared.errors import ImageError

__all__ = [
    "BuildError",
    "CorruptContent",
    "ImageDenied",
    "ImageError",
    "ImageNeverPull",
    "ImageNotFound",
    "InvalidReference",
    "RegistryUnavailable",
    "StorageFailure",
    "UnsupportedImage",
]


class InvalidReference(ImageError):
    """The text is not an image reference; `reason` is the kubelet's word for it."""

    reason = "InvalidImageName"


class ImageNotFound(ImageError):
    """No such repository, tag, manifest or blob."""

    reason = "ErrImagePull"


class ImageDenied(ImageError):
    """The registry wants other credentials (401 or 403)."""

    reason = "ErrImagePull"


class RegistryUnavailable(ImageError):
    """The registry cannot be reached or answers with a server error; worth a retry."""

    reason = "RegistryUnavailable"


class CorruptContent(ImageError):
    """Bytes do not match their digest or size, or a document cannot be parsed."""

    reason = "ErrImagePull"


class UnsupportedImage(ImageError):
    """A platform, media type or compression that this node cannot run or read."""

    reason = "ErrImagePull"


class ImageNeverPull(ImageError):
    """The policy is Never and the image is not on the node."""

    reason = "ErrImageNeverPull"


class StorageFailure(ImageError):
    """The node's file system cannot hold the image: full, read-only, or without device nodes and trusted xattrs."""

    reason = "ErrImagePull"


class BuildError(ImageError):
    """A Dockerfile or build context that cannot be built; the message names file and line."""

    reason = "BuildError"
