"""Asynchronous ends of pipes and consoles, since asyncio's own pipe transports log EIO of a closed console as an error.

Both ends own a non-blocking descriptor, read or write only when awaited (so the kernel's pipe is the only buffer and
back-pressure reaches the process), and close idempotently.
"""

from __future__ import annotations

import asyncio
import errno
import os


class ReadEnd:
    """The reading end of a pipe, or the master of a console."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._waiter: asyncio.Future[None] | None = None

    def fileno(self) -> int:
        return self._fd

    async def read(self, limit: int = 65536) -> bytes:
        """Up to `limit` bytes; b"" at the end of the stream, or after `close`."""
        while self._fd >= 0:
            try:
                return os.read(self._fd, limit)
            except BlockingIOError:
                await self._readable()
            except OSError as exc:
                if exc.errno == errno.EIO:  # a console whose last process has gone (tty_ioctl(4))
                    return b""
                raise
        return b""

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        loop.add_reader(self._fd, _wake, self._waiter)
        try:
            await self._waiter
        finally:
            if self._fd >= 0:
                loop.remove_reader(self._fd)
            self._waiter = None

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._waiter is not None:
            asyncio.get_running_loop().remove_reader(fd)
            _wake(self._waiter)
        os.close(fd)


class WriteEnd:
    """The writing end of a pipe, or the master of a console."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._waiter: asyncio.Future[None] | None = None

    def fileno(self) -> int:
        return self._fd

    async def write(self, data: bytes) -> bool:
        """Write all of `data`. False if nobody reads any more: like a shell's, such input is simply lost."""
        view = memoryview(data)
        while view:
            if self._fd < 0:
                return False
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._writable()
            except OSError as exc:
                if exc.errno in (errno.EPIPE, errno.EIO):
                    return False
                raise
        return True

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        loop.add_writer(self._fd, _wake, self._waiter)
        try:
            await self._waiter
        finally:
            if self._fd >= 0:
                loop.remove_writer(self._fd)
            self._waiter = None

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._waiter is not None:
            asyncio.get_running_loop().remove_writer(fd)
            _wake(self._waiter)
        os.close(fd)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
