"""SPDY/3.1 frames, because kubectl's port-forward speaks them inside WebSocket messages (KEP-4006), and older clients
on the bare connection; no I/O.

Only what a server of such streams needs: streams opened by the client, data both ways, resets and pings. There is no
flow control, as the clients have none. Source: draft-mbelshe-httpbis-spdy-00.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
MAX_FRAME = 1 << 20
MAX_HEADERS = 64 * 1024

# fmt: off
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
    "allow authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
# fmt: on
_MORE_WORDS = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    """Section 2.6.10.1: the words, each behind its length, and a tail of common values."""
    words = b"".join(struct.pack("!I", len(word)) + word.encode() for word in (*_WORDS.split(), *_MORE_WORDS))
    return words + _TAIL.encode()


DICTIONARY = _dictionary()


class ProtocolError(Exception):
    """The peer sent what is no SPDY frame; the session cannot go on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opened a stream."""

    stream: int
    headers: Mapping[str, str]
    finished: bool


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes of a stream; `finished` when the client will send no more."""

    stream: int
    data: bytes
    finished: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The client gave a stream up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """To be answered with the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """The client will open no more streams."""


Incoming = Opened | Received | Reset | Pinged | Leaving


@dataclass(slots=True)
class Session:
    """The codec of one connection: header compression has a state in each direction."""

    _buffer: bytearray = field(default_factory=bytearray)
    _inflate: "zlib._Decompress" = field(default_factory=lambda: zlib.decompressobj(zdict=DICTIONARY))
    _deflate: "zlib._Compress" = field(
        default_factory=lambda: zlib.compressobj(zlib.Z_BEST_COMPRESSION, zdict=DICTIONARY)
    )

    def feed(self, data: bytes) -> Iterator[Incoming]:
        """The events in some bytes; frames may be cut anywhere. ProtocolError ends the session."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from("!II", self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if length > MAX_FRAME:
                raise ProtocolError(f"frame of {length} bytes is too large")
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if first & 0x80000000:
                yield from self._control(first >> 16 & 0x7FFF, first & 0xFFFF, flags, payload)
            else:
                yield Received(first & 0x7FFFFFFF, payload, bool(flags & FIN))

    def reply(self, stream: int) -> bytes:
        """Accept a stream."""
        block = self._deflate.compress(struct.pack("!I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(SYN_REPLY, 0, struct.pack("!I", stream) + block)

    def _control(self, version: int, kind: int, flags: int, payload: bytes) -> Iterator[Incoming]:
        if version != VERSION:
            raise ProtocolError(f"SPDY version {version} is not spoken")
        try:
            if kind == SYN_STREAM:
                (stream,) = struct.unpack_from("!I", payload)
                yield Opened(stream & 0x7FFFFFFF, self._headers(payload[10:]), bool(flags & FIN))
            elif kind == RST_STREAM:
                (stream,) = struct.unpack_from("!I", payload)
                yield Reset(stream & 0x7FFFFFFF)
            elif kind == PING:
                (number,) = struct.unpack_from("!I", payload)
                yield Pinged(number)
            elif kind == GOAWAY:
                yield Leaving()
            elif kind in (HEADERS, SYN_REPLY):
                # nothing is expected of them, but they move the state of the decompression
                self._headers(payload[4:])
        except (struct.error, zlib.error) as exc:
            raise ProtocolError(f"malformed control frame {kind}: {exc}") from exc

    def _headers(self, block: bytes) -> dict[str, str]:
        text = self._inflate.decompress(block, MAX_HEADERS)
        if self._inflate.unconsumed_tail:
            raise ProtocolError("header block is too large")
        (count,) = struct.unpack_from("!I", text)
        position, found = 4, {}
        for _ in range(count):
            pair = []
            for _ in range(2):
                (length,) = struct.unpack_from("!I", text, position)
                pair.append(text[position + 4 : position + 4 + length].decode("utf-8", "replace"))
                position += 4 + length
            found[pair[0].lower()] = pair[1]
        return found


def data(stream: int, payload: bytes, *, finished: bool = False) -> bytes:
    """Bytes of a stream."""
    return struct.pack("!II", stream, (FIN if finished else 0) << 24 | len(payload)) + payload


def reset(stream: int, status: int) -> bytes:
    """Give a stream up."""
    return _control(RST_STREAM, 0, struct.pack("!II", stream, status))


def pong(number: int) -> bytes:
    """Answer a ping."""
    return _control(PING, 0, struct.pack("!I", number))


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("!II", 0x80000000 | VERSION << 16 | kind, flags << 24 | len(payload)) + payload
