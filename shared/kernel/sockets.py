"""Sockets for whole messages (SOCK_SEQPACKET, unix(7)) by the interpreter's own module.

The standard library's `socket` brings enumerations and selectors, which take a command of `wherry-runtime`, each a
process of its own, 5 ms to import. Its sockets are of the same base class, so what takes a `Base` takes both.
"""

from __future__ import annotations

import _socket
import struct
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET

__all__ = ["MSG_DONTWAIT", "Base", "Socket", "pair", "receive", "send_fd", "sethostname"]

Base = _socket.socket
sethostname = _socket.sethostname
_FD = struct.Struct("i")


class Socket(Base):
    """A socket that is closed at the end of a `with`. Nothing executed inherits it."""

    def __init__(self, fd: int | None = None) -> None:
        super().__init__(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def accept(self) -> Socket:
        """The next one who connects."""
        fd, _address = self._accept()  # type: ignore[attr-defined]
        return Socket(fd)


def pair() -> tuple[Socket, Socket]:
    """Two connected ones."""
    one, other = _socket.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return Socket(one.detach()), Socket(other.detach())


def send_fd(end: Base, data: bytes, fd: int) -> None:
    """Send a message together with a descriptor."""
    end.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, _FD.pack(fd))])


def receive(end: Base, size: int) -> tuple[bytes, int]:
    """A message of at most `size` bytes and the descriptor that came with it, -1 for none; b"" at the end."""
    data, ancillary, _flags, _address = end.recvmsg(size, _socket.CMSG_LEN(_FD.size), MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) and len(content) >= _FD.size:
            return data, int(_FD.unpack_from(content)[0])
    return data, -1
