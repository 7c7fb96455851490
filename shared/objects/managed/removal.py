"""Taking out of an object what its applier no longer asks for.

A field, a key of a map or an element of a list goes if the manager applied it last time, does not now, and nobody else
claims it. An element that goes takes along what nobody owns in it, for example its defaults.
Source: KEP-555 and the prune step of structured-merge-diff's merge package.
"""

from __future__ import annotations

from typing import Any

from shared.objects.managed import sets
from shared.objects.managed.extraction import fields_of
from shared.objects.managed.sets import SELF, Fields
from shared.objects.managed.shapes import Granular, Listed, Shape


def pruned(shape: Granular, obj: dict[str, Any], last: Fields, claimed: Fields) -> dict[str, Any]:
    """The object without what was in `last` and is not in `claimed`, the union of the sets of all managers."""
    if not sets.without(last, claimed):
        return obj
    before = named(shape, fields_of(shape, obj))
    last, claimed = named(shape, last), named(shape, claimed)
    bare = named(shape, fields_of(shape, removed(shape, obj, last)))
    kept = removed(shape, obj, sets.without(before, sets.united(bare, claimed)))
    # what nobody ever owned stays where its surroundings stay
    going = sets.shared(sets.without(before, named(shape, fields_of(shape, kept))), last)
    return removed(shape, obj, going)


def removed(shape: Granular, obj: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """The object without the members of a set; maps and lists that this empties become null, which says nothing."""
    return (_without(shape, obj, fields) or {}) if fields else obj


def _without(shape: Shape, value: Any, node: Fields) -> Any:
    """The value without what is below a node; None if nothing is left."""
    if shape.atomic:
        return value
    if isinstance(shape, Granular) and isinstance(value, dict):
        return _map_without(shape, value, node)
    if isinstance(shape, Listed) and isinstance(value, list):
        return _list_without(shape, value, node)
    return value


def _map_without(shape: Granular, value: dict[str, Any], node: Fields) -> dict[str, Any] | None:
    made = {}
    for name, item in value.items():
        below = node.get(f"f:{name}")
        if below is None:
            made[name] = item
        elif not sets.is_member(below):
            member = shape.member(name)
            made[name] = _without(member.shape, item, below) if member is not None else item
    return made or None


def _list_without(shape: Listed, value: list[Any], node: Fields) -> list[Any] | None:
    made = []
    for item in value:
        below = node.get(shape.path_element(item))
        if below is None:
            made.append(item)
        elif not sets.is_member(below):
            rest = _without(shape.element, item, below)
            made.append({} if rest is None else rest)
    return made or None


def named(shape: Granular, fields: Fields) -> Fields:
    """The set with every declared field in it that has something below it in the set."""
    return _named(shape, fields) if fields else fields


def _named(shape: Shape | None, node: Fields) -> Fields:
    made: Fields = {}
    for element, below in node.items():
        inner: Shape | None = None
        declared = False
        if isinstance(shape, Granular) and element.startswith("f:"):
            member = shape.member(element[2:])
            inner, declared = (member.shape if member else None), element[2:] in shape.members
        elif isinstance(shape, Listed):
            inner = shape.element
        if below and element != SELF:
            below = _named(inner, below)
            made[element] = sets.as_member(below) if declared else below
        else:
            made[element] = below
    return made
