"""Reading an object into its kind, as decoding into Go's types and back does it.

What comes out holds known fields only, each of its type; nulls and zero values that Go omits are gone, values it always
writes are there, quantities and times are in their canonical form. Types are compiled once to a tree of converters.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.errors import BadRequest
from shared.objects import json, quantities, schema, times
from shared.objects.registry import Resource
from shared.objects.repetition import pack, remembered, unpack
from shared.objects.schema import Field, Struct

Object = dict[str, Any]


def conform(struct: Struct, obj: Object) -> list[str]:
    """Make `obj` a proper object of its kind, in place, and name the unknown fields that were dropped.

    The messages read `unknown field "spec.foo"`. BadRequest when a field holds a value of the wrong type.
    """
    if struct.custom is not None:
        return struct.custom.conform(obj)
    convert = _plan(struct)
    unknown: list[str] = []
    try:
        try:
            made = convert(obj, True)
        except _UnknownFieldError:
            _find_unknown(struct, obj, "", unknown)
            made = convert(obj, False)
    except _WrongTypeError as exc:
        raise BadRequest(_handled_as(struct, exc.explain(struct))) from exc
    except ValueError as exc:
        raise BadRequest(_handled_as(struct, str(exc))) from exc
    obj.clear()
    obj.update(made)
    return unknown


def conform_changed(struct: Struct, obj: Object, old: Object) -> list[str]:
    """As `conform`, for an object that shares parts with `old`: what is the very same part, of the object or of its
    metadata, is left alone, because it was brought into form when it was stored."""
    changed = _changed(obj, old)
    metadata, before = changed.get("metadata"), old.get("metadata")
    if isinstance(metadata, dict) and isinstance(before, dict):
        inner = changed["metadata"] = _changed(metadata, before)
        names, inner_names = set(changed), set(inner)
        unknown = conform(struct, changed)
        _take(metadata, changed["metadata"], inner_names)
        changed["metadata"] = metadata
    else:
        names = set(changed)
        unknown = conform(struct, changed)
    _take(obj, changed, names)
    return unknown


def _changed(obj: Object, old: Object) -> Object:
    return {name: value for name, value in obj.items() if value is not old.get(name, _DROP)}


def _take(obj: Object, conformed: Object, names: set[str]) -> None:
    """Put fields that were brought into form in the place of those of these names, and add what is always written."""
    for name in names - conformed.keys():
        del obj[name]
    for name, value in conformed.items():
        if name in names or name not in obj:
            obj[name] = value


def unknown_fields(resource: Resource, obj: Object) -> list[str]:
    """The unknown fields of `obj`, which is left alone: messages like `unknown field "spec.foo"`.

    BadRequest when a field holds a value of the wrong type.
    """
    return conform(resource.schema, dict(obj))


def prune(resource: Resource, obj: Object) -> None:
    """Drop unknown fields and bring values into canonical form, in place; BadRequest on a value of the wrong type."""
    conform(resource.schema, obj)


def claim_kind(struct: Struct, obj: Object) -> None:
    """Fill in a missing kind and apiVersion; BadRequest if the body says it is of another kind or version."""
    if struct.custom is not None:
        struct.custom.claim(obj)
        return
    group, version = struct.group_version
    api_version = f"{group}/{version}" if group else version
    said_version = _text(obj, "apiVersion") or api_version
    said_kind = _text(obj, "kind") or struct.name
    if (said_version, said_kind) != (api_version, struct.name):
        said = schema.kind(said_version, said_kind)
        where = f'{said_kind} in version "{said_version.rpartition("/")[2]}" cannot be handled as a {struct.name}'
        if said is None:
            raise BadRequest(f'{where}: no kind "{said_kind}" is registered for version "{said_version}"')
        if said_version != api_version:
            raise BadRequest(
                f"the API version in the data ({said_version}) does not match the expected API version ({api_version})"
            )
        internal = f"{struct.package.split('/')[-2]}.{struct.name}"
        raise BadRequest(f"{where}: converting ({said.go_name}) to ({internal}): unknown conversion")
    obj["apiVersion"], obj["kind"] = api_version, struct.name


def strict_error(struct: Struct, messages: list[str]) -> BadRequest:
    """The error of fieldValidation=Strict for unknown and repeated fields."""
    return BadRequest(_handled_as(struct, "strict decoding error: " + ", ".join(messages)))


def _text(obj: Mapping[str, Any], key: str) -> str:
    value = obj.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(
            f"the object provided is unrecognized: couldn't get version/kind; json parse error: json: cannot unmarshal "
            f"{json.json_type(value)} into Go struct field .{key} of type string"
        )
    return value or ""


def _handled_as(struct: Struct, why: str) -> str:
    return f'{struct.name} in version "{struct.group_version[1]}" cannot be handled as a {struct.name}: {why}'


class _UnknownFieldError(Exception):
    """There is a field the type does not have."""


class _WrongTypeError(Exception):
    """A value does not fit its field; the path is put together on the way out."""

    def __init__(self, value: Any, go_type: str) -> None:
        super().__init__()
        self.value = value
        self.go_type = go_type
        self.path: list[str] = []
        self.owner = ""

    def explain(self, struct: Struct) -> str:
        shown = json.json_type(self.value)
        if shown == "number" and self.go_type in ("int32", "int64"):
            shown = f"number {self.value}"
        target = f"{self.owner or struct.name}.{'.'.join(reversed(self.path))}" if self.path else ""
        place = f"Go struct field {target}" if target else "Go value"
        return f"json: cannot unmarshal {shown} into {place} of type {self.go_type}"


class _Drop:
    """Says that a field is left out."""


_DROP: Final = _Drop()

Converter = Callable[[Any, bool], Any]


def _find_unknown(struct: Struct, value: Any, path: str, found: list[str]) -> None:
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        where = f"{path}.{key}" if path else key
        field = struct.fields.get(key)
        if field is None:
            found.append(f'unknown field "{where}"')
            continue
        inner = field.struct
        if inner is None or item is None:
            continue
        if field.container == "list" and isinstance(item, list):
            for index, element in enumerate(item):
                _find_unknown(inner, element, f"{where}[{index}]", found)
        elif field.container == "map" and isinstance(item, dict):
            for name, element in item.items():
                _find_unknown(inner, element, f"{where}.{name}", found)
        elif not field.container:
            _find_unknown(inner, item, where, found)


@schema.planned
def _plan(struct: Struct) -> Converter:
    converters: dict[str, Converter] = {}
    always: list[tuple[str, Converter]] = []
    go_name = struct.go_name
    ready = False

    def prepare() -> None:
        for field in struct.fields.values():
            converters[field.name] = _field(field)
            if field.always and not field.container and field.type not in _NULL_WHEN_ZERO:
                always.append((field.name, _ZEROES.get(field.type) or _empty(field)))

    def convert(value: Any, strict: bool) -> Any:
        nonlocal ready
        if not ready:
            prepare()
            ready = True
        if type(value) is not dict:
            raise _WrongTypeError(value, go_name)
        made: Object = {}
        for key, item in value.items():
            converter = converters.get(key)
            if converter is _text_or_nothing and type(item) is str:
                # most fields are such ones, and a call for each would be most of the work
                if item:
                    made[key] = item
                continue
            if converter is None:
                if strict:
                    raise _UnknownFieldError
                continue
            if item is None:
                continue
            try:
                item = converter(item, strict)
            except _WrongTypeError as exc:
                exc.path.append(key)
                exc.owner = exc.owner or struct.name
                raise
            if item is not _DROP:
                made[key] = item
        for key, zero in always:
            if key not in made:
                made[key] = zero(None, strict)
        return made

    return convert


def _empty(field: Field) -> Converter:
    inner = field.struct
    assert inner is not None
    plan = _plan(inner)
    return lambda _, strict: plan({}, strict)


def _constant(value: Any) -> Converter:
    return lambda _, __: value


_ZEROES: dict[str, Converter] = {
    "string": _constant(""),
    "bytes": _constant(""),
    "bool": _constant(False),
    "int32": _constant(0),
    "int64": _constant(0),
    "double": _constant(0),
    "Quantity": _constant("0"),
    "QuantityValue": _constant("0"),
    "IntOrString": _constant(0),
}
_NULL_WHEN_ZERO = frozenset({"Time", "MicroTime", "RawExtension", "FieldsV1", "JSON", "Empty", "Verbs"})
_NULL_WHEN_ZERO |= {"JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"}


def _field(field: Field) -> Converter:
    single = _single(field)
    if field.container == "list":
        return _list(single, field)
    if field.container == "map":
        return _map(single, field)
    if field.container == "map-list":
        return _map(_list(single, field), field)
    if field.pointer or field.always or field.type not in _OMITTED:
        return single
    if field.type == "string":
        return _text_or_nothing
    zero = _OMITTED[field.type]

    def omit(value: Any, strict: bool) -> Any:
        made = single(value, strict)
        return _DROP if made == zero else made

    return omit


_OMITTED: dict[str, Any] = {"string": "", "bytes": "", "bool": False, "int32": 0, "int64": 0, "double": 0}


def _single(field: Field) -> Converter:
    inner = field.struct
    if inner is None:
        return _CONVERTERS[field.type]
    return _repeated(inner) if inner.name in REPEATED else _plan(inner)


REPEATED: Final = frozenset({"PodSpec"})
"""Structs that come again and again with the same content."""


def _repeated(struct: Struct) -> Converter:
    plan = _plan(struct)

    def convert(value: Any, strict: bool) -> Any:
        # in the other mode fields are being dropped, which a client is told of each time
        return unpack(_conformed(struct, value)) if strict else plan(value, strict)

    return convert


@remembered
def _conformed(struct: Struct, value: Any) -> bytes:
    return pack(_plan(struct)(value, True))


def _zero_of(field: Field) -> Converter:
    """What a null element of a list or map becomes."""
    if field.struct is not None:
        return _empty(field)
    return _ZEROES.get(field.type) or _constant(None)


def _list(single: Converter, field: Field) -> Converter:
    go_type = f"[]{_go_type(field)}"
    zero = _zero_of(field)
    keep_empty = field.always

    def convert(value: Any, strict: bool) -> Any:
        if type(value) is not list:
            raise _WrongTypeError(value, go_type)
        if not value and not keep_empty:
            return _DROP
        return [zero(None, strict) if item is None else single(item, strict) for item in value]

    return convert


def _map(single: Converter, field: Field) -> Converter:
    go_type = f"map[string]{_go_type(field)}"
    zero = _zero_of(field)
    keep_empty = field.always

    def convert(value: Any, strict: bool) -> Any:
        if type(value) is not dict:
            raise _WrongTypeError(value, go_type)
        if not value and not keep_empty:
            return _DROP
        return {key: zero(None, strict) if item is None else single(item, strict) for key, item in value.items()}

    return convert


_GO_TYPES = {
    "double": "float64",
    "bytes": "[]uint8",
    "Quantity": "resource.Quantity",
    "Time": "v1.Time",
    "MicroTime": "v1.MicroTime",
    "IntOrString": "intstr.IntOrString",
    "RawExtension": "runtime.RawExtension",
}


def _go_type(field: Field) -> str:
    inner = field.struct
    return inner.go_name if inner is not None else _GO_TYPES.get(field.type, field.type)


def _string(value: Any, _: bool) -> Any:
    if type(value) is str:
        return value
    raise _WrongTypeError(value, "string")


def _text_or_nothing(value: Any, _: bool) -> Any:
    """A text that is left out when it is empty."""
    if type(value) is str:
        return value or _DROP
    raise _WrongTypeError(value, "string")


def _bool(value: Any, _: bool) -> Any:
    if type(value) is bool:
        return value
    raise _WrongTypeError(value, "bool")


def _int32(value: Any, _: bool) -> Any:
    if type(value) is int and -(2**31) <= value < 2**31:
        return value
    raise _WrongTypeError(value, "int32")


def _int64(value: Any, _: bool) -> Any:
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    raise _WrongTypeError(value, "int64")


def _double(value: Any, _: bool) -> Any:
    if type(value) is float or type(value) is int:
        return value
    raise _WrongTypeError(value, "float64")


def _bytes(value: Any, _: bool) -> Any:
    if type(value) is not str:
        raise _WrongTypeError(value, "[]uint8")
    text = value.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"illegal base64 data at input byte {_bad_base64_position(text)}") from exc
    return text


def _bad_base64_position(text: str) -> int:
    alphabet = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    for position, character in enumerate(text):
        if character not in alphabet:
            return position
    return len(text) - len(text) % 4


def _quantity(value: Any, _: bool) -> Any:
    if type(value) is str:
        return quantities.canonical(value)
    if type(value) is int or type(value) is float:
        return quantities.canonical(str(value))
    raise ValueError(quantities.FORMAT_WRONG)


def _time(value: Any, _: bool) -> Any:
    if type(value) is str:
        return times.canonical(value)
    raise _WrongTypeError(value, "string")


def _micro_time(value: Any, _: bool) -> Any:
    if type(value) is str:
        return times.canonical_micro(value)
    raise _WrongTypeError(value, "string")


def _int_or_string(value: Any, strict: bool) -> Any:
    return value if type(value) is str else _int32(value, strict)


def _object(value: Any, _: bool) -> Any:
    if type(value) is dict:
        return value
    raise _WrongTypeError(value, "map[string]interface {}")


def _anything(value: Any, _: bool) -> Any:
    return value


_CONVERTERS: dict[str, Converter] = {
    "string": _string,
    "bool": _bool,
    "int32": _int32,
    "int64": _int64,
    "double": _double,
    "bytes": _bytes,
    "Quantity": _quantity,
    "QuantityValue": _quantity,
    "Time": _time,
    "MicroTime": _micro_time,
    "IntOrString": _int_or_string,
    "RawExtension": _anything,
    "FieldsV1": _object,
    "JSON": _anything,
    "JSONSchemaPropsOrArray": _anything,
    "JSONSchemaPropsOrBool": _anything,
    "JSONSchemaPropsOrStringArray": _anything,
    "Empty": _object,
    "Verbs": _anything,
}
