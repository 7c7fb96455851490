"""cel-go's sets extension: lists read as sets."""

from __future__ import annotations

from typing import Any

from shared.objects.cel.declarations import Library
from shared.objects.cel.library.operators import weight
from shared.objects.cel.types import BOOL, A, list_of
from shared.objects.cel.values import equal

library = Library()
_BOTH = (list_of(A), list_of(A))


def contains(values: list[Any], wanted: list[Any]) -> bool:
    return all(any(equal(one, other) for other in values) for one in wanted)


def _equivalent(left: list[Any], right: list[Any]) -> bool:
    return contains(left, right) and contains(right, left)


def _intersects(left: list[Any], right: list[Any]) -> bool:
    return any(any(equal(one, other) for other in right) for one in left)


def _cost(left: list[Any], right: list[Any]) -> int:
    return 1 + weight(left) * len(right)


library.function("sets.contains", _BOTH, BOOL, contains, cost=_cost)
library.function("sets.equivalent", _BOTH, BOOL, _equivalent, cost=lambda a, b: 2 * _cost(a, b))
library.function("sets.intersects", _BOTH, BOOL, _intersects, cost=_cost)
