"""Waiting for files in a directory to change, through inotify(7), which the standard library lacks."""

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Self

IN_MODIFY = 0x2
IN_MOVED_FROM = 0x40
IN_CREATE = 0x100
IN_DELETE_SELF = 0x400

_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """Wakes whoever waits when an entry of `directory` is written, made or renamed. Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1
        self._changed = asyncio.Event()

    def __enter__(self) -> Self:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        mask = IN_MODIFY | IN_MOVED_FROM | IN_CREATE | IN_DELETE_SELF
        if _libc.inotify_add_watch(self._fd, os.fsencode(self._directory), mask) < 0:
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
