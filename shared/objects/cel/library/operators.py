"""Operators, size() and the other functions of the language itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from shared.objects.cel import types
from shared.objects.cel.declarations import Library, size, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, UINT, A, B
from shared.objects.cel.values import UInt, checked_duration, checked_timestamp, equal

library = Library()

_INT_MIN, _INT_MAX, _UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


def checked_int(value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def checked_uint(value: int) -> UInt:
    if not 0 <= value <= _UINT_MAX:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return left - right * _divide(left, right)


def _divide_double(left: float, right: float) -> float:
    if right != 0:
        return left / right
    return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


def _multiply_double(left: float, right: float) -> float:
    return left * right


def _arithmetic(name: str, exact: Callable[[int, int], int], real: Callable[[float, float], float] | None) -> None:
    library.function(name, (INT, INT), INT, lambda a, b: checked_int(exact(a, b)))
    library.function(name, (UINT, UINT), UINT, lambda a, b: checked_uint(exact(int(a), int(b))))
    if real is not None:
        library.function(name, (DOUBLE, DOUBLE), DOUBLE, real)


_arithmetic("_+_", lambda a, b: a + b, lambda a, b: a + b)
_arithmetic("_-_", lambda a, b: a - b, lambda a, b: a - b)
_arithmetic("_*_", lambda a, b: a * b, _multiply_double)
_arithmetic("_/_", _divide, _divide_double)
_arithmetic("_%_", _remainder, None)

library.function("_+_", (STRING, STRING), STRING, lambda a, b: a + b, cost=traversal(0, 1))
library.function("_+_", (BYTES, BYTES), BYTES, lambda a, b: a + b, cost=traversal(0, 1))
library.function(
    "_+_", (types.list_of(A), types.list_of(A)), types.list_of(A), lambda a, b: a + b, cost=traversal(0, 1)
)
library.function("_+_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: checked_timestamp(a.nanos + b.nanos))
library.function("_+_", (DURATION, TIMESTAMP), TIMESTAMP, lambda a, b: checked_timestamp(a.nanos + b.nanos))
library.function("_+_", (DURATION, DURATION), DURATION, lambda a, b: checked_duration(a.nanos + b.nanos))
library.function("_-_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: checked_timestamp(a.nanos - b.nanos))
library.function("_-_", (TIMESTAMP, TIMESTAMP), DURATION, lambda a, b: checked_duration(a.nanos - b.nanos))
library.function("_-_", (DURATION, DURATION), DURATION, lambda a, b: checked_duration(a.nanos - b.nanos))
library.function("-_", (INT,), INT, lambda a: checked_int(-a))
library.function("-_", (DOUBLE,), DOUBLE, lambda a: -a)
library.function("!_", (BOOL,), BOOL, lambda a: not a)
library.function("_&&_", (BOOL, BOOL), BOOL, lambda a, b: a and b)
library.function("_||_", (BOOL, BOOL), BOOL, lambda a, b: a or b)

_ORDERED = (BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "_<_": lambda a, b: a < b,
    "_<=_": lambda a, b: a <= b,
    "_>_": lambda a, b: a > b,
    "_>=_": lambda a, b: a >= b,
}


def _shorter(left: Any, right: Any) -> int:
    return 1 + min(size(left), size(right)) // 10


def weight(value: Any) -> int:
    """How many values a comparison may have to look at."""
    if isinstance(value, list):
        return 1 + sum(map(weight, value))
    if isinstance(value, dict):
        return 1 + sum(map(weight, value.values()))
    return 1 + size(value) // 10


for _name, _compare in _COMPARISONS.items():
    for _kind in _ORDERED:
        library.function(_name, (_kind, _kind), BOOL, _compare, cost=_shorter)
    for _left in types.NUMBERS:
        for _right in types.NUMBERS:
            if _left != _right:
                library.function(_name, (_left, _right), BOOL, _compare)

library.function("_==_", (A, A), BOOL, equal, cost=lambda a, b: min(weight(a), weight(b)))
library.function("_!=_", (A, A), BOOL, lambda a, b: not equal(a, b), cost=lambda a, b: min(weight(a), weight(b)))


def _in_list(value: Any, values: list[Any]) -> bool:
    return any(equal(value, one) for one in values)


def _in_map(key: Any, entries: dict[Any, Any]) -> bool:
    return type(key) is not list and type(key) is not dict and key in entries


library.function("@in", (A, types.list_of(A)), BOOL, _in_list, cost=lambda a, b: 1 + len(b) * weight(a))
library.function("@in", (A, types.map_of(A, B)), BOOL, _in_map)

for _kind in (STRING, BYTES, types.list_of(A), types.map_of(A, B)):
    library.function("size", (_kind,), INT, len)
    library.method("size", (_kind,), INT, len)


library.function("dyn", (A,), DYN, lambda a: a)


def _chosen(choose: Callable[[Any], Any], name: str) -> Callable[..., Any]:
    def chosen(*values: Any) -> Any:
        candidates = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        if not candidates:
            raise EvaluationError(f"{name}(list) argument must not be empty")
        if any(isinstance(one, bool) or not isinstance(one, int | float) for one in candidates):
            raise EvaluationError("no such overload")
        return choose(candidates)

    return chosen


for _name, _choose in (("math.greatest", _chosen(max, "math.greatest")), ("math.least", _chosen(min, "math.least"))):
    library.function(_name, (types.list_of(A),), A, _choose, cost=lambda values: max(1, len(values)))
    for _kind in types.NUMBERS:
        library.function(_name, (_kind,), _kind, _choose)
    for _left in types.NUMBERS:
        for _right in types.NUMBERS:
            _result = _left if _left == _right else DYN
            library.function(_name, (_left, _right), _result, _choose)
    for _count in (3, 4, 5):
        library.function(_name, (DYN,) * _count, DYN, _choose)

library.function("math.abs", (INT,), INT, lambda a: checked_int(abs(a)))
library.function("math.abs", (DOUBLE,), DOUBLE, abs)
library.function("math.ceil", (DOUBLE,), DOUBLE, lambda a: float(math.ceil(a)))
library.function("math.floor", (DOUBLE,), DOUBLE, lambda a: float(math.floor(a)))
library.function("math.round", (DOUBLE,), DOUBLE, lambda a: math.copysign(float(math.floor(abs(a) + 0.5)), a))
library.function("math.trunc", (DOUBLE,), DOUBLE, lambda a: float(math.trunc(a)))
library.function("math.sign", (INT,), INT, lambda a: (a > 0) - (a < 0))
library.function("math.sign", (DOUBLE,), DOUBLE, lambda a: float((a > 0) - (a < 0)))
library.function("math.isNaN", (DOUBLE,), BOOL, math.isnan)
library.function("math.isInf", (DOUBLE,), BOOL, math.isinf)
library.function("math.isFinite", (DOUBLE,), BOOL, math.isfinite)
