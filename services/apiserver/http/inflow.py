"""The body of a request that is passed on while it arrives, and not held: uploads through the proxy subresources."""

import asyncio
from collections import deque
from typing import Self

# Bytes that wait to be passed on before the client is made to wait, and below which it may go on.
HIGH, LOW = 512 << 10, 128 << 10


class Inflow:
    """Iterate for the pieces of the body as they come. ConnectionResetError if the client leaves before its end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._broken = False
        self._wake = asyncio.Event()
        self.complete = False

    def feed(self, data: bytes) -> None:
        """Called by the connection for each piece."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size > HIGH and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake.set()

    def end(self) -> None:
        """Called by the connection when the body is whole."""
        self.complete = True
        self._wake.set()

    def fail(self) -> None:
        """Called by the connection when no more will come."""
        self._broken = not self.complete
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self.complete:
                raise StopAsyncIteration
            if self._broken:
                raise ConnectionResetError("the client is gone before the end of its request")
            self._wake.clear()
            await self._wake.wait()
        data = self._waiting.popleft()
        self._size -= len(data)
        if self._paused and self._size < LOW and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        return data
