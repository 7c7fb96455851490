"""What a streaming session reads and writes, whichever way the client upgraded its connection.

A WebSocket carries messages; a client of SPDY/3.1 (kubectl before 1.30, or told so) sends its frames on the bare
connection. The session sees bytes either way.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aiohttp import WSMessage, web

# Bytes that wait to be handled before the client is made to wait, and below which it may go on.
HIGH, LOW = 512 << 10, 128 << 10


class Pipe(Protocol):
    """Bytes both ways. `send` waits while the client does not read and raises ConnectionResetError."""

    async def receive(self) -> bytes | None:
        """Some bytes; None when the client is gone."""

    async def send(self, data: bytes) -> None: ...


def payload(message: WSMessage) -> bytes:
    """What a message holds: some clients, the Python one of Kubernetes for one, send text as text."""
    return message.data.encode() if isinstance(message.data, str) else bytes(message.data)


def to_base64(data: bytes) -> str:
    """A message, which begins with the number of its channel, for who cannot receive bytes (base64.channel.k8s.io):
    the number as a digit, and the rest in base64."""
    return chr(ord("0") + data[0]) + base64.b64encode(data[1:]).decode("ascii")


def from_base64(data: bytes) -> bytes:
    """The reverse; b"" for what is no such message."""
    try:
        return bytes((data[0] - ord("0"),)) + base64.b64decode(data[1:], validate=True)
    except (ValueError, IndexError):
        return b""


class WebSocketPipe:
    """The messages of a WebSocket, in base64 if its protocol is one of those that say so."""

    def __init__(self, connection: web.WebSocketResponse) -> None:
        self._connection = connection
        self._text = "base64." in (connection.ws_protocol or "")

    async def receive(self) -> bytes | None:
        async for message in self._connection:
            data = payload(message)
            return from_base64(data) if self._text else data
        return None

    async def send(self, data: bytes) -> None:
        if self._text:
            await self._connection.send_str(to_base64(data))
        else:
            await self._connection.send_bytes(data)


class RawPipe:
    """The bare connection after a 101 response; the server's protocol hands what arrives to `feed_data`."""

    def __init__(self, http: web.BaseRequest) -> None:
        self._protocol = http.protocol
        # paused by itself: the protocol's own pausing is that of its HTTP parser, which has nothing to do any more
        self._transport = http.transport
        self._response: web.StreamResponse | None = None
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._paused = False
        self._wake = asyncio.Event()

    async def open(self, http: web.BaseRequest, response: web.StreamResponse) -> None:
        """Answer with a response of status 101; everything after belongs to the pipe."""
        # registered first: the client may write as soon as it sees the response
        parser: Any = self
        self._protocol.set_parser(parser)
        self._response = response
        await response.prepare(http)
        response.force_close()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by the server's protocol; (whether it should close, what is left over)."""
        self._waiting.append(bytes(data))
        self._size += len(data)
        if self._size > HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake.set()
        return False, b""

    def feed_eof(self) -> None:
        """Called by the server's protocol when the connection is lost."""
        self._ended = True
        self._wake.set()

    async def receive(self) -> bytes | None:
        while not self._waiting:
            if self._ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        data = self._waiting.popleft()
        self._size -= len(data)
        if self._paused and self._size < LOW and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        return data

    async def send(self, data: bytes) -> None:
        if self._ended or self._response is None:
            raise ConnectionResetError("the client is gone")
        await self._response.write(data)
