"""From protobuf to plain objects. Zero values that Go writes but JSON leaves out are dropped on the way."""

from __future__ import annotations

import base64
import struct as binary
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared.errors import BadRequest
from shared.objects import schema, times
from shared.objects.protobuf import wire
from shared.objects.protobuf.wire import Malformed
from shared.objects.schema import Field, Struct

Object = dict[str, Any]
BlockReader = Callable[[bytes, int, int, Object], None]
NumberReader = Callable[[int, Object], None]
ValueReader = Callable[[bytes, int, int], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode(data: bytes) -> Object:
    """The object of a protobuf body; BadRequest if it is malformed or of no known kind."""
    if not data.startswith(wire.MAGIC):
        raise BadRequest("the body does not start with the protobuf magic k8s\\0")
    try:
        return _decode_unknown(data, len(wire.MAGIC))
    except Malformed as exc:
        raise BadRequest(f"the protobuf body is malformed: {exc}") from exc
    except (UnicodeDecodeError, RecursionError, OverflowError, msgspec.DecodeError) as exc:
        raise BadRequest("the protobuf body is malformed: a value cannot be read") from exc


def _decode_unknown(data: bytes, position: int) -> Object:
    envelope = _fields(data, position, len(data))
    type_meta = _fields(*envelope.get(1, (data, 0, 0)))
    api_version, kind = (_text(type_meta.get(number)) for number in (1, 2))
    struct = schema.kind(api_version, kind)
    if struct is None:
        raise BadRequest(f'no kind "{kind}" is registered for version "{api_version}"')
    obj: Object = {"apiVersion": api_version, "kind": kind}
    if 2 in envelope:
        _plan(struct)(*envelope[2], obj)
    return obj


def _fields(data: bytes, position: int, end: int) -> dict[int, tuple[bytes, int, int]]:
    """The length-delimited fields of a small message; the last one of a number wins."""
    found: dict[int, tuple[bytes, int, int]] = {}
    while position < end:
        key, position = wire.read_varint(data, position)
        if key & 7 == wire.BLOCK:
            start, position = wire.read_block(data, position, end)
            found[key >> 3] = (data, start, position)
        else:
            position = wire.skip(data, position, end, key & 7)
    return found


def _text(part: tuple[bytes, int, int] | None) -> str:
    return part[0][part[1] : part[2]].decode() if part is not None else ""


@schema.planned
def _plan(struct: Struct) -> BlockReader:
    """Reads the message of a struct into an object."""
    compiled: BlockReader | None = None

    def read(data: bytes, position: int, end: int, into: Object) -> None:
        nonlocal compiled
        if compiled is None:
            compiled = _reader(wire.message(struct))
        compiled(data, position, end, into)

    return read


def _reader(message: wire.Message) -> BlockReader:
    blocks: dict[int, BlockReader] = {number: _reader(inner) for number, inner in message.inlined.items()}
    numbers: dict[int, NumberReader] = {}
    doubles: dict[int, str] = {}
    for number, field in message.fields.items():
        if field.type in _NUMBERS and field.container in ("", "list"):
            numbers[number] = _number_reader(field)
            if field.container:
                blocks[number] = _packed_reader(numbers[number])
        elif field.type == "double":
            doubles[number] = field.name
        else:
            blocks[number] = _block_reader(field)

    def read(data: bytes, position: int, end: int, into: Object) -> None:
        while position < end:
            key = data[position]
            position += 1
            if key >= 0x80:
                key, position = wire.read_varint(data, position - 1)
            wire_type = key & 7
            if wire_type == wire.BLOCK:
                start, position = wire.read_block(data, position, end)
                block = blocks.get(key >> 3)
                if block is not None:
                    block(data, start, position, into)
            elif wire_type == wire.VARINT:
                value, position = wire.read_varint(data, position)
                number = numbers.get(key >> 3)
                if number is not None:
                    number(value, into)
            elif wire_type == wire.FIXED64 and key >> 3 in doubles and position + 8 <= end:
                into[doubles[key >> 3]] = binary.unpack_from("<d", data, position)[0]
                position += 8
            else:
                position = wire.skip(data, position, end, wire_type)
        if position != end:
            raise Malformed("a message ends within a field")

    return read


def _number_reader(field: Field) -> NumberReader:
    name = field.name
    convert: Callable[[int], Any] = bool if field.type == "bool" else wire.signed
    if field.container:
        return lambda value, into: into.setdefault(name, []).append(convert(value))
    keep_zero = field.pointer or field.always

    def read(value: int, into: Object) -> None:
        if value or keep_zero:
            into[name] = convert(value)

    return read


def _packed_reader(read_number: NumberReader) -> BlockReader:
    def read(data: bytes, position: int, end: int, into: Object) -> None:
        while position < end:
            value, position = wire.read_varint(data, position)
            read_number(value, into)

    return read


def _block_reader(field: Field) -> BlockReader:
    name = field.name
    value = _value_reader(field)
    if field.container == "list":
        return lambda data, position, end, into: into.setdefault(name, []).append(value(data, position, end))
    if field.container in ("map", "map-list"):
        return _map_reader(name, _string_list if field.container == "map-list" else value, field)
    if field.struct is not None:
        plan = _plan(field.struct)

        def read_struct(data: bytes, position: int, end: int, into: Object) -> None:
            plan(data, position, end, into.setdefault(name, {}))

        return read_struct
    drop_empty = field.type in ("string", "bytes") and not field.pointer and not field.always

    def read(data: bytes, position: int, end: int, into: Object) -> None:
        made = value(data, position, end)
        if made is not None and not (drop_empty and made == ""):
            into[name] = made

    return read


def _map_reader(name: str, value: ValueReader, field: Field) -> BlockReader:
    def read(data: bytes, position: int, end: int, into: Object) -> None:
        key: Any = ""
        item: Any = _EMPTY_VALUES.get(field.type, "" if field.type in schema.SCALARS else {})
        while position < end:
            tag, position = wire.read_varint(data, position)
            if tag & 7 != wire.BLOCK:
                if tag >> 3 == 2 and tag & 7 == wire.VARINT:
                    number, position = wire.read_varint(data, position)
                    item = bool(number) if field.type == "bool" else wire.signed(number)
                else:
                    position = wire.skip(data, position, end, tag & 7)
                continue
            start, position = wire.read_block(data, position, end)
            if tag >> 3 == 1:
                key = data[start:position].decode()
            elif tag >> 3 == 2:
                item = value(data, start, position)
        into.setdefault(name, {})[key] = item

    return read


_EMPTY_VALUES: dict[str, Any] = {"Quantity": "0", "Time": None}
_NUMBERS = frozenset({"bool", "int32", "int64"})


def _value_reader(field: Field) -> ValueReader:
    inner = field.struct
    if inner is None:
        return _READERS[field.type]
    plan = _plan(inner)

    def read(data: bytes, position: int, end: int) -> Object:
        made: Object = {}
        plan(data, position, end, made)
        return made

    return read


def _string(data: bytes, position: int, end: int) -> str:
    return data[position:end].decode()


def _bytes(data: bytes, position: int, end: int) -> str:
    return base64.b64encode(data[position:end]).decode()


def _string_list(data: bytes, position: int, end: int) -> list[str]:
    items: list[str] = []
    while position < end:
        key, position = wire.read_varint(data, position)
        if key & 7 == wire.BLOCK:
            start, position = wire.read_block(data, position, end)
            if key >> 3 == 1:
                items.append(data[start:position].decode())
        else:
            position = wire.skip(data, position, end, key & 7)
    return items


def _numbers(data: bytes, position: int, end: int) -> dict[int, int]:
    found: dict[int, int] = {}
    while position < end:
        key, position = wire.read_varint(data, position)
        if key & 7 == wire.VARINT:
            value, position = wire.read_varint(data, position)
            found[key >> 3] = wire.signed(value)
        else:
            position = wire.skip(data, position, end, key & 7)
    return found


def _quantity(data: bytes, position: int, end: int) -> str:
    return _text(_fields(data, position, end).get(1)) or "0"


def _moment(data: bytes, position: int, end: int) -> datetime | None:
    parts = _numbers(data, position, end)
    if not parts:
        return None
    return _EPOCH + timedelta(seconds=parts.get(1, 0), microseconds=parts.get(2, 0) // 1000)


def _time(data: bytes, position: int, end: int) -> str | None:
    moment = _moment(data, position, end)
    return times.format_time(moment) if moment is not None else None


def _micro_time(data: bytes, position: int, end: int) -> str | None:
    moment = _moment(data, position, end)
    return times.format_micro(moment) if moment is not None else None


def _int_or_string(data: bytes, position: int, end: int) -> int | str:
    numbers = _numbers(data, position, end)
    return _text(_fields(data, position, end).get(3)) if numbers.get(1) == 1 else numbers.get(2, 0)


def _raw(data: bytes, position: int, end: int) -> Any:
    part = _fields(data, position, end).get(1)
    if part is None or part[1] == part[2]:
        return None
    raw = data[part[1] : part[2]]
    if raw.startswith(wire.MAGIC):
        return _decode_unknown(raw, len(wire.MAGIC))
    return msgspec.json.decode(raw)


def _props(data: bytes, position: int, end: int) -> Object:
    made: Object = {}
    _plan(schema.struct("apiextensions/v1.JSONSchemaProps"))(data, position, end, made)
    return made


def _props_or_bool(data: bytes, position: int, end: int) -> Any:
    schema_part = _fields(data, position, end).get(2)
    return _props(*schema_part) if schema_part is not None else bool(_numbers(data, position, end).get(1))


def _props_or_array(data: bytes, position: int, end: int) -> Any:
    schemas: list[Object] = []
    while position < end:
        key, position = wire.read_varint(data, position)
        start, position = wire.read_block(data, position, end)
        if key >> 3 == 1:
            return _props(data, start, position)
        schemas.append(_props(data, start, position))
    return schemas


def _props_or_strings(data: bytes, position: int, end: int) -> Any:
    schema_part = _fields(data, position, end).get(1)
    if schema_part is not None:
        return _props(*schema_part)
    names: list[str] = []
    while position < end:
        key, position = wire.read_varint(data, position)
        start, position = wire.read_block(data, position, end)
        if key >> 3 == 2:
            names.append(data[start:position].decode())
    return names


def _empty(data: bytes, position: int, end: int) -> Object:
    return {}


_READERS: dict[str, ValueReader] = {
    "string": _string,
    "bytes": _bytes,
    "Quantity": _quantity,
    "QuantityValue": _quantity,
    "Time": _time,
    "MicroTime": _micro_time,
    "IntOrString": _int_or_string,
    "RawExtension": _raw,
    "FieldsV1": _raw,
    "JSON": _raw,
    "JSONSchemaPropsOrArray": _props_or_array,
    "JSONSchemaPropsOrBool": _props_or_bool,
    "JSONSchemaPropsOrStringArray": _props_or_strings,
    "Empty": _empty,
    "Verbs": _string_list,
}
