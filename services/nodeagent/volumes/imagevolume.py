"""Image volumes: the files of an image, read-only, as a directory of the pod (KEP-4639)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.images.model import Image
from services.nodeagent.layout import PodLayout
from shared.errors import ImageError
from shared.kernel import mounts, syscalls


class Images(Protocol):
    """The node's images; errors are ImageError."""

    async def ensure(
        self, reference: str, policy: Any = "IfNotPresent", auth: Sequence[Mapping[str, object]] | None = None
    ) -> Image: ...

    def find(self, reference: str) -> Image | None: ...
    def hold(self, image_id: str, holder: str) -> None: ...
    def release(self, holder: str) -> None: ...


class ImageUnavailable(ConfigurationError):
    """The image of a volume cannot be had; `reason` is what a container of that image would wait with."""

    def __init__(self, reference: str, reason: str, text: str) -> None:
        super().__init__(text)
        self.reference = reference
        self.reason = reason


def holder(uid: str) -> str:
    """Under which name a pod's volumes hold their images."""
    return f"volumes of {uid}"


async def prepare(
    images: Images,
    layout: PodLayout,
    name: str,
    source: Mapping[str, Any],
    secrets: Sequence[Mapping[str, object]],
) -> Path:
    """Pull the image and mount its layers. Raises ImageUnavailable, ConfigurationError or OSError."""
    reference = source.get("reference") or ""
    if not reference:
        raise ConfigurationError("image.reference is empty: name an image")
    policy = source.get("pullPolicy") or ("Always" if _is_latest(reference) else "IfNotPresent")
    try:
        image = await images.ensure(reference, policy, secrets)
    except ImageError as exc:
        raise ImageUnavailable(reference, getattr(exc, "reason", "ErrImagePull"), str(exc)) from exc
    images.hold(image.id, holder(layout.uid))
    target = layout.mount(name)
    target.mkdir(parents=True, exist_ok=True)
    if not mounts.is_mount_point(target):
        _mount(list(reversed(image.layers)), target)
    return target


def _mount(layers: list[Path], target: Path) -> None:
    if len(layers) == 1:
        # an overlay without an upper directory needs two lower ones (overlayfs.rst, "Multiple lower layers")
        flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
        mounts.bind(str(layers[0]), str(target))
        syscalls.mount("", str(target), "", flags)
        return
    fds = [os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in layers]
    try:
        # through descriptors, because the options of a mount have to fit into one page
        options = "lowerdir=" + ":".join(f"/proc/self/fd/{fd}" for fd in fds)
        flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
        syscalls.mount("overlay", str(target), "overlay", flags, options)
    finally:
        for fd in fds:
            os.close(fd)


def _is_latest(reference: str) -> bool:
    last = reference.rpartition("/")[2]
    return "@" not in last and (":" not in last or last.endswith(":latest"))
