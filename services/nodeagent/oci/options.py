"""What the option strings of one mount mean to the kernel: flags, attributes, propagation, and the file system's data.

The names are those of mount(8) and of the runtime specification's table (config.md, "Linux mount options"). A new file
system takes MS flags with mount(2), a bind mount MOUNT_ATTR attributes with mount_setattr(2), so both are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.kernel import syscalls as sys
from shared.records import field, mutable

# name -> (flags to set, flags to clear)
_FLAGS = {
    "async": (0, sys.MS_SYNCHRONOUS),
    "defaults": (0, 0),
    "dirsync": (sys.MS_DIRSYNC, 0),
    "iversion": (sys.MS_I_VERSION, 0),
    "lazytime": (sys.MS_LAZYTIME, 0),
    "loud": (0, sys.MS_SILENT),
    "mand": (sys.MS_MANDLOCK, 0),
    "noiversion": (0, sys.MS_I_VERSION),
    "nolazytime": (0, sys.MS_LAZYTIME),
    "nomand": (0, sys.MS_MANDLOCK),
    "remount": (sys.MS_REMOUNT, 0),
    "silent": (sys.MS_SILENT, 0),
    "sync": (sys.MS_SYNCHRONOUS, 0),
}
# name -> (attribute, the same as a flag of mount(2), whether it is set or cleared)
_ATTRIBUTES = {
    "dev": (sys.MOUNT_ATTR_NODEV, sys.MS_NODEV, False),
    "diratime": (sys.MOUNT_ATTR_NODIRATIME, sys.MS_NODIRATIME, False),
    "exec": (sys.MOUNT_ATTR_NOEXEC, sys.MS_NOEXEC, False),
    "nodev": (sys.MOUNT_ATTR_NODEV, sys.MS_NODEV, True),
    "nodiratime": (sys.MOUNT_ATTR_NODIRATIME, sys.MS_NODIRATIME, True),
    "noexec": (sys.MOUNT_ATTR_NOEXEC, sys.MS_NOEXEC, True),
    "nosuid": (sys.MOUNT_ATTR_NOSUID, sys.MS_NOSUID, True),
    "nosymfollow": (sys.MOUNT_ATTR_NOSYMFOLLOW, sys.MS_NOSYMFOLLOW, True),
    "ro": (sys.MOUNT_ATTR_RDONLY, sys.MS_RDONLY, True),
    "rw": (sys.MOUNT_ATTR_RDONLY, sys.MS_RDONLY, False),
    "suid": (sys.MOUNT_ATTR_NOSUID, sys.MS_NOSUID, False),
    "symfollow": (sys.MOUNT_ATTR_NOSYMFOLLOW, sys.MS_NOSYMFOLLOW, False),
}
# name -> (value among MOUNT_ATTR_ATIMES, flag of mount(2)); "atime" and "norelatime" are what the kernel does anyway
_TIMES = {
    "atime": (0, 0),
    "noatime": (sys.MOUNT_ATTR_NOATIME, sys.MS_NOATIME),
    "norelatime": (0, 0),
    "nostrictatime": (0, 0),
    "relatime": (0, sys.MS_RELATIME),
    "strictatime": (sys.MOUNT_ATTR_STRICTATIME, sys.MS_STRICTATIME),
}
_PROPAGATION = {
    "private": sys.MS_PRIVATE,
    "shared": sys.MS_SHARED,
    "slave": sys.MS_SLAVE,
    "unbindable": sys.MS_UNBINDABLE,
}
_OTHER = ("bind", "idmap", "rbind", "ridmap", "tmpcopyup")

KNOWN = sorted(
    {*_FLAGS, *_ATTRIBUTES, *_TIMES, *_PROPAGATION, *_OTHER}
    | {f"r{name}" for name in (*_ATTRIBUTES, *_TIMES, *_PROPAGATION)}
)


@mutable
class Attributes:
    """MOUNT_ATTR bits to set and to clear."""

    set: int = 0
    clear: int = 0

    def change(self, bits: int, *, on: bool) -> None:
        self.set = self.set | bits if on else self.set & ~bits
        self.clear = self.clear & ~bits if on else self.clear | bits

    def choose_time(self, value: int) -> None:
        self.set = self.set & ~sys.MOUNT_ATTR_ATIMES | value
        self.clear |= sys.MOUNT_ATTR_ATIMES

    @property
    def any(self) -> bool:
        return bool(self.set or self.clear)


@mutable
class MountOptions:
    """`own` are attributes of the mount itself, `below` of all mounts at and below it; `propagation` are (MS flag,
    recursive) in order; `data` is for the file system."""

    flags: int = 0
    own: Attributes = field(default_factory=Attributes)
    below: Attributes = field(default_factory=Attributes)
    propagation: list[tuple[int, bool]] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    bind: bool = False
    recursive: bool = False
    copy_up: bool = False
    id_mapped: str = ""  # "", idmap or ridmap


def parse(options: Iterable[str]) -> MountOptions:
    """Read the options of one mount; an unknown one belongs to the file system."""
    result = MountOptions()
    for option in options:
        _add(result, option)
    return result


def _add(result: MountOptions, option: str) -> None:
    plain = option.removeprefix("r")
    if option in _FLAGS:
        on, off = _FLAGS[option]
        result.flags = (result.flags | on) & ~off
    elif option in _ATTRIBUTES:
        attribute, flag, on_ = _ATTRIBUTES[option]
        result.own.change(attribute, on=on_)
        result.flags = result.flags | flag if on_ else result.flags & ~flag
    elif option in _TIMES:
        value, flag = _TIMES[option]
        result.own.choose_time(value)
        result.flags |= flag
    elif option in _PROPAGATION:
        result.propagation.append((_PROPAGATION[option], False))
    elif option in ("bind", "rbind"):
        result.bind = True
        result.recursive = result.recursive or option == "rbind"
    elif option in ("idmap", "ridmap"):
        result.id_mapped = option
    elif option == "tmpcopyup":
        result.copy_up = True
    elif plain != option and plain in _ATTRIBUTES:
        result.below.change(_ATTRIBUTES[plain][0], on=_ATTRIBUTES[plain][2])
    elif plain != option and plain in _TIMES:
        result.below.choose_time(_TIMES[plain][0])
    elif plain != option and plain in _PROPAGATION:
        result.propagation.append((_PROPAGATION[plain], True))
    else:
        result.data.append(option)
