"""Kubernetes' quantity library: amounts such as 500m and 1Gi."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shared.objects import quantities
from shared.objects.cel.declarations import Library, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.types import BOOL, DOUBLE, INT, STRING
from shared.objects.cel.values import Opaque

library = Library()


@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    """An exact amount."""

    amount: Decimal
    type_name = "kubernetes.Quantity"


QUANTITY = library.opaque_type("kubernetes.Quantity", Quantity)


def parse(text: str) -> Quantity:
    try:
        return Quantity(quantities.parse(text))
    except ValueError as exc:
        raise EvaluationError(str(exc)) from exc


def _is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except ValueError:
        return False
    return True


def _is_integer(held: Quantity) -> bool:
    return held.amount == held.amount.to_integral_value() and -(2**63) <= held.amount < 2**63


def _as_integer(held: Quantity) -> int:
    if not _is_integer(held):
        raise EvaluationError("cannot convert value to integer")
    return int(held.amount)


def _sign(held: Quantity) -> int:
    return (held.amount > 0) - (held.amount < 0)


def _compare(left: Quantity, right: Quantity) -> int:
    return (left.amount > right.amount) - (left.amount < right.amount)


_READ = traversal(0)
library.function("quantity", (STRING,), QUANTITY, parse, cost=_READ)
library.function("isQuantity", (STRING,), BOOL, _is_quantity, cost=_READ)
library.method("isInteger", (QUANTITY,), BOOL, _is_integer)
library.method("asInteger", (QUANTITY,), INT, _as_integer)
library.method("asApproximateFloat", (QUANTITY,), DOUBLE, lambda held: float(held.amount))
library.method("sign", (QUANTITY,), INT, _sign)
library.method("compareTo", (QUANTITY, QUANTITY), INT, _compare)
library.method("isGreaterThan", (QUANTITY, QUANTITY), BOOL, lambda a, b: a.amount > b.amount)
library.method("isLessThan", (QUANTITY, QUANTITY), BOOL, lambda a, b: a.amount < b.amount)
library.method("add", (QUANTITY, QUANTITY), QUANTITY, lambda a, b: Quantity(a.amount + b.amount))
library.method("add", (QUANTITY, INT), QUANTITY, lambda a, b: Quantity(a.amount + b))
library.method("sub", (QUANTITY, QUANTITY), QUANTITY, lambda a, b: Quantity(a.amount - b.amount))
library.method("sub", (QUANTITY, INT), QUANTITY, lambda a, b: Quantity(a.amount - b))
