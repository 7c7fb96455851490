"""Which fields an applied configuration lays claim to."""

from __future__ import annotations

from typing import Any

from shared.objects.managed import sets
from shared.objects.managed.sets import MEMBER, Fields
from shared.objects.managed.shapes import Deduced, Granular, Listed, Shape


def fields_of(shape: Shape, obj: Any) -> Fields:
    """The set of an object: its leaves, the elements of its keyed lists, the keys of its free maps.

    Fields of a struct are not members on account of what they contain, only if they hold null or an empty map. Of
    elements that a list has more than once only the element itself is in the set.
    """
    return _node(shape, obj) or {}


def _node(shape: Shape, value: Any) -> Fields | None:
    """The node of a value; None if nothing of it can be owned."""
    if shape.atomic:
        return MEMBER
    if isinstance(shape, Granular):
        if isinstance(shape, Deduced) and not isinstance(value, dict):
            return MEMBER
        return _map_node(shape, value) if isinstance(value, dict) else None
    assert isinstance(shape, Listed)
    return _list_node(shape, value) if isinstance(value, list) else None


def _map_node(shape: Granular, value: dict[str, Any]) -> Fields | None:
    made: Fields = {}
    for name, item in value.items():
        member = shape.member(name)
        if member is None:
            made[f"f:{name}"] = MEMBER
            continue
        node = _node(member.shape, item)
        if item is None or item == {} or name not in shape.members:
            node = sets.as_member(node)
        if node is not None:
            made[member.element] = node
    return made or None


def _list_node(shape: Listed, value: list[Any]) -> Fields | None:
    made: Fields = {}
    for item in value:
        element = shape.path_element(item)
        made[element] = MEMBER if element in made or not shape.keys else sets.as_member(_node(shape.element, item))
    return made or None
