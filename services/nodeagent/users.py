"""Who a container runs as: names in the image's own /etc/passwd and /etc/group resolved to numbers.

The files are read from the unpacked layers, topmost first, with the kernel resolving every link inside the layer, so
that an image cannot make the agent read the node's files.
Source: OCI image spec, config.User; CRI LinuxContainerSecurityContext; KEP-3619 (supplementalGroupsPolicy).
"""

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.images.paths import openat2

_LARGEST_FILE = 4 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Numeric ids of a process, and its home directory ("" if unknown)."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str = ""


def read_from_layers(layers: Sequence[Path], path: str) -> str:
    """Text of a file of the image (`layers` bottom first), "" if it has none."""
    for layer in reversed(layers):
        directory = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                fd = openat2(directory, path.encode(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                with open(fd, "rb") as file:
                    if not stat.S_ISREG(os.fstat(fd).st_mode):
                        return ""  # a character device 0/0 is overlayfs's whiteout: deleted by this layer
                    return file.read(_LARGEST_FILE).decode(errors="replace")
        finally:
            os.close(directory)
    return ""


def resolve(
    layers: Sequence[Path],
    image_user: str,
    run_as_user: int | None,
    run_as_group: int | None,
    supplemental: Sequence[int],
    *,
    strict_groups: bool = False,
) -> Identity:
    """The identity for an image's USER (`name`, `uid`, `name:group` ...) as changed by a security context.

    Raises ConfigurationError for a name that the image does not know.
    """
    user, _, group = (image_user or "").partition(":")
    if run_as_user is not None:
        user, group = str(run_as_user), ""
    users = _entries(read_from_layers(layers, "etc/passwd"))
    entry = _find_user(users, user)
    if entry is None and user and not user.isdecimal():
        raise ConfigurationError(f'user "{user}" of the image is not in its /etc/passwd')
    uid = int(entry[2]) if entry else int(user or 0)
    gid = int(entry[3]) if entry else 0
    groups = _entries(read_from_layers(layers, "etc/group"))
    if group:
        gid = _group_id(groups, group)
    if run_as_group is not None:
        gid = run_as_group
    member = [] if strict_groups or entry is None else _memberships(groups, entry[0])
    extra = dict.fromkeys(g for g in (*member, *supplemental) if g != gid)
    return Identity(uid, gid, (gid, *extra) if extra else (), entry[5] if entry and len(entry) > 5 else "")


def is_numeric(image_user: str) -> bool:
    """Whether the image names its user by number, or not at all."""
    return not image_user or image_user.partition(":")[0].isdecimal()


def _entries(text: str) -> list[list[str]]:
    lines = (line.strip().split(":") for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [fields for fields in lines if len(fields) >= 3]


def _find_user(users: Sequence[list[str]], user: str) -> list[str] | None:
    wanted = user or "0"
    for fields in users:
        numeric = len(fields) > 3 and fields[2].isdecimal() and fields[3].isdecimal()
        if numeric and (fields[0] == wanted or (wanted.isdecimal() and fields[2] == wanted)):
            return fields
    return None


def _group_id(groups: Sequence[list[str]], group: str) -> int:
    for fields in groups:
        if fields[0] == group and fields[2].isdecimal():
            return int(fields[2])
    if group.isdecimal():
        return int(group)
    raise ConfigurationError(f'group "{group}" of the image is not in its /etc/group')


def _memberships(groups: Sequence[list[str]], name: str) -> list[int]:
    return [int(f[2]) for f in groups if len(f) > 3 and f[2].isdecimal() and name in f[3].split(",")]
