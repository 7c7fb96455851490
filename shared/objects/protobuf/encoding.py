"""From plain objects to protobuf. As in Go, a value that is not a pointer is always written, zero or not."""

from __future__ import annotations

import base64
import struct as binary
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.errors import NotAcceptable
from shared.objects import schema, times
from shared.objects.protobuf import wire
from shared.objects.schema import Field, Struct

Object = Mapping[str, Any]
Writer = Callable[[bytearray, Object], None]
ValueWriter = Callable[[Any], bytes]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def encode(obj: Object) -> bytes:
    """The protobuf body of an object or list; NotAcceptable if its kind has no protobuf form."""
    api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
    struct = schema.kind(api_version or "v1", kind)
    if struct is None:
        raise NotAcceptable(f"{kind} in version {api_version!r} has no protobuf form")
    type_meta = wire.block(1, api_version.encode()) + wire.block(2, kind.encode())
    raw = _plan(struct)(obj)
    return wire.MAGIC + wire.block(1, type_meta) + wire.block(2, raw) + wire.block(3, b"") + wire.block(4, b"")


def encode_watch_event(type: str, obj: Object) -> bytes:  # noqa: A002
    """One frame of a protobuf watch stream: four bytes of length, then the meta/v1 WatchEvent."""
    event = wire.block(1, type.encode()) + wire.block(2, wire.block(1, encode(obj)))
    return len(event).to_bytes(4, "big") + event


@schema.planned
def _plan(struct: Struct) -> ValueWriter:
    """Writes the content of a struct's message."""
    compiled: Writer | None = None

    def write(value: Any) -> bytes:
        nonlocal compiled
        if compiled is None:
            compiled = _message_writer(wire.message(struct))
        out = bytearray()
        compiled(out, value)
        return bytes(out)

    return write


def _message_writer(message: wire.Message) -> Writer:
    writers: dict[int, Writer] = {number: _inlined_writer(number, inner) for number, inner in message.inlined.items()}
    writers |= {number: _field_writer(number, field) for number, field in message.fields.items()}
    in_order = [writer for _, writer in sorted(writers.items())]

    def write(out: bytearray, obj: Object) -> None:
        for writer in in_order:
            writer(out, obj)

    return write


def _inlined_writer(number: int, message: wire.Message) -> Writer:
    inner = _message_writer(message)

    def write(out: bytearray, obj: Object) -> None:
        content = bytearray()
        inner(content, obj)
        out += wire.block(number, content)

    return write


def _field_writer(number: int, field: Field) -> Writer:
    name = field.name
    if field.container == "list":
        return _list_writer(number, field)
    if field.container in ("map", "map-list"):
        return _map_writer(number, field)
    write_value = _element_writer(number, field)
    zero = _zero(number, field)

    def write(out: bytearray, obj: Object) -> None:
        value = obj.get(name)
        out += zero if value is None else write_value(value)

    return write


def _list_writer(number: int, field: Field) -> Writer:
    name = field.name
    write_value = _element_writer(number, field)

    def write(out: bytearray, obj: Object) -> None:
        for item in obj.get(name) or ():
            out += write_value(item)

    return write


def _map_writer(number: int, field: Field) -> Writer:
    name = field.name
    write_value: ValueWriter
    if field.container == "map-list":
        write_value = lambda items: wire.block(2, b"".join(wire.block(1, item.encode()) for item in items))  # noqa: E731
    else:
        write_value = _element_writer(2, field)

    def write(out: bytearray, obj: Object) -> None:
        for key, item in sorted((obj.get(name) or {}).items()):
            out += wire.block(number, wire.block(1, key.encode()) + write_value(item))

    return write


def _element_writer(number: int, field: Field) -> ValueWriter:
    """Writes one value with its tag."""
    if field.type in ("bool", "int32", "int64"):
        head = wire.tag(number, wire.VARINT)
        return lambda value: head + wire.varint(value)
    if field.type == "double":
        head = wire.tag(number, wire.FIXED64)
        return lambda value: head + binary.pack("<d", value)
    head = wire.tag(number, wire.BLOCK)
    content = _plan(field.struct) if field.struct is not None else _CONTENTS[field.type]

    def write(value: Any) -> bytes:
        made = content(value)
        return head + wire.varint(len(made)) + made

    return write


def _zero(number: int, field: Field) -> bytes:
    """What stands for an absent field: nothing for pointers, else the zero value."""
    if field.pointer or field.type in ("FieldsV1", "JSON", "Empty", "Verbs", *_UNIONS):
        return b""
    if field.struct is not None:
        return _element_writer(number, field)({}) if field.always else b""
    if field.type in ("bool", "int32", "int64", "double"):
        return _element_writer(number, field)(0)
    if field.type in ("Quantity", "QuantityValue"):
        return _element_writer(number, field)("0")
    if field.type == "IntOrString":
        return _element_writer(number, field)(0)
    return wire.block(number, b"") if field.type != "RawExtension" or field.always else b""


_UNIONS = ("JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray")


def _string(value: Any) -> bytes:
    return str(value).encode()


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value)


def _quantity(value: Any) -> bytes:
    return wire.block(1, str(value).encode())


def _time(value: Any) -> bytes:
    since = times.parse(value) - _EPOCH
    seconds = since // _SECOND
    nanos = since.microseconds * 1000
    return wire.tag(1, wire.VARINT) + wire.varint(seconds) + wire.tag(2, wire.VARINT) + wire.varint(nanos)


def _int_or_string(value: Any) -> bytes:
    is_text = isinstance(value, str)
    return b"".join(
        (
            wire.tag(1, wire.VARINT) + wire.varint(int(is_text)),
            wire.tag(2, wire.VARINT) + wire.varint(0 if is_text else value),
            wire.block(3, value.encode() if is_text else b""),
        )
    )


def _raw(value: Any) -> bytes:
    return wire.block(1, msgspec.json.encode(value))


def _props(value: Any) -> bytes:
    return _plan(schema.struct("apiextensions/v1.JSONSchemaProps"))(value)


def _props_or_bool(value: Any) -> bytes:
    if isinstance(value, bool):
        return wire.tag(1, wire.VARINT) + wire.varint(value)
    return wire.tag(1, wire.VARINT) + wire.varint(1) + wire.block(2, _props(value))


def _props_or_array(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(wire.block(2, _props(item)) for item in value)
    return wire.block(1, _props(value))


def _props_or_strings(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(wire.block(2, item.encode()) for item in value)
    return wire.block(1, _props(value))


def _empty(value: Any) -> bytes:
    return b""


def _verbs(value: Any) -> bytes:
    return b"".join(wire.block(1, item.encode()) for item in value)


_CONTENTS: dict[str, ValueWriter] = {
    "string": _string,
    "bytes": _bytes,
    "Quantity": _quantity,
    "QuantityValue": _quantity,
    "Time": _time,
    "MicroTime": _time,
    "IntOrString": _int_or_string,
    "RawExtension": _raw,
    "FieldsV1": _raw,
    "JSON": _raw,
    "JSONSchemaPropsOrArray": _props_or_array,
    "JSONSchemaPropsOrBool": _props_or_bool,
    "JSONSchemaPropsOrStringArray": _props_or_strings,
    "Empty": _empty,
    "Verbs": _verbs,
}
