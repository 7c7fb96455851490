"""Kubernetes' functions on lists, and cel-go's lists extension."""

from __future__ import annotations

from typing import Any

from shared.objects.cel.declarations import Library, whole
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.library.operators import checked_int, checked_uint, weight
from shared.objects.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    list_of,
)
from shared.objects.cel.values import Duration, UInt, checked_duration, equal

library = Library()
_ORDERED = (INT, UINT, DOUBLE, BOOL, STRING, BYTES, DURATION, TIMESTAMP)
_LIST = list_of(A)


def _comparable(values: list[Any]) -> list[Any]:
    kinds = {type(one) for one in values}
    if len(kinds) > 1 and not all(issubclass(kind, int | float) and kind is not bool for kind in kinds):
        raise EvaluationError("no such overload")
    if kinds & {list, dict, type(None)}:
        raise EvaluationError("no such overload")
    return values


def _is_sorted(values: list[Any]) -> bool:
    return all(a <= b for a, b in zip(values, _comparable(values)[1:], strict=False))


def _sum(values: list[Any]) -> Any:
    if not values:
        return 0
    first = _comparable(values)[0]
    if isinstance(first, Duration):
        return checked_duration(sum(one.nanos for one in values))
    if isinstance(first, str | bytes | bool):
        raise EvaluationError("no such overload")
    total = sum(values)
    if isinstance(first, UInt):
        return checked_uint(total)
    return total if isinstance(total, float) else checked_int(total)


def _extreme(values: list[Any], name: str) -> Any:
    if not values:
        raise EvaluationError(f"{name} called on empty list")
    return (min if name == "min" else max)(_comparable(values))


def _index_of(values: list[Any], wanted: Any) -> int:
    return next((at for at, one in enumerate(values) if equal(one, wanted)), -1)


def _last_index_of(values: list[Any], wanted: Any) -> int:
    return next((at for at in range(len(values) - 1, -1, -1) if equal(values[at], wanted)), -1)


def distinct(values: list[Any]) -> list[Any]:
    """The values without those that equal an earlier one, in their order."""
    seen: set[tuple[type, Any]] = set()
    found: list[Any] = []
    for one in values:
        if type(one) in (list, dict):
            if any(equal(one, other) for other in found):
                continue
        else:
            key = (float if type(one) in (int, UInt, float) else type(one), one)
            if key in seen:
                continue
            seen.add(key)
        found.append(one)
    return found


def _distinct_cost(values: list[Any]) -> int:
    complex_ones = sum(1 for one in values if type(one) in (list, dict))
    return 1 + len(values) + complex_ones * weight(values)


def _flatten(values: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    if depth == 0:
        return values
    found: list[Any] = []
    for one in values:
        found.extend(_flatten(one, depth - 1) if isinstance(one, list) else [one])
    return found


def _slice(values: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(values):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(values)}")
    return values[start:end]


def _sort(values: list[Any]) -> list[Any]:
    return sorted(_comparable(values))


def _sort_by_keys(values: list[Any], keys: list[Any]) -> list[Any]:
    order = sorted(range(len(values)), key=_comparable(keys).__getitem__)
    return [values[at] for at in order]


def _range(count: int) -> list[int]:
    return list(range(count))


_ALL = whole(0)
for _kind in _ORDERED:
    _values = list_of(_kind)
    library.method("isSorted", (_values,), BOOL, _is_sorted, cost=_ALL)
    library.method("min", (_values,), _kind, lambda values: _extreme(values, "min"), cost=_ALL)
    library.method("max", (_values,), _kind, lambda values: _extreme(values, "max"), cost=_ALL)
    library.method("sort", (_values,), _values, _sort, cost=_ALL)
    library.method("@sortByKeys", (_LIST, _values), _LIST, _sort_by_keys, cost=_ALL)
for _kind in (INT, UINT, DOUBLE, DURATION):
    library.method("sum", (list_of(_kind),), _kind, _sum, cost=_ALL)
library.method("indexOf", (_LIST, A), INT, _index_of, cost=lambda values, one: 1 + len(values) * weight(one))
library.method("lastIndexOf", (_LIST, A), INT, _last_index_of, cost=lambda values, one: 1 + len(values) * weight(one))
library.method("distinct", (_LIST,), _LIST, distinct, cost=_distinct_cost)
library.method("flatten", (list_of(_LIST),), _LIST, _flatten, cost=weight)
library.method("flatten", (list_of(DYN), INT), list_of(DYN), _flatten, cost=lambda values, depth: weight(values))
library.method("slice", (_LIST, INT, INT), _LIST, _slice, cost=_ALL)
library.method("reverse", (_LIST,), _LIST, lambda values: values[::-1], cost=_ALL)
library.function("lists.range", (INT,), list_of(INT), _range, cost=lambda count: max(1, count))
