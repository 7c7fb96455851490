"""The keeper's socket: connections, frames in and out, descriptors with them.

Only root may connect: the socket's mode says so, and the peer's credentials are looked at too (unix(7)).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from services.nodeagent.keeper.loop import READ, WRITE, Loop
from services.nodeagent.runtime.wire import MAX_FDS, MAX_FRAME, Unpacker, pack

MAX_QUEUED = 4 * MAX_FRAME  # a client that does not read is cut off

Handler = Callable[["Connection", dict[str, Any]], None]


class Connection:
    """One client."""

    def __init__(self, server: Server, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._server = server
        self._socket = connection
        self._fd = connection.fileno()
        self._unpacker = Unpacker()
        self._queue: deque[tuple[memoryview, list[int]]] = deque()
        self._queued = 0
        self.open = True

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        """Queue a frame; its descriptors are closed once they are sent, or if they cannot be."""
        taken = fds or []
        if not self.open:
            _close_all(taken)
            return
        if taken:
            message["fds"] = len(taken)
        data = pack(message)
        self._queue.append((memoryview(data), taken))
        self._queued += len(data)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._queue:
                data, fds = self._queue[0]
                sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
                _close_all(fds)
                self._queued -= sent
                if sent < len(data):
                    self._queue[0] = (data[sent:], [])
                else:
                    self._queue.popleft()
        except BlockingIOError:
            if self._queued > MAX_QUEUED:
                self.close()
                return
        except OSError:
            self.close()
            return
        self._server.loop.watch(self._fd, self._on_ready, READ | WRITE if self._queue else READ)

    def _on_ready(self, events: int) -> None:
        if events & WRITE and self.open:
            self._flush()
        if events & ~WRITE and self.open:
            self._receive()

    def _receive(self) -> None:
        try:
            data, fds, _flags, _address = socket.recv_fds(self._socket, 262144, MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        _close_all(fds)  # no request carries any
        if not data:
            self.close()
            return
        try:
            for message, _none in self._unpacker.feed(data, []):
                self._server.handler(self, message)
        except ValueError:
            self.close()

    def start(self) -> None:
        self._server.loop.watch(self._fd, self._on_ready, READ)

    def close(self) -> None:
        if not self.open:
            return
        self.open = False
        self._server.loop.forget(self._fd)
        self._socket.close()
        for _data, fds in self._queue:
            _close_all(fds)
        self._queue.clear()
        self._server.dropped(self)


class Server:
    """`handler` is called with every message; `on_drop` when a connection has ended."""

    def __init__(self, loop: Loop, path: str, handler: Handler) -> None:
        self.loop = loop
        self.path = path
        self.handler = handler
        self.connections: list[Connection] = []
        self.on_drop: Callable[[Connection], None] = lambda _connection: None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)

    def listen(self) -> None:
        """Bind under another name and rename, so that whoever finds the socket can connect to it."""
        temporary = f"{self.path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        self._listener.bind(temporary)
        os.chmod(temporary, 0o600)
        self._listener.listen(64)
        self._listener.setblocking(False)
        os.rename(temporary, self.path)
        self.loop.watch(self._listener.fileno(), lambda _events: self._accept())

    def _accept(self) -> None:
        try:
            accepted, _address = self._listener.accept()
        except BlockingIOError:
            return
        credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != 0:
            accepted.close()
            return
        connection = Connection(self, accepted)
        self.connections.append(connection)
        connection.start()

    def broadcast(self, message: dict[str, Any]) -> None:
        for connection in list(self.connections):
            connection.send(dict(message))

    def dropped(self, connection: Connection) -> None:
        self.connections.remove(connection)
        self.on_drop(connection)

    def close(self) -> None:
        self.loop.forget(self._listener.fileno())
        self._listener.close()
        for connection in list(self.connections):
            connection.close()


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())
