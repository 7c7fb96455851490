"""How fields hang together for ownership: what is owned as a whole, what key by key, what element by element."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from services.apiserver.apply.fieldsets import keyed, named, valued
from shared.objects.schema import Field, Struct

Kind = Literal["leaf", "struct", "map", "list", "set"]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The shape of a value. A `leaf` is owned as a whole: scalars and everything atomic."""

    kind: Kind
    struct: Struct | None = None
    element: "Shape | None" = None
    keys: tuple[str, ...] = ()

    def child(self, name: str) -> "Shape":
        """The shape of a field or of a map's value."""
        if self.kind == "struct":
            return _fields(self.struct).get(name, LEAF)
        return self.element or LEAF

    def is_named(self, name: str) -> bool:
        """Whether a key is a field of the schema, not one of the user's choosing."""
        return self.kind == "struct" and name in _fields(self.struct)

    def children(self, value: Any) -> "Iterator[tuple[str, Shape, Any]]":
        """(element, shape, value) of everything directly below a value."""
        if self.kind in ("struct", "map"):
            for name, inner in value.items():
                yield named(name), self.child(name), inner
        elif self.kind == "set":
            for inner in value:
                yield valued(inner), LEAF, inner
        elif self.kind == "list":
            for inner in value:
                yield self.key_of(inner), self.element or LEAF, inner

    def key_of(self, item: Any) -> str:
        """The element of a list item: its keys, a missing one being its default."""
        if self.kind == "set":
            return valued(item)
        fields = self.element.struct.fields if self.element and self.element.struct else {}
        found = {}
        for name in self.keys:
            value = item.get(name)
            if value is None and name in fields:
                value = fields[name].default
            found[name] = value
        return keyed(found)


LEAF = Shape("leaf")


@cache
def shape_of(struct: Struct) -> Shape:
    """The shape of an object of a struct."""
    return Shape("struct", struct)


@cache
def _fields(struct: Struct | None) -> dict[str, Shape]:
    assert struct is not None
    return {name: _shape(field) for name, field in struct.fields.items()}


def _shape(field: Field) -> Shape:
    inner = field.struct
    if field.map_type == "atomic":
        return LEAF
    match field.container:
        case "":
            if inner is None or (inner.atomic and field.map_type != "granular"):
                return LEAF
            return shape_of(inner)
        case "map":
            return Shape("map", element=shape_of(inner) if inner is not None and not inner.atomic else LEAF)
        case "map-list":
            return Shape("map", element=LEAF)
        case _:
            if field.list_type == "set":
                return Shape("set")
            if field.list_type == "map" and inner is not None:
                return Shape("list", element=shape_of(inner), keys=field.map_keys)
            return LEAF
