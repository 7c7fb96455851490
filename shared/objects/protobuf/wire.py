"""Protobuf's wire format: varints, tags and length-delimited blocks, and the shape messages take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from shared.objects.schema import Field, Struct

MAGIC: Final = b"k8s\x00"

VARINT: Final = 0
FIXED64: Final = 1
BLOCK: Final = 2
FIXED32: Final = 5

_MAX_VARINT_BITS = 63


class Malformed(Exception):
    """The bytes are no message of the type they should be."""


@dataclass(slots=True)
class Message:
    """The protobuf shape of a struct: JSON fields by number, and messages whose fields JSON inlines."""

    fields: dict[int, Field] = field(default_factory=dict)
    inlined: dict[int, Message] = field(default_factory=dict)


def message(struct: Struct) -> Message:
    root = Message()
    for one in struct.fields.values():
        if not one.number:
            continue
        place = root
        for number in one.number[:-1]:
            place = place.inlined.setdefault(number, Message())
        place.fields[one.number[-1]] = one
    return root


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The unsigned value at `position`, and where it ends."""
    value = shift = 0
    while True:
        try:
            byte = data[position]
        except IndexError as exc:
            raise Malformed("a varint runs past the end") from exc
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > _MAX_VARINT_BITS:
            raise Malformed("a varint has more than ten bytes")


def read_block(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Where the length-delimited block whose length is at `position` starts and ends."""
    length, start = read_varint(data, position)
    if start + length > end:
        raise Malformed("a field runs past the end of its message")
    return start, start + length


def skip(data: bytes, position: int, end: int, wire_type: int) -> int:
    """The position after a value nobody reads."""
    if wire_type == VARINT:
        return read_varint(data, position)[1]
    if wire_type == BLOCK:
        return read_block(data, position, end)[1]
    if wire_type == FIXED64:
        return position + 8
    if wire_type == FIXED32:
        return position + 4
    raise Malformed(f"wire type {wire_type} is not used by proto2 messages")


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def varint(value: int) -> bytes:
    """An int as a varint; negative ones take ten bytes, as protobuf's int32 and int64 do."""
    value &= 0xFFFFFFFFFFFFFFFF
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def block(number: int, content: bytes | bytearray) -> bytes:
    return tag(number, BLOCK) + varint(len(content)) + content


_SMALL: Final = tuple(bytes((value,)) for value in range(0x80))
