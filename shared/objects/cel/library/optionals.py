"""Optional values: optional.of, orValue, and what comes from `a.?b`."""

from __future__ import annotations

from typing import Any

from shared.objects.cel.declarations import Library
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.types import BOOL, DYN, A, list_of, optional_of
from shared.objects.cel.values import NONE, CelOptional, Duration, Timestamp

library = Library()
_OPTIONAL = optional_of(A)


def _value(held: CelOptional) -> Any:
    if not held.present:
        raise EvaluationError("optional.none() dereference")
    return held.value


def _of_non_zero(value: Any) -> CelOptional:
    zero = isinstance(value, Duration | Timestamp) and value.nanos == 0
    empty = value is None or (isinstance(value, bool | int | float | str | bytes | list | dict) and not value)
    return NONE if zero or empty else CelOptional(True, value)


def _first(values: list[Any]) -> CelOptional:
    return CelOptional(True, values[0]) if values else NONE


def _last(values: list[Any]) -> CelOptional:
    return CelOptional(True, values[-1]) if values else NONE


def _unwrap(values: list[Any]) -> list[Any]:
    return [one.value for one in values if one.present]


library.function("optional.of", (A,), _OPTIONAL, lambda value: CelOptional(True, value))
library.function("optional.ofNonZeroValue", (A,), _OPTIONAL, _of_non_zero)
library.function("optional.none", (), optional_of(DYN), lambda: NONE)
library.function("optional.unwrap", (list_of(_OPTIONAL),), list_of(A), _unwrap)
library.method("unwrapOpt", (list_of(_OPTIONAL),), list_of(A), _unwrap)
library.method("hasValue", (_OPTIONAL,), BOOL, lambda held: held.present)
library.method("value", (_OPTIONAL,), A, _value)
library.method("or", (_OPTIONAL, _OPTIONAL), _OPTIONAL, lambda held, other: held if held.present else other)
library.method("orValue", (_OPTIONAL, A), A, lambda held, other: held.value if held.present else other)
library.method("first", (list_of(A),), _OPTIONAL, _first)
library.method("last", (list_of(A),), _OPTIONAL, _last)
