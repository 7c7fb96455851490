"""Mounts of this mount namespace: reading them, making bind mounts, and removing all that lies below a path.

Reading is from /proc/thread-self/mountinfo (proc_pid_mountinfo(5)), whose paths escape blanks and backslashes as octal.
"""

from __future__ import annotations

import contextlib
import errno
import os

from shared.kernel import syscalls
from shared.records import frozen


@frozen
class MountPoint:
    """One line of mountinfo. `options` are the mount's own, `super_options` those of the file system."""

    id: int
    parent: int
    root: str
    target: str
    options: tuple[str, ...]
    tags: tuple[str, ...]
    kind: str
    source: str
    super_options: tuple[str, ...]

    @property
    def shared(self) -> bool:
        return any(tag.startswith("shared:") for tag in self.tags)


def _unescape(text: str) -> str:
    first, *escaped = text.split("\\")  # each with three octal digits
    return first + "".join([chr(int(part[:3], 8)) + part[3:] for part in escaped])


def parse_mountinfo(text: str, kinds: tuple[str, ...] = ()) -> list[MountPoint]:
    """The mounts in the kernel's order: a later one at the same target covers an earlier one. Only those of `kinds` of
    file systems, if any are given."""
    points = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, source, super_options = right.split(" ", 2)
        if kinds and kind not in kinds:
            continue
        number, parent, _device, root, target, options, *tags = left.split(" ")
        points.append(
            MountPoint(
                int(number),
                int(parent),
                _unescape(root),
                _unescape(target),
                tuple(options.split(",")),
                tuple(tag for tag in tags if tag),
                kind,
                _unescape(source),
                tuple(super_options.split(",")),
            )
        )
    return points


def mount_points(kinds: tuple[str, ...] = ()) -> list[MountPoint]:
    """As `parse_mountinfo`, of this thread's mount namespace."""
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mountinfo(file.read(), kinds)


def is_mount_point(path: str | os.PathLike[str]) -> bool:
    """Whether something is mounted exactly at `path` (which may be a file)."""
    target = os.path.realpath(path)
    return any(point.target == target for point in mount_points())


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    """Make `source` appear at `target` too; both are directories or both are files."""
    syscalls.mount(source, target, "", syscalls.MS_BIND | (syscalls.MS_REC if recursive else 0))


def unmount(target: str | os.PathLike[str]) -> bool:
    """Take away every mount at `target`, even while it is in use; False if there was none."""
    found = False
    while True:
        try:
            syscalls.umount(os.fspath(target), syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        except OSError as exc:
            if exc.errno in (errno.EINVAL, errno.ENOENT):
                return found
            raise
        found = True


def unmount_below(path: str | os.PathLike[str]) -> int:
    """Take away all mounts at and below `path`, the last made first; how many there were."""
    root = os.path.realpath(path)
    prefix = root.rstrip("/") + "/"
    targets = [point.target for point in mount_points() if point.target == root or point.target.startswith(prefix)]
    for target in reversed(targets):
        with contextlib.suppress(FileNotFoundError):
            syscalls.umount(target, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
    return len(targets)


def ensure_shared_directory(path: str) -> None:
    """Make `path` a mount of its own with shared propagation, as ip-netns(8) does with /run/netns, so that mounts made
    in it are seen by processes that have left this mount namespace."""
    os.makedirs(path, mode=0o755, exist_ok=True)
    if not is_mount_point(path):
        bind(path, path, recursive=True)
    syscalls.mount("", path, "", syscalls.MS_SHARED | syscalls.MS_REC)
