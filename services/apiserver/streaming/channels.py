"""The bytes of one TCP connection to a pod or node, plain or within TLS, over a stream of the bus.

TLS is spoken by the API server, so that nodes carry what they cannot read. Certificates are not checked, as in
kube-apiserver: pods have none that anybody could vouch for, and it is the node that makes sure who is reached.
"""

import asyncio
import ssl
from typing import Protocol

from shared.bus.streams import BusStream
from shared.errors import StreamBroken

INWARD, OUTWARD = 0, 1
PIECE = 64 << 10


class Channel(Protocol):
    """Bytes both ways. StreamBroken when the node or the broker is lost, or TLS fails."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Some bytes; b"" at the end."""
        ...

    async def close(self) -> None: ...


class PlainChannel:
    """The bytes as they are."""

    def __init__(self, stream: BusStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            await self._stream.send(INWARD, data[start : start + PIECE])

    async def receive(self) -> bytes:
        async for channel, data in self._stream:
            if channel == OUTWARD and data:
                return data
        return b""

    async def close(self) -> None:
        await self._stream.close()


class TlsChannel:
    """The bytes within TLS; `handshake` comes first."""

    def __init__(self, plain: PlainChannel, name: str) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        # records must leave in the order in which they were made
        self._flushing = asyncio.Lock()

    async def handshake(self) -> None:
        """StreamBroken if the other side speaks no TLS."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError as exc:
                raise StreamBroken(f"tls: {exc.reason or exc}") from exc
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            try:
                self._tls.write(data[start : start + PIECE])
            except ssl.SSLError as exc:
                raise StreamBroken(f"tls: {exc.reason or exc}") from exc
            await self._flush()

    async def receive(self) -> bytes:
        while True:
            try:
                return self._tls.read(PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as exc:
                raise StreamBroken(f"tls: {exc.reason or exc}") from exc

    async def close(self) -> None:
        await self._plain.close()

    async def _feed(self) -> None:
        data = await self._plain.receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        async with self._flushing:
            if self._outgoing.pending:
                await self._plain.send(self._outgoing.read())


async def open_channel(stream: BusStream, tls_name: str = "") -> Channel:
    """The channel over a stream, within TLS if `tls_name` is given; the stream is closed if that fails."""
    plain = PlainChannel(stream)
    if not tls_name:
        return plain
    secure = TlsChannel(plain, tls_name)
    try:
        await secure.handshake()
    except BaseException:
        await stream.close()
        raise
    return secure


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
