"""inotify through ctypes: which directories changed, without looking at any of them.

Why not polling: a node with two hundred idle pods should cost nothing, and a line should be on its way at once.
Source: inotify(7). Events are hints; whoever gets one looks at the directory itself.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MODIFY = 0x002
CLOSE_WRITE = 0x008
MOVED_FROM = 0x040
MOVED_TO = 0x080
CREATE = 0x100
DELETE = 0x200
_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLYDIR = 0x01000000
_DONT_FOLLOW = 0x02000000
_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to `name` in `directory`; `directory` None means events were lost: look everywhere."""

    directory: Path | None
    name: str = ""
    mask: int = 0

    @property
    def is_content(self) -> bool:
        """Whether only bytes were added to a file that is already there."""
        return self.mask == MODIFY


class Inotify:
    """One inotify instance. `fd` becomes readable when `changes` has something."""

    def __init__(self) -> None:
        self.fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"inotify_init1: {os.strerror(code)}")
        self._paths: dict[int, Path] = {}
        self._watches: dict[Path, int] = {}

    def close(self) -> None:
        """Release the instance and all watches."""
        os.close(self.fd)

    def watch(self, directory: Path) -> bool:
        """Watch a directory; False if it is gone. Watching it again is fine."""
        mask = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | _ONLYDIR | _DONT_FOLLOW
        watch = _libc.inotify_add_watch(self.fd, os.fsencode(directory), mask)
        if watch < 0:
            code = ctypes.get_errno()
            if code in (2, 20):  # ENOENT, ENOTDIR
                return False
            raise OSError(code, f"inotify_add_watch: {os.strerror(code)}", str(directory))
        self._paths[watch] = directory
        self._watches[directory] = watch
        return True

    def changes(self) -> Iterator[Change]:
        """Everything that happened since the last call."""
        while True:
            try:
                data = os.read(self.fd, 64 << 10)
            except BlockingIOError:
                return
            position = 0
            while position < len(data):
                watch, mask, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size
                name = os.fsdecode(data[position : position + length].rstrip(b"\0"))
                position += length
                if mask & _OVERFLOW:
                    yield Change(None)
                    continue
                directory = self._paths.get(watch)
                if directory is None:
                    continue
                if mask & _IGNORED:
                    # the directory is gone and with it the watch
                    del self._paths[watch]
                    if self._watches.get(directory) == watch:
                        del self._watches[directory]
                    continue
                yield Change(directory, name, mask)
