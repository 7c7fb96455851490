"""Terminals of containers: handed to the caller over its socket, or joined to the caller's own for a foreground run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager


def send_console(master: int, path: str) -> None:
    """Send a terminal's master to the socket at `path`, as the callers of runc expect it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        try:
            channel.connect(path)
        except OSError as exc:
            raise OSError(exc.errno, f"console socket: {(exc.strerror or '').lower()}", path) from exc
        socket.send_fds(channel, [b"/dev/ptmx"], [master])


def _resize(master: int) -> None:
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """The caller's terminal passes every key on, if it is a terminal."""
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def join(master: int) -> None:
    """Copy between this process's streams and a terminal's master until the other side has closed it."""
    signal.signal(signal.SIGWINCH, lambda _number, _frame: _resize(master))
    _resize(master)
    with raw_terminal(), selectors.DefaultSelector() as selector:
        selector.register(master, selectors.EVENT_READ)
        with contextlib.suppress(PermissionError):  # a plain file as stdin is always ready, and epoll refuses it
            selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                try:
                    data = os.read(key.fd, 65536)
                except OSError:
                    data = b""  # EIO: no process has the terminal open any more
                if key.fd == master:
                    if not data:
                        return
                    _write_all(1, data)
                elif data:
                    _write_all(master, data)
                else:
                    selector.unregister(0)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
