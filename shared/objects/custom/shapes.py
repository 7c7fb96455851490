"""What field managers can own of a custom resource: the shapes of its structural schema.

Where a schema keeps unknown fields their shape is taken from the value: maps are merged key by key, lists are atomic.
Source: apiserver's pkg/endpoints/handlers/fieldmanager and structured-merge-diff's deduced types.
"""

from __future__ import annotations

import functools

from shared.objects import schema
from shared.objects.custom.structural import MISSING, Node
from shared.objects.managed.shapes import DEDUCED, Granular, Listed, Member, Scalar, Shape, shape_of

_SCALARS = {
    "string": Scalar("string"),
    "integer": Scalar("numeric"),
    "number": Scalar("numeric"),
    "boolean": Scalar("boolean"),
}
_PLAIN = Scalar("scalar")


class CustomGranular(Granular):
    """An object of a structural schema; `root` has apiVersion, kind and metadata besides its properties."""

    def __init__(self, node: Node, *, root: bool = False) -> None:
        element = compiled(node.additional) if node.additional is not None else None
        super().__init__(None, DEDUCED if element is None and node.preserve else element, node.atomic_map)
        self._node = node
        self._root = root

    @functools.cached_property
    def members(self) -> dict[str, Member]:
        found = {name: Member(f"f:{name}", compiled(child), False) for name, child in self._node.properties.items()}
        if self._root or self._node.embedded:
            found["apiVersion"] = Member("f:apiVersion", _SCALARS["string"], False)
            found["kind"] = Member("f:kind", _SCALARS["string"], False)
            metadata = shape_of(schema.struct("meta/v1.ObjectMeta"))
            found["metadata"] = Member("f:metadata", metadata, self._root)
        return found


def compiled(node: Node) -> Shape:
    """The shape of a schema."""
    if node.int_or_string:
        return _PLAIN
    match node.type:
        case "object":
            return CustomGranular(node)
        case "array":
            element = compiled(node.items) if node.items is not None else DEDUCED
            return Listed(element, node.list_type or "atomic", _keys(node))
    return _SCALARS.get(node.type, DEDUCED)


def _keys(node: Node) -> tuple[tuple[str, object], ...]:
    if node.list_type != "map" or node.items is None:
        return ()
    found = []
    for name in node.map_keys:
        child = node.items.properties.get(name)
        default = child.default if child is not None else MISSING
        found.append((name, None if default is MISSING else default))
    return tuple(found)
