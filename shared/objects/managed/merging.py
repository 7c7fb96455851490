"""Laying an applied configuration over the live object.

Maps merge by key, keyed lists and sets by element, everything else is replaced. Nothing is removed here, nulls and
empty maps included. Inputs are never changed; parts that only one side has are shared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shared.objects.managed.shapes import Deduced, Granular, Listed, Shape


def merged(shape: Granular, live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The live object with what the configuration says."""
    return _merged_maps(shape, live, config)


def _merged(shape: Shape, live: Any, config: Any) -> Any:
    if shape.atomic or not (live or config):
        return config
    if isinstance(shape, Granular):
        if not isinstance(live, dict) or not isinstance(config, dict):
            return config if isinstance(shape, Deduced) else config or live
        return _merged_maps(shape, live, config)
    assert isinstance(shape, Listed)
    if not isinstance(live, list) or not isinstance(config, list):
        return config or live
    return _merged_lists(shape, live, config)


def _merged_maps(shape: Granular, live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    made = dict(live)
    for name, value in config.items():
        member = shape.member(name)
        if name in made and member is not None:
            made[name] = _merged(member.shape, made[name], value)
        else:
            made[name] = value
    return made


class _Repeated:
    """Stands for an element that a list has more than once, so that there is none to merge with."""


_REPEATED: Final = _Repeated()


def _merged_lists(shape: Listed, live: list[Any], config: list[Any]) -> list[Any]:
    """The elements of both lists.

    The elements of the configuration come in its order, the others stay between those they stood between: both lists
    are walked side by side, and `due` are the shared elements in the order in which the walk has to meet them.
    """
    here, there = _elements(shape, live), _elements(shape, config)
    mine, theirs = _indexed(here, live), _indexed(there, config)
    due = [element for element in there if element in mine]
    made: list[Any] = []
    done: set[str] = set()

    def take(element: str) -> None:
        done.add(element)
        present, wanted = mine.get(element, _REPEATED), theirs[element]
        made.append(wanted if isinstance(present, _Repeated) else _merged(shape.element, present, wanted))

    left = right = 0
    while left < len(here) or right < len(there):
        if left < len(here) and right < len(there):
            if here[left] == there[right]:
                take(there[right])
                left, right = left + 1, right + 1
                due = due[1:]
                continue
            if here[left] in theirs and due and due[0] != here[left]:
                left += 1
                continue
        if left < len(here):
            if here[left] not in theirs:
                made.append(live[left])
                left += 1
                continue
            if here[left] in done:
                left += 1
        if right < len(there):
            take(there[right])
            if due and due[0] == there[right]:
                due = due[1:]
            right += 1
    return made


def _elements(shape: Listed, items: Sequence[Any]) -> list[str]:
    return [shape.path_element(item) for item in items]


def _indexed(elements: Sequence[str], items: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element, item in zip(elements, items, strict=True):
        found[element] = _REPEATED if element in found else item
    return found
