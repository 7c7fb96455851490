"""What an expression costs at worst, told before it ever runs from how large its values may be.

A rule that could hold up the server on the largest object it may meet is refused when it is written, not when somebody
meets it. The numbers are cel-go's, for Kubernetes accepts and refuses definitions by them, and what it accepts must be
accepted here.

Source: cel-go, checker/cost.go and the expansions of its macros; k8s.io/apiserver, pkg/cel/library/cost.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from shared.objects.cel.syntax import (
    Bind,
    Call,
    Ident,
    ListLiteral,
    Literal,
    Loop,
    MapLiteral,
    Message,
    Node,
    Select,
)
from shared.objects.cel.types import DYN, Type

MOST = (1 << 64) - 1
"""As much as can be said of a size or a cost."""

LIST, MAP, MESSAGE = 10, 30, 40
"""What it costs to make one."""

TRAVERSAL = 0.1
REGEX = 0.25
PERMISSION_CHECK = 350_000
# the longest pattern behind the named formats
FORMAT_PATTERN = 128
SCALARS = frozenset(("bool", "double", "duration", "int", "timestamp", "uint"))
TEXTS = frozenset(("string", "bytes"))
_COMPARISONS = frozenset(("_<_", "_<=_", "_>_", "_>=_"))
_SUMS = frozenset(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"))
_TRAVERSED = frozenset(("lowerAscii", "upperAscii", "substring", "trim"))


class Size(NamedTuple):
    """How many characters, bytes, items or entries something has, at least and at most."""

    least: int
    most: int

    def times(self, other: Size) -> Size:
        return Size(product(self.least, other.least), product(self.most, other.most))

    def plus(self, other: Size) -> Size:
        return Size(total(self.least, other.least), total(self.most, other.most))

    def union(self, other: Size) -> Size:
        return Size(min(self.least, other.least), max(self.most, other.most))


UNKNOWN = Size(0, MOST)
ONE = Size(1, 1)


@dataclass(slots=True)
class Bound:
    """How large a variable's value may be: `most` of its characters or items, what its items (or the values of a map)
    and fields are. Scalars and objects count as nothing."""

    most: int = 0
    items: Bound | None = None
    keys: Bound | None = None
    fields: Mapping[str, Bound] = field(default_factory=dict)


@dataclass(slots=True)
class _Value:
    """What is known of a part of an expression: its cost at most, and the size of its value and its items."""

    cost: int
    kind: Type = DYN
    size: Size | None = None
    bound: Bound | None = None
    items: Size | None = None
    keys: Size | None = None

    @property
    def extent(self) -> Size:
        if self.size is not None:
            return self.size
        if self.bound is not None:
            return Size(0, self.bound.most)
        return ONE if is_scalar(self.kind) else UNKNOWN


def is_scalar(kind: Type) -> bool:
    """Whether values of a type have one size."""
    if kind.name == "optional_type":
        return is_scalar(kind.parameters[0])
    return kind.name in SCALARS


def total(*parts: int) -> int:
    return min(sum(parts), MOST)


def product(left: int, right: int) -> int:
    return min(left * right, MOST)


def scaled(amount: int, factor: float) -> int:
    """A cost of so much a unit, rounded up."""
    found = math.ceil(float(amount) * factor)
    return min(found, MOST)


def worst_cost(tree: Node, kinds: Mapping[int, Type], variables: Mapping[str, Bound]) -> int:
    """The most that an expression may cost; `kinds` are the types of its parts by id, as the checker found them."""
    return _Estimator(kinds, {name: _Value(1, bound=bound) for name, bound in variables.items()}).visit(tree).cost


class _Estimator:
    def __init__(self, kinds: Mapping[int, Type], names: Mapping[str, _Value]) -> None:
        self.kinds = kinds
        self.names = dict(names)
        self.own = self.names.get("self", _Value(1))

    def visit(self, node: Node) -> _Value:
        kind = self.kinds.get(id(node), DYN)
        match node:
            case Literal():
                value = node.value
                return _Value(0, kind, Size(*(len(value),) * 2) if isinstance(value, str | bytes) else ONE)
            case Ident():
                known = self.names.get(node.name)
                # cel-go's estimator takes the name of a type for the rule's own value
                return replace(known if known is not None else self.own, cost=1, kind=kind)
            case Select():
                return self.select(node, kind)
            case Call():
                return self.call(node, kind)
            case ListLiteral():
                return self.list(node, kind)
            case MapLiteral():
                return self.map(node, kind)
            case Message():
                return _Value(total(MESSAGE, *(self.visit(one.value).cost for one in node.entries)), kind)
            case Loop():
                return self.loop(node, kind)
            case Bind():
                return self.bind(node, kind)
        raise AssertionError(f"unknown node {node!r}")

    def select(self, node: Select, kind: Type) -> _Value:
        operand = self.visit(node.operand)
        if node.test:
            # Kubernetes lets has() be free
            return _Value(operand.cost, kind)
        named = operand.kind.fields is not None or operand.kind.name == "map" or operand.kind.parameter
        found = operand.bound.fields.get(node.field) if operand.bound is not None and not node.optional else None
        return _Value(total(operand.cost, 1 if named or node.optional else 0), kind, bound=found)

    def list(self, node: ListLiteral, kind: Type) -> _Value:
        items = [self.visit(one) for one in node.elements]
        count = len(items)
        return _Value(
            total(LIST, *(one.cost for one in items)), kind, Size(count, count), items=_union(items), keys=ONE
        )

    def map(self, node: MapLiteral, kind: Type) -> _Value:
        keys, values = [self.visit(one.key) for one in node.entries], [self.visit(one.value) for one in node.entries]
        count, cost = len(keys), total(MAP, *(one.cost for one in (*keys, *values)))
        return _Value(cost, kind, Size(count, count), items=_union(values), keys=_union(keys))

    def loop(self, node: Loop, kind: Type) -> _Value:
        """cel-go's macros are loops over an accumulator: what each turn and the end cost is in their expansions."""
        over = self.visit(node.range)
        held = self.bound_names(node, over)
        condition = self.visit(node.condition).cost if node.condition is not None else None
        made = self.visit(node.result) if node.result is not None else None
        self.names = held
        filtered = condition or 0
        items: Size | None = None
        match node.macro:
            case "all":
                start, turn, end = 0, total(3, filtered), 1
            case "exists":
                start, turn, end = 0, total(4, filtered), 1
            case "exists_one":
                start, turn, end = 0, total(2, filtered), 2
            case "filter":
                start, turn, end = LIST, total(13, filtered), 1
                items = over.items
            case "map" | "transformList":
                assert made is not None
                start, turn, end = LIST, total(12, made.cost, filtered), 1
                items = made.size
            case _:
                assert made is not None
                start, turn, end = MAP, total(3, made.cost, filtered), 1
                items = made.size
        extent = over.extent
        cost = total(over.cost, start, end, product(extent.most, turn))
        return _Value(cost, kind, ONE if start == 0 else extent, items=items, keys=ONE if items is not None else None)

    def bound_names(self, node: Loop, over: _Value) -> dict[str, _Value]:
        """Declare the loop's variables; the names as they were before."""
        before, self.names = self.names, dict(self.names)
        bound = over.bound
        item = _Value(1, size=over.items, bound=bound.items if bound is not None else None)
        key = _Value(1, size=over.keys, bound=bound.keys if bound is not None else None)
        if len(node.names) == 1:
            self.names[node.names[0]] = key if over.kind.name == "map" else item
        else:
            self.names[node.names[0]], self.names[node.names[1]] = key, item
        return before

    def bind(self, node: Bind, kind: Type) -> _Value:
        value = self.visit(node.value)
        optional = node.macro != "bind"
        # optMap asks the optional twice: whether it has a value, and for it
        inner = _Value(1) if optional else replace(value, cost=1)
        before, self.names = self.names, {**self.names, node.name: inner}
        body = self.visit(node.body)
        self.names = before
        if not optional:
            return replace(body, cost=total(LIST, value.cost, body.cost), kind=kind)
        wrapped = 1 if node.macro == "optMap" else 0
        return _Value(total(value.cost, 1, wrapped, LIST, value.cost, 1, body.cost), kind)

    def call(self, node: Call, kind: Type) -> _Value:
        target = self.visit(node.target) if node.target is not None else None
        arguments = [self.visit(one) for one in node.arguments]
        found = _cost_of(node.function, target, arguments)
        found.kind = kind
        if node.function == "_?_:_":
            condition, yes, no = arguments
            found.cost = total(condition.cost, max(yes.cost, no.cost))
        else:
            found.cost = total(found.cost, *(one.cost for one in arguments), target.cost if target is not None else 0)
        return found


def _cost_of(name: str, target: _Value | None, arguments: Sequence[_Value]) -> _Value:
    """What a call costs beside its arguments, and the size of its result."""
    found = _method(name, target, arguments) if target is not None else _function(name, arguments)
    return found if found is not None else _Value(1)


def _function(name: str, arguments: Sequence[_Value]) -> _Value | None:
    if (operator := _OPERATORS.get(name)) is not None:
        return operator(arguments)
    if name in _COMPARISONS:
        return _Value(_compared(arguments) if _may_be(arguments, TEXTS) else 1)
    if name.startswith("sets.") and len(arguments) == 2:
        left, right = (one.extent for one in arguments)
        return _Value(total(scaled(left.times(right).most, 2 if name == "sets.equivalent" else 1), 1))
    if name in ("string", "bytes", "strings.quote", "url") and len(arguments) == 1:
        return _converted(name, arguments[0])
    return None


def _converted(name: str, argument: _Value) -> _Value | None:
    extent = argument.extent
    cost = scaled(extent.most, TRAVERSAL)
    match name:
        case "bytes" if argument.kind.name in ("string", "dyn"):
            return _Value(cost, size=Size(extent.least, product(extent.most, 4)))
        case "string" if argument.kind.name == "bytes":
            return _Value(cost, size=Size(extent.least // 4, extent.most))
        case "string" if argument.kind.name == "dyn":
            return _Value(max(cost, 1))
        case "strings.quote":
            return _Value(cost, size=Size(total(extent.least, 2), total(product(extent.most, 2), 2)))
        case "url":
            return _Value(cost)
    return None


def _method(name: str, target: _Value, arguments: Sequence[_Value]) -> _Value | None:
    extent = target.extent
    if name in _SUMS:
        return _Value(_sum(target))
    if name in _TRAVERSED:
        return _Value(scaled(extent.most, TRAVERSAL), size=extent)
    if not arguments:
        return _joined(target, None) if name == "join" else None
    first = arguments[0].extent
    match name:
        case "startsWith" | "endsWith":
            return _Value(scaled(first.most, TRAVERSAL))
        case "contains" if target.kind.name in ("string", "dyn"):
            return _Value(product(scaled(extent.most, TRAVERSAL), scaled(first.most, TRAVERSAL)))
        case "matches" | "find" | "findAll":
            # one more than the text has, so that a costly pattern is not free on an empty one
            cost = product(scaled(total(extent.most, 1), TRAVERSAL), scaled(first.most, REGEX))
            return _Value(cost, size=None if name == "matches" else Size(0, extent.most))
        case "format":
            return _Value(scaled(extent.most, TRAVERSAL), size=extent.plus(first))
        case "replace" if len(arguments) >= 2:
            size = _replaced(extent, first, arguments[1].extent)
            return _Value(scaled(extent.most, 2 * TRAVERSAL), size=size)
        case "split":
            return _Value(scaled(extent.most, 2 * TRAVERSAL), size=Size(0, extent.most))
        case "join":
            return _joined(target, first)
        case "containsIP" | "containsCIDR":
            return _contained(name, arguments[0])
        case "check":
            return _Value(PERMISSION_CHECK)
        case "validate":
            cost = scaled(scaled(first.most, TRAVERSAL), FORMAT_PATTERN * REGEX)
            return _Value(cost)
    return None


def _sum(target: _Value) -> int:
    """One look at each element, and at each character of elements that are texts."""
    if not target.kind.parameters:
        return scaled(target.extent.most, TRAVERSAL)
    each = 1
    if target.kind.parameters[0].name in TEXTS:
        items = target.bound.items if target.bound is not None else None
        each = total(1, scaled(items.most if items is not None else MOST, TRAVERSAL))
    return product(target.extent.most, each)


def _joined(target: _Value, separator: Size | None) -> _Value:
    count = target.extent
    items = target.bound.items if target.bound is not None else None
    size = count.times(Size(0, items.most) if items is not None else UNKNOWN)
    if separator is not None:
        size = size.plus(separator.times(Size(max(count.least - 1, 0), max(count.most - 1, 0))))
    return _Value(scaled(size.most, TRAVERSAL), size=size)


def _contained(name: str, other: _Value) -> _Value:
    """Addresses have 4 to 16 bytes; the address asked about may have to be read from text first."""
    cost = scaled(32, TRAVERSAL)
    if name == "containsCIDR":
        cost += scaled(16, TRAVERSAL) + 1
    return _Value(total(cost, scaled(other.extent.most, TRAVERSAL) if other.kind.name in ("string", "dyn") else 0))


def _replaced(whole: Size, old: Size, new: Size) -> Size:
    """The longest result: as many as possible of the shortest pieces become the longest ones."""
    if old.least == 0:
        return Size(0, total(product(total(whole.most, 1), new.most), whole.most))
    if new.most <= old.least:
        return Size(0, whole.most)
    return Size(0, product(math.ceil(whole.most / old.least), new.most))


def _may_be(values: Sequence[_Value], names: frozenset[str]) -> bool:
    """Whether an overload for such types fits: one of the values is of them, or nothing is known of any."""
    known = {one.kind.name for one in values} - {"dyn"}
    return bool(known & names) or not known


def _compared(arguments: Sequence[_Value]) -> int:
    return scaled(min(one.extent.most for one in arguments), TRAVERSAL)


def _added(arguments: Sequence[_Value]) -> _Value:
    left, right = arguments
    size = left.extent.plus(right.extent)
    items = left.items.union(right.items) if left.items is not None and right.items is not None else None
    if _may_be(arguments, TEXTS):
        return _Value(scaled(size.most, TRAVERSAL), size=size)
    known = {one.kind.name for one in arguments}
    return _Value(1, size=size, items=items, keys=ONE) if "list" in known else _Value(1)


def _found(arguments: Sequence[_Value]) -> _Value:
    where = arguments[1]
    return _Value(1 if where.kind.name == "map" else max(scaled(where.extent.most, 1), 0))


def _chosen(arguments: Sequence[_Value]) -> _Value:
    _, yes, no = arguments
    items = yes.items.union(no.items) if yes.items is not None and no.items is not None else None
    return _Value(0, size=yes.extent.union(no.extent), items=items)


def _indexed(arguments: Sequence[_Value]) -> _Value:
    operand = arguments[0]
    bound = operand.bound.items if operand.bound is not None else None
    return _Value(1, size=operand.items, bound=bound)


def _union(values: Sequence[_Value]) -> Size:
    found = Size(MOST if values else 0, 0)
    for one in values:
        found = found.union(one.extent)
    return found


_OPERATORS: dict[str, Callable[[Sequence[_Value]], _Value]] = {
    "_==_": lambda arguments: _Value(_compared(arguments)),
    "_!=_": lambda arguments: _Value(_compared(arguments)),
    "_&&_": lambda _: _Value(0),
    "_||_": lambda _: _Value(0),
    "_+_": _added,
    "@in": _found,
    "_?_:_": _chosen,
    "_[_]": _indexed,
    "dyn": lambda arguments: replace(arguments[0], cost=1),
}
