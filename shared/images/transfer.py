"""Copying images between places: a registry, an OCI layout, an archive, a build.

Why two small ports: every command of `wherry image` is "from here to there", so each place is written once as a source,
once as a target, and nothing knows the other side.
"""

from collections.abc import Callable
from typing import IO, Protocol

from shared.images import manifests
from shared.images.client import Document, Repository
from shared.images.errors import CorruptContent, UnsupportedImage
from shared.images.manifests import Descriptor, Index, Manifest, Platform

Report = Callable[[str], None]
"""Told one line for each step."""


class Source(Protocol):
    """Where an image comes from."""

    def document(self, version: str) -> Document:
        """A manifest or index by tag or digest."""

    def open(self, descriptor: Descriptor) -> IO[bytes]:
        """The bytes of a blob, not yet verified. The caller closes it."""

    def repository(self, registry: str) -> str:
        """The repository's name if the source is in this registry, else "": blobs can then be mounted."""


class Target(Protocol):
    """Where an image goes to."""

    def put_blob(self, descriptor: Descriptor, stream: Callable[[], IO[bytes]], mount_from: str) -> bool:
        """Store a blob, verified; False if it was there."""

    def put_manifest(self, version: str, document: Document) -> None:
        """Store a manifest or index whose blobs are all there."""

    @property
    def registry(self) -> str:
        """The registry this target is in, "" for a file."""

    @property
    def keeps_indexes(self) -> bool:
        """Whether it can hold a whole index or just one image."""


def copy(
    source: Source, version: str, target: Target, as_version: str, platform: Platform, report: Report = lambda _: None
) -> str:
    """Copy an image (or an index with all its images) and return the digest of what is stored as `as_version`."""
    document = source.document(version)
    parsed = manifests.parse(document.data, document.media_type, f"manifest {version}")
    if isinstance(parsed, Index) and not target.keeps_indexes:
        document = source.document(parsed.select(platform).digest)
        parsed = manifests.parse(document.data, document.media_type, f"manifest {document.digest}")
    _copy_content(source, target, parsed, report, depth=0)
    target.put_manifest(as_version, document)
    report(f"{as_version}: {document.digest}")
    return document.digest


def _copy_content(source: Source, target: Target, parsed: Manifest | Index, report: Report, depth: int) -> None:
    if isinstance(parsed, Index):
        if depth > 2:
            raise CorruptContent("indexes are nested too deep")
        for entry in parsed.manifests:
            document = source.document(entry.digest)
            inner = manifests.parse(document.data, document.media_type, f"manifest {entry.digest}")
            _copy_content(source, target, inner, report, depth + 1)
            target.put_manifest(document.digest, document)
        return
    mount_from = source.repository(target.registry) if target.registry else ""
    for descriptor in {d.digest: d for d in (*parsed.layers, parsed.config)}.values():
        sent = target.put_blob(descriptor, lambda d=descriptor: source.open(d), mount_from)  # type: ignore[misc]
        report(f"{descriptor.digest[:19]}: {'copied' if sent else 'exists'} ({descriptor.size} bytes)")


class RepositorySource:
    """A repository of a registry as a source."""

    def __init__(self, repository: Repository, registry: str) -> None:
        self._repository = repository
        self._registry = registry

    def document(self, version: str) -> Document:
        return self._repository.manifest(version)

    def open(self, descriptor: Descriptor) -> IO[bytes]:
        return self._repository.open_verified(descriptor)

    def repository(self, registry: str) -> str:
        return self._repository.name if registry == self._registry else ""


class RepositoryTarget:
    """A repository of a registry as a target."""

    keeps_indexes = True

    def __init__(self, repository: Repository, registry: str) -> None:
        self._repository = repository
        self.registry = registry

    def put_blob(self, descriptor: Descriptor, stream: Callable[[], IO[bytes]], mount_from: str) -> bool:
        return self._repository.push_blob(descriptor, stream, mount_from)

    def put_manifest(self, version: str, document: Document) -> None:
        self._repository.put_manifest(version, document.data, document.media_type)


def image_manifest(source: Source, version: str, platform: Platform) -> tuple[Document, Manifest]:
    """The manifest of one image, an index resolved for `platform`."""
    document = source.document(version)
    parsed = manifests.parse(document.data, document.media_type, f"manifest {version}")
    if isinstance(parsed, Index):
        document = source.document(parsed.select(platform).digest)
        parsed = manifests.parse(document.data, document.media_type, f"manifest {document.digest}")
    if isinstance(parsed, Index):
        raise UnsupportedImage(f"manifest {version} is an index of indexes")
    return document, parsed
