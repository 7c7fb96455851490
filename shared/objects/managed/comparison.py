"""What differs between two versions of an object, as field sets: the basis of ownership by update and of conflicts.

Unlike the set of a configuration, a difference contains the structs, maps and lists that came or went as a whole. The
order of keyed lists and sets is no difference. This runs on every write, so that equal parts are left as early as
possible: comparing two dicts is one call into C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from shared.objects.managed.sets import MEMBER, SELF, Fields
from shared.objects.managed.shapes import Granular, Listed, Shape

Ignored = Mapping[str, frozenset[str] | None]
"""Names of top-level fields that do not count: as a whole (None), or the fields below them that are named."""

NOTHING: Final[Ignored] = {}


class Difference(NamedTuple):
    """`changed` was added or has another value, `removed` is gone; either is the empty set if there is none."""

    changed: Fields
    removed: Fields


_Node = Fields | None
_SAME: tuple[_Node, _Node] = (None, None)


def compare(shape: Granular, old: Mapping[str, Any], new: Mapping[str, Any], ignored: Ignored = NOTHING) -> Difference:
    """What of `new` differs from `old`, both being objects of the kind in their canonical form."""
    if ignored:
        old, new = counting(old, ignored), counting(new, ignored)
    changed, removed = _compare_maps(shape, old, new)
    return Difference(changed or {}, removed or {})


def counting(obj: Mapping[str, Any], ignored: Ignored) -> Mapping[str, Any]:
    """The part of an object that counts."""
    made = {}
    for name, value in obj.items():
        below = ignored.get(name, _ABSENT)
        if below is _ABSENT:
            made[name] = value
        elif below is not None and isinstance(value, dict):
            made[name] = {key: item for key, item in value.items() if key not in below}
    return made


_ABSENT: Final[frozenset[str]] = frozenset({"/"})


def _compare(shape: Shape, old: Any, new: Any) -> tuple[_Node, _Node]:
    """The nodes of what changed and of what went between two values that differ."""
    if shape.atomic:
        return MEMBER, None
    if isinstance(shape, Granular):
        old_map, new_map = old if isinstance(old, dict) else {}, new if isinstance(new, dict) else {}
        return _compare_maps(shape, old_map, new_map) if old_map or new_map else (MEMBER, None)
    assert isinstance(shape, Listed)
    old_list, new_list = old if isinstance(old, list) else [], new if isinstance(new, list) else []
    return _compare_lists(shape, old_list, new_list) if old_list or new_list else (MEMBER, None)


def _compare_maps(shape: Granular, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[_Node, _Node]:
    changed: Fields = {}
    removed: Fields = {}
    members, element = shape.members, shape.element
    for name, value in new.items():
        member = members.get(name)
        inner = member.shape if member is not None else element
        if name in old:
            before = old[name]
            if before is value or before == value:
                continue
            more, less = (MEMBER, None) if inner is None else _compare(inner, before, value)
            if more is not None:
                changed[f"f:{name}"] = more
            if less is not None:
                removed[f"f:{name}"] = less
        else:
            node = _whole(inner, value, member is not None and member.always)
            if node is not None:
                changed[f"f:{name}"] = node
    for name in old.keys() - new.keys():
        member = members.get(name)
        inner = member.shape if member is not None else element
        node = _whole(inner, old[name], member is not None and member.always)
        if node is not None:
            removed[f"f:{name}"] = node
    return changed or None, removed or None


def _compare_lists(shape: Listed, old: list[Any], new: list[Any]) -> tuple[_Node, _Node]:
    before, after = _by_element(shape, old), _by_element(shape, new)
    changed: Fields = {}
    removed: Fields = {}
    inner = shape.element
    for element, items in after.items():
        known = before.get(element, ())
        if len(items) > 1:
            if len(known) > 1:
                if items != known:
                    changed[element] = MEMBER
                continue
            if known:
                removed[element] = everything(inner, known[0])
            changed[element] = MEMBER
        elif len(known) == 1:
            if known[0] != items[0]:
                more, less = _compare(inner, known[0], items[0])
                if more is not None:
                    changed[element] = more
                if less is not None:
                    removed[element] = less
        else:
            changed[element] = everything(inner, items[0])
            if known:
                removed[element] = MEMBER
    for element, items in before.items():
        if element not in after:
            removed[element] = everything(inner, items[0]) if len(items) == 1 else MEMBER
    return changed or None, removed or None


def _by_element(shape: Listed, items: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    path_element = shape.path_element
    for item in items:
        found.setdefault(path_element(item), []).append(item)
    return found


def _whole(shape: Shape | None, value: Any, always: bool) -> _Node:
    """The node of a field that is there on one side only; one that Go always writes was there, but empty."""
    node = MEMBER if shape is None else everything(shape, value)
    if not always or not node:
        return node
    return {element: below for element, below in node.items() if element != SELF}


def everything(shape: Shape, value: Any) -> Fields:
    """The node of a value with all that is in it, the containers included."""
    if shape.atomic or not value:
        return MEMBER
    made: Fields = {SELF: MEMBER}
    if isinstance(shape, Granular):
        if not isinstance(value, dict):
            return MEMBER
        members, element = shape.members, shape.element
        for name, item in value.items():
            member = members.get(name)
            if member is None:
                inner, path = element, f"f:{name}"
            else:
                path, inner, _ = member
            # most fields are plain, and a call for each would be most of the work
            made[path] = MEMBER if inner is None or inner.atomic or not item else everything(inner, item)
        return made
    assert isinstance(shape, Listed)
    if not isinstance(value, list):
        return MEMBER
    for path, items in _by_element(shape, value).items():
        made[path] = everything(shape.element, items[0]) if len(items) == 1 else MEMBER
    return made
