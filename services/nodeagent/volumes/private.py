"""A tmpfs of our own for the files of API objects, so that no secret reaches a disk wherever RUN may lie.

One mount for each pod, made before its first such volume and taken away with its volumes.
"""

import contextlib
import errno
from pathlib import Path

from shared.kernel import mounts, syscalls

_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV
# tmpfs(5): pages may otherwise be swapped to a disk; kernels before 6.4 do not know the option
_OPTIONS = ("mode=0755,noswap", "mode=0755")


def ensure(directory: Path) -> None:
    """Make `directory` a tmpfs if it is none yet. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    if mounts.is_mount_point(directory):
        return
    for options in _OPTIONS:
        with contextlib.suppress(OSError) if options != _OPTIONS[-1] else contextlib.nullcontext():
            syscalls.mount("tmpfs", str(directory), "tmpfs", _FLAGS, options)
            return
    raise OSError(errno.EINVAL, "tmpfs cannot be mounted", str(directory))


def remove(directory: Path) -> None:
    """Take the tmpfs away, if there is one."""
    if directory.exists():
        mounts.unmount_below(directory)
