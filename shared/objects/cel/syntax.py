"""The tree of an expression. Macros are kept as loops of their own, so that they can be run as plain Python loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(slots=True)
class Node:
    """Any part of an expression; `at` is the offset in characters that messages point at."""

    at: int


@dataclass(slots=True)
class Literal(Node):
    value: Any


@dataclass(slots=True)
class Ident(Node):
    name: str


@dataclass(slots=True)
class Select(Node):
    """`operand.field`; with `test` it is has(operand.field), with `optional` operand.?field."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False


@dataclass(slots=True)
class Call(Node):
    """A function, an operator under its CEL name such as _+_, or a method if there is a target."""

    function: str
    target: Node | None
    arguments: list[Node]


@dataclass(slots=True)
class ListLiteral(Node):
    """`[a, ?b]`: `optional` holds the indexes of the elements that may be left out."""

    elements: list[Node]
    optional: frozenset[int]


class Entry(NamedTuple):
    """An entry of a map; the value of an optional one may be left out."""

    key: Node
    value: Node
    optional: bool


@dataclass(slots=True)
class MapLiteral(Node):
    entries: list[Entry]


class FieldEntry(NamedTuple):
    """A field of a message; the value of an optional one may be left out."""

    name: str
    value: Node
    optional: bool


@dataclass(slots=True)
class Message(Node):
    """`Object.metadata{name: 'x'}`: an object of a named type, written field by field."""

    name: str
    entries: list[FieldEntry]


@dataclass(slots=True)
class Loop(Node):
    """A comprehension macro over `range`: all, exists, exists_one, map, filter, transformList, transformMap...

    `names` are one or two loop variables; `condition` selects (or decides), `result` is what is collected.
    """

    macro: str
    range: Node
    names: tuple[str, ...]
    condition: Node | None
    result: Node | None


@dataclass(slots=True)
class Bind(Node):
    """cel.bind(name, value, body); for optMap and optFlatMap `value` is the optional and `macro` says which."""

    macro: str
    name: str
    value: Node
    body: Node


def dotted(node: Node) -> str | None:
    """The name a chain of plain selections spells, for example google.protobuf.Timestamp; None for anything else."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.test and not node.optional:
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    parts.append(node.name)
    return ".".join(reversed(parts))
