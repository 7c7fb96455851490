"""Waiting for files in a directory to change, through inotify(7), which the standard library lacks."""

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Self

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400

GROWING = IN_MODIFY | IN_MOVED_FROM | IN_CREATE | IN_DELETE_SELF
"""What happens to a file that is appended to and rotated."""
FILES_CHANGED = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF
"""What happens to files that are edited, put there and taken away."""

_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """Wakes whoever waits when one of `events` happens to an entry of `directory`. Use as a context manager."""

    def __init__(self, directory: Path, events: int = GROWING) -> None:
        self._directory = directory
        self._events = events
        self._fd = -1
        self._changed = asyncio.Event()

    def __enter__(self) -> Self:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if _libc.inotify_add_watch(self._fd, os.fsencode(self._directory), self._events) < 0:
            code = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(code, os.strerror(code), str(self._directory))
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    @property
    def changed(self) -> asyncio.Event:
        """Set by every change; cleared by whoever has looked."""
        return self._changed

    def _read(self) -> None:
        try:
            while os.read(self._fd, 65536):
                self._changed.set()
        except BlockingIOError:
            return
