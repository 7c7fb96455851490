"""A structural schema in the eyes of CEL: the types rules are checked with, and values in the form rules see them.

Source: apiextensions-apiserver's pkg/apiserver/schema/cel/model and apiserver's pkg/cel/common.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from shared.objects.cel import EvaluationError, types
from shared.objects.cel.types import Type
from shared.objects.cel.values import equal, parse_duration, parse_timestamp
from shared.objects.custom.structural import Node

_ACCESSIBLE = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*", re.ASCII)
_RESERVED = frozenset({"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function"})
_RESERVED |= {"if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"}
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_TEXTS: dict[str, Type] = {
    "byte": types.BYTES,
    "duration": types.DURATION,
    "date": types.TIMESTAMP,
    "date-time": types.TIMESTAMP,
}
_METADATA = types.object_of("object.metadata", {"name": types.STRING, "generateName": types.STRING})


def escape(name: str) -> str | None:
    """The name a property goes by in expressions; None if it cannot be named."""
    if _ACCESSIBLE.fullmatch(name) is None:
        return None
    if name in _RESERVED:
        return f"__{name}__"
    for text, replacement in _ESCAPES:
        name = name.replace(text, replacement)
    return name


def type_of(node: Node, path: str = "object", *, root: bool = False) -> Type:
    """The type of what a schema describes."""
    if node.cel_type is None:
        node.cel_type = _type_of(node, path, root=root)
    found: Type = node.cel_type
    return found


def _type_of(node: Node, path: str, *, root: bool) -> Type:
    if node.int_or_string or node.nullable:
        return types.DYN
    match node.type:
        case "array":
            return types.list_of(type_of(node.items, f"{path}.@items") if node.items is not None else types.DYN)
        case "object":
            if node.additional is not None:
                return types.map_of(types.STRING, type_of(node.additional, f"{path}.@values"))
            return _object(node, path, root=root or node.embedded)
        case "string":
            return _TEXTS.get(node.raw.get("format") or "", types.STRING)
        case "boolean":
            return types.BOOL
        case "integer":
            return types.INT
        case "number":
            return types.DOUBLE
    return types.DYN


def _object(node: Node, path: str, *, root: bool) -> Type:
    fields: dict[str, Type] = {}
    for name, child in node.properties.items():
        escaped = escape(name)
        if escaped is not None:
            fields[escaped] = type_of(child, f"{path}.{name}")
    if root:
        fields |= {"apiVersion": types.STRING, "kind": types.STRING, "metadata": _METADATA}
    return types.object_of(path, fields)


def to_cel(node: Node, value: Any, *, root: bool = False) -> Any:
    """A value as rules see it; EvaluationError if it does not fit its format."""
    if value is None or node.int_or_string:
        return value
    if isinstance(value, dict):
        return _map_to_cel(node, value, root=root or node.embedded)
    if isinstance(value, list):
        items = node.items
        made = [to_cel(items, item) for item in value] if items is not None else value
        if node.list_type == "set":
            return SetList(made)
        return MapList(made, [escape(name) or name for name in node.map_keys]) if node.list_type == "map" else made
    if node.type == "number":
        return float(value)
    if node.type == "integer" and isinstance(value, float):
        return int(value)
    if isinstance(value, str) and node.type == "string":
        read = _READERS.get(node.raw.get("format") or "")
        return value if read is None else read(value)
    return value


def _map_to_cel(node: Node, value: dict[str, Any], *, root: bool) -> dict[str, Any]:
    if node.additional is not None:
        values = node.additional
        return {name: to_cel(values, item) for name, item in value.items()}
    made: dict[str, Any] = {}
    for name, item in value.items():
        child = node.properties.get(name)
        if root and name == "metadata" and isinstance(item, dict):
            made[name] = {key: item[key] for key in ("name", "generateName") if key in item}
        elif child is not None:
            escaped = escape(name)
            if escaped is not None:
                made[escaped] = to_cel(child, item)
        elif root and name in ("apiVersion", "kind"):
            made[name] = item
    return made


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise EvaluationError(f"illegal base64 data: {exc}") from exc


_READERS: dict[str, Callable[[str], Any]] = {
    "byte": _bytes,
    "duration": parse_duration,
    "date": lambda text: parse_timestamp(f"{text}T00:00:00Z"),
    "date-time": parse_timestamp,
}


class SetList(list[Any]):
    """A list that is a set: order does not matter, adding makes the union."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and len(self) == len(other) and all(_holds(other, one) for one in self)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __add__(self, other: list[Any]) -> SetList:
        return SetList([*self, *(one for one in other if not _holds(self, one))])


class MapList(list[Any]):
    """A list whose elements have keys: order does not matter, adding replaces the elements with the same keys."""

    __hash__ = None

    def __init__(self, items: list[Any], keys: list[str]) -> None:
        super().__init__(items)
        self.keys = keys

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and len(self) == len(other) and all(_holds(other, one) for one in self)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __add__(self, other: list[Any]) -> MapList:
        newer = {self._identity(one): one for one in other}
        kept = [newer.pop(self._identity(one), one) for one in self]
        return MapList([*kept, *newer.values()], self.keys)

    def _identity(self, item: Any) -> tuple[str, ...]:
        return tuple(repr(item.get(name)) if isinstance(item, dict) else repr(item) for name in self.keys)


def _holds(values: list[Any], wanted: Any) -> bool:
    return any(equal(one, wanted) for one in values)
