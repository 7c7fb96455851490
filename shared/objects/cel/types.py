"""The types expressions are checked with, and whether one fits another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Type:
    """A type by name; lists, maps, optionals and types of types have parameters, objects have fields.

    A `parameter` such as A stands for any one type within a function's signature. Objects are equal by name.
    """

    name: str
    parameters: tuple[Type, ...] = ()
    fields: Mapping[str, Type] | None = field(default=None, compare=False, repr=False)
    parameter: bool = False

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"


DYN = Type("dyn")
NULL = Type("null")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")
A = Type("A", parameter=True)
B = Type("B", parameter=True)
NUMBERS = (INT, UINT, DOUBLE)


def list_of(element: Type) -> Type:
    return Type("list", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def type_of(value: Type) -> Type:
    return Type("type", (value,))


def object_of(name: str, fields: Mapping[str, Type]) -> Type:
    """A type whose fields are known, so that a selection of any other field does not compile."""
    return Type(name, (), fields)


def opaque(name: str) -> Type:
    """A type that only its own functions understand."""
    return Type(name)


Bindings = dict[str, Type]


def substitute(kind: Type, bindings: Bindings) -> Type:
    """The type with its parameters replaced; those left open become dyn."""
    if kind.parameter:
        return bindings.get(kind.name, DYN)
    if not kind.parameters:
        return kind
    return Type(kind.name, tuple(substitute(one, bindings) for one in kind.parameters), kind.fields)


def fits(wanted: Type, given: Type, bindings: Bindings) -> bool:
    """Whether a value of type `given` may stand where `wanted` is; adds what parameters stand for to `bindings`."""
    if wanted.parameter:
        bound = bindings.get(wanted.name)
        if bound is None:
            bindings[wanted.name] = given
            return True
        if fits(bound, given, bindings):
            if bound.name == "null":
                bindings[wanted.name] = given
            elif _holds_dyn(given):
                bindings[wanted.name] = DYN if given.name == "dyn" else given
            return True
        return fits(given, bound, bindings)
    if wanted.name == "dyn" or given.name == "dyn" or given.parameter:
        return True
    if given.name == "null" or wanted.name == "null":
        return given.name == wanted.name or (wanted if given.name == "null" else given).name in _NULLABLE
    if wanted.name != given.name or len(wanted.parameters) != len(given.parameters):
        return False
    return all(fits(w, g, bindings) for w, g in zip(wanted.parameters, given.parameters, strict=True))


def joined(left: Type, right: Type) -> Type:
    """The type of a list element that is sometimes one, sometimes the other."""
    if left == right:
        return left
    bindings: Bindings = {}
    if fits(left, right, bindings):
        return right if left.name == "null" else left
    return DYN


_NULLABLE = frozenset({"timestamp", "duration", "optional_type"})
"""Types a null may be compared with, as messages in CEL's own terms."""


def _holds_dyn(kind: Type) -> bool:
    return kind.name == "dyn" or any(map(_holds_dyn, kind.parameters))
