"""What a field manager can own of a type: every field on its own, an element of a list, or only the whole.

Shapes are compiled from the schema once a type. Besides the list and map types of the schema they know what the
published OpenAPI documents say of defaults of list keys, because an element without `protocol` is the one with TCP.
Source: KEP-2332 (list types), KEP-555 (apply).
"""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple

from shared.objects import schema
from shared.objects.managed import sets
from shared.objects.schema import Field, Struct

ATOMIC: Final = "atomic"
_ZEROES = {"string": "", "int32": 0, "int64": 0, "bool": False}


class Shape:
    """The base: an `atomic` value has one owner, whatever it consists of."""

    atomic = True


class Scalar(Shape):
    """A plain value; `expects` is string, numeric, boolean, scalar (any of these) or any (whatever JSON has)."""

    def __init__(self, expects: str) -> None:
        self.expects = expects


class Member(NamedTuple):
    """A field of a granular map: its path element, its shape, and whether Go writes it even when it is empty."""

    element: str
    shape: Shape
    always: bool


class Granular(Shape):
    """A struct, or a map whose keys the user chooses (`element` is then the shape of its values)."""

    def __init__(self, struct: Struct | None, element: Shape | None, atomic: bool) -> None:
        self._struct = struct
        self.element = element
        self.atomic = atomic

    @functools.cached_property
    def members(self) -> dict[str, Member]:
        """The declared fields by name; resolved late because types may contain themselves."""
        if self._struct is None:
            return {}
        return {
            name: Member(f"f:{name}", _field_shape(field), field.always) for name, field in self._struct.fields.items()
        }

    def member(self, name: str) -> Member | None:
        """What is known of a key; None if the type does not have it."""
        known = self.members.get(name)
        if known is None and self.element is not None:
            return Member(f"f:{name}", self.element, False)
        return known


class Deduced(Granular):
    """A value without schema: a map is merged key by key, everything else is one."""

    def __init__(self) -> None:
        super().__init__(None, None, False)
        self.element = self


DEDUCED: Final = Deduced()


class Listed(Shape):
    """A list: atomic, a set of scalars, or elements told apart by their `keys` (name and published default)."""

    def __init__(self, element: Shape, list_type: str, keys: tuple[tuple[str, Any], ...] = ()) -> None:
        self.element = element
        self.atomic = list_type not in ("map", "set")
        self.keys = keys
        self._only_key = keys[0][0] if len(keys) == 1 else ""

    def path_element(self, item: Any) -> str:
        """The path element of an element; ValueError if it has no identity."""
        if not self.keys:
            if isinstance(item, dict | list):
                raise ValueError("set elements must be scalars")
            return sets.value_element(item)
        if not isinstance(item, dict):
            raise ValueError(
                f"associative list with keys may not have {'a null' if item is None else 'non-map'} elements"
            )
        only = item.get(self._only_key)
        if type(only) is str:
            return _named_element(self._only_key, only)
        found = {}
        for name, default in self.keys:
            value = item.get(name, default)
            if value is not None:
                found[name] = value
        return sets.key_element(found)


@functools.lru_cache(maxsize=4096)
def _named_element(key: str, value: str) -> str:
    """The path element of most lists: containers, conditions, volumes go by one name, and names recur."""
    return sets.key_element({key: value})


@schema.planned
def shape_of(struct: Struct) -> Granular:
    """The shape of a struct or a whole kind."""
    if struct.custom is not None:
        return struct.custom.shape
    return Granular(struct, None, struct.atomic)


@functools.cache
def _granular(struct: Struct) -> Granular:
    """A struct that a field declares granular although it is atomic elsewhere."""
    return Granular(struct, None, False)


def _field_shape(field: Field) -> Shape:
    single = _single(field)
    match field.container:
        case "list":
            return Listed(single, field.list_type, _keys(field))
        case "map":
            return Granular(None, single, field.map_type == ATOMIC)
        case "map-list":
            return Granular(None, Listed(single, ATOMIC), field.map_type == ATOMIC)
    return single


def _single(field: Field) -> Shape:
    struct = field.struct
    if struct is None:
        return _SCALARS.get(field.type, _ANY)
    return _granular(struct) if field.map_type == "granular" and not field.container else shape_of(struct)


def _keys(field: Field) -> tuple[tuple[str, Any], ...]:
    struct = field.struct
    if field.list_type != "map" or struct is None:
        return ()
    return tuple((name, _published_default(struct.fields[name])) for name in sorted(field.map_keys))


def _published_default(field: Field) -> Any:
    """OpenAPI also gives the zero value as the default of a field that Go writes always."""
    if field.published:
        return field.default
    return _ZEROES.get(field.type) if field.always and not field.container else None


_ANY = Scalar("any")
_STRING, _NUMERIC, _BOOLEAN, _PLAIN = Scalar("string"), Scalar("numeric"), Scalar("boolean"), Scalar("scalar")
_SCALARS: dict[str, Shape] = {
    "string": _STRING,
    "bytes": _STRING,
    "Time": _STRING,
    "MicroTime": _STRING,
    "bool": _BOOLEAN,
    "int32": _NUMERIC,
    "int64": _NUMERIC,
    "double": _NUMERIC,
    "Quantity": _PLAIN,
    "QuantityValue": _PLAIN,
    "IntOrString": _PLAIN,
    "RawExtension": Granular(None, _ANY, False),
    "FieldsV1": Granular(None, _ANY, False),
    "Empty": Granular(None, _ANY, False),
}
