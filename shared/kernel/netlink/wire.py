"""The netlink wire format (RFC 3549, netlink(7)): headers and type-length-value attributes as bytes.

Exists so that nf_tables and conntrack share one encoder, which builds plain bytes: their transactions and dumps hold
tens of thousands of elements. rtnetlink shares the headers; its bodies are those of `rtnetlink`.
"""

import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

F_REQUEST = 0x1
F_MULTI = 0x2
F_ACK = 0x4
F_DUMP_INTERRUPTED = 0x10
F_DUMP = 0x300
F_REPLACE = 0x100
F_EXCLUSIVE = 0x200
F_CREATE = 0x400
F_APPEND = 0x800
F_CAPPED = 0x100
F_ACK_ATTRIBUTES = 0x200

TYPE_ERROR = 2
TYPE_DONE = 3

NESTED = 0x8000
TYPE_MASK = 0x3FFF
# the length field of an attribute has 16 bits
MAX_ATTRIBUTE = 0xFFFF

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
HEADER_SIZE = _HEADER.size


class Message(NamedTuple):
    """One request: `kind` is nlmsg_type, `flags` are added to NLM_F_REQUEST, `body` follows the header."""

    kind: int
    flags: int
    body: bytes


class Reply(NamedTuple):
    """One message from the kernel; `packet` is the whole of it."""

    kind: int
    flags: int
    sequence: int
    packet: bytes

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.packet[HEADER_SIZE:]


def encode(message: Message, sequence: int, flags: int) -> bytes:
    """The message with its 16 byte header, padded to four bytes."""
    size = HEADER_SIZE + len(message.body)
    header = _HEADER.pack(size, message.kind, F_REQUEST | message.flags | flags, sequence, 0)
    return header + message.body + _PADDING[size & 3]


def decode(buffer: bytes) -> Iterator[Reply]:
    """Split what one recv() returned into messages."""
    offset, end = 0, len(buffer)
    while offset + HEADER_SIZE <= end:
        size, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, offset)
        if size < HEADER_SIZE:
            return
        yield Reply(kind, flags, sequence, buffer[offset : offset + size])
        offset += (size + 3) & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = 4 + len(payload)
    if size > MAX_ATTRIBUTE:
        raise ValueError(f"netlink attribute {kind} of {size} bytes exceeds {MAX_ATTRIBUTE}")
    return _ATTRIBUTE.pack(size, kind) + payload + _PADDING[size & 3]


def nested(kind: int, *children: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(children))


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """An attribute that holds one byte."""
    return attribute(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    """An attribute that holds a 32 bit number in the machine's order (rtnetlink)."""
    return attribute(kind, value.to_bytes(4, sys.byteorder))


def be32(kind: int, value: int) -> bytes:
    """An attribute that holds a 32 bit number in network order (nfnetlink)."""
    return attribute(kind, value.to_bytes(4, "big"))


def be64(kind: int, value: int) -> bytes:
    """An attribute that holds a 64 bit number in network order (nfnetlink)."""
    return attribute(kind, value.to_bytes(8, "big"))


def attributes(buffer: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes of a buffer in order, flags stripped from their types."""
    end = len(buffer)
    while offset + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(buffer, offset)
        if size < 4:
            return
        yield kind & TYPE_MASK, buffer[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def table(buffer: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes of a buffer by type; of equal types the last counts."""
    return dict(attributes(buffer, offset))


def string(payload: bytes) -> str:
    """The text of a string attribute."""
    return payload.rstrip(b"\0").decode(errors="replace")
