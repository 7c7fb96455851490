"""Running an expression: its tree becomes nested closures once, which then run on values within a budget.

Costs are those of cel-go: a name or selection 1, a call at least 1, a list 10 and a map 30, and what is read or built
besides is charged before it is done. Python is slower than Go, so an evaluation has a time limit as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from shared.objects.cel.checking import TYPE_NAMES
from shared.objects.cel.declarations import Library, Overload
from shared.objects.cel.errors import BudgetError, EvaluationError
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
    dotted,
)
from shared.objects.cel.values import NONE, CelOptional, Duration, Opaque, Timestamp, TypeValue, UInt

PER_CALL = 1_000_000
"""What one evaluation may cost, as Kubernetes' PerCallLimit."""
PER_REQUEST = 10_000_000
"""What all rules of one request may cost together, as Kubernetes' RuntimeCELCostBudget."""
SECONDS = 1.0
"""How much CPU time one request's evaluations may take together; a busy machine makes no rule fail."""
_CLOCK_EVERY = 10_000


class Budget:
    """What is left for the evaluations of one request; BudgetError when it runs out."""

    __slots__ = ("_checked", "deadline", "remaining")

    def __init__(self, cost: int = PER_REQUEST, seconds: float = SECONDS) -> None:
        self.remaining = cost
        self._checked = cost
        self.deadline = time.thread_time() + seconds

    def spend(self, cost: int) -> None:
        """Pay; the clock is looked at only now and then."""
        self.remaining -= cost
        if self.remaining < 0:
            raise BudgetError("operation cancelled: actual cost limit exceeded")
        if self._checked - self.remaining > _CLOCK_EVERY:
            self._checked = self.remaining
            if time.thread_time() > self.deadline:
                raise BudgetError("operation cancelled: time limit exceeded")


class Frame:
    """The names in scope while an expression runs, and its budget."""

    __slots__ = ("budget", "variables")

    def __init__(self, variables: dict[str, Any], budget: Budget) -> None:
        self.variables = variables
        self.budget = budget


Run = Callable[[Frame], Any]


def build(tree: Node, variables: Mapping[str, Any], library: Library) -> Run:
    """The closure that evaluates a checked tree; `variables` are the declared names."""
    return _Builder(set(variables), library).build(tree)


class _Builder:
    def __init__(self, names: set[str], library: Library) -> None:
        self.names = names
        self.library = library

    def build(self, node: Node) -> Run:
        match node:
            case Literal():
                value = node.value
                return lambda frame: value
            case Ident():
                return self.ident(node)
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case ListLiteral():
                return self.list(node)
            case MapLiteral():
                return self.map(node)
            case Message():
                return self.message(node)
            case Loop():
                return self.loop(node)
            case Bind():
                return self.bind(node)
        raise AssertionError(f"unknown node {node!r}")

    def ident(self, node: Ident) -> Run:
        name = node.name
        if name not in self.names and name in TYPE_NAMES:
            kind = TypeValue(TYPE_NAMES[name][0])
            return lambda frame: kind

        def run(frame: Frame) -> Any:
            frame.budget.remaining -= 1
            try:
                value = frame.variables[name]
            except KeyError as exc:
                raise EvaluationError(f"no such attribute(s): {name}") from exc
            return value() if isinstance(value, Lazy) else value

        return run

    def select(self, node: Select) -> Run:
        qualified = dotted(node)
        if qualified is not None and qualified in TYPE_NAMES and qualified.partition(".")[0] not in self.names:
            kind = TypeValue(TYPE_NAMES[qualified][0])
            return lambda frame: kind
        operand, field = self.build(node.operand), node.field
        if node.test:
            return lambda frame: _has(operand(frame), field)
        if node.optional:
            return lambda frame: _optional(operand(frame), field)

        def run(frame: Frame) -> Any:
            holder = operand(frame)
            frame.budget.remaining -= 1
            if type(holder) is dict:
                try:
                    return holder[field]
                except KeyError as exc:
                    raise EvaluationError(f"no such key: {field}") from exc
            return _select(holder, field)

        return run

    def call(self, node: Call) -> Run:
        parts = [self.build(one) for one in ([node.target] if node.target is not None else []) + node.arguments]
        match node.function:
            case "_&&_":
                return _logical(False, *parts)
            case "_||_":
                return _logical(True, *parts)
            case "_?_:_":
                return _conditional(*parts)
            case "_[_]":
                return _indexing(*parts)
            case "_[?_]":
                container, key = parts
                return lambda frame: _optional(container(frame), key(frame))
        overloads = [
            one
            for one in self.library.overloads[node.function]
            if one.member == (node.target is not None) and len(one.parameters) == len(parts)
        ]
        return _dispatch(node.function, overloads, parts)

    def list(self, node: ListLiteral) -> Run:
        parts = [(self.build(one), position in node.optional) for position, one in enumerate(node.elements)]

        def run(frame: Frame) -> list[Any]:
            frame.budget.spend(10)
            made = []
            for part, optional in parts:
                value = part(frame)
                if not optional:
                    made.append(value)
                elif _present(value):
                    made.append(value.value)
            return made

        return run

    def map(self, node: MapLiteral) -> Run:
        parts = [(self.build(key), self.build(value), optional) for key, value, optional in node.entries]

        def run(frame: Frame) -> dict[Any, Any]:
            frame.budget.spend(30)
            made: dict[Any, Any] = {}
            for key_part, value_part, optional in parts:
                key, value = key_part(frame), value_part(frame)
                if type(key) not in (str, int, bool, UInt):
                    raise EvaluationError("unsupported key type")
                if optional:
                    if not _present(value):
                        continue
                    value = value.value
                if key in made:
                    raise EvaluationError(f"Failed with repeated key [{key}]")
                made[key] = value
            return made

        return run

    def message(self, node: Message) -> Run:
        parts = [(entry.name, self.build(entry.value), entry.optional) for entry in node.entries]

        def run(frame: Frame) -> dict[str, Any]:
            frame.budget.spend(40)
            made: dict[str, Any] = {}
            for name, part, optional in parts:
                value = part(frame)
                if not optional:
                    made[name] = value
                elif _present(value):
                    made[name] = value.value
            return made

        return run

    def loop(self, node: Loop) -> Run:
        over = self.build(node.range)
        shadowed = self.names
        self.names = self.names | set(node.names)
        condition = self.build(node.condition) if node.condition is not None else None
        result = self.build(node.result) if node.result is not None else None
        self.names = shadowed
        names, run = node.names, _LOOPS[node.macro]

        def loop(frame: Frame) -> Any:
            values = over(frame)
            if not isinstance(values, list | dict):
                raise EvaluationError("no such overload")
            saved = {name: frame.variables[name] for name in names if name in frame.variables}
            try:
                return run(_Turns(frame, names, values), condition, result)
            finally:
                for name in names:
                    frame.variables.pop(name, None)
                frame.variables.update(saved)

        return loop

    def bind(self, node: Bind) -> Run:
        value, name, macro = self.build(node.value), node.name, node.macro
        shadowed = self.names
        self.names = self.names | {name}
        body = self.build(node.body)
        self.names = shadowed

        def run(frame: Frame) -> Any:
            held = value(frame)
            if macro != "bind":
                if not _present(held):
                    return NONE
                held = held.value
            missing = object()
            saved = frame.variables.get(name, missing)
            frame.variables[name] = held
            try:
                answer = body(frame)
            finally:
                if saved is missing:
                    del frame.variables[name]
                else:
                    frame.variables[name] = saved
            return CelOptional(True, answer) if macro == "optMap" else answer

        return run


class Lazy:
    """A variable computed when first used, for example `variables.x` of an admission policy."""

    __slots__ = ("_compute", "_done", "_error", "_value")

    def __init__(self, compute: Callable[[], Any]) -> None:
        self._compute = compute
        self._done = False
        self._value: Any = None
        self._error: EvaluationError | None = None

    def __call__(self) -> Any:
        if not self._done:
            try:
                self._value = self._compute()
            except BudgetError:
                raise
            except EvaluationError as exc:
                self._error = exc
            self._done = True
        if self._error is not None:
            raise self._error
        return self._value


class LazyMap(dict[str, Any]):
    """Fields that are computed when first selected: a map of Lazy values."""


class _Turns:
    """The iterations of a loop: sets the loop variables of each, and pays for it."""

    __slots__ = ("frame", "names", "values")

    def __init__(self, frame: Frame, names: tuple[str, ...], values: Any) -> None:
        self.frame = frame
        self.names = names
        self.values = values

    def __iter__(self) -> Any:
        frame, names, values = self.frame, self.names, self.values
        variables, budget = frame.variables, frame.budget
        if len(names) == 1:
            name = names[0]
            for one in values:
                budget.spend(2)
                variables[name] = one
                yield one, one
            return
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        first, second = names
        for key, value in pairs:
            budget.spend(2)
            variables[first], variables[second] = key, value
            yield key, value

    def truth(self, condition: Run) -> bool:
        value = condition(self.frame)
        if type(value) is not bool:
            raise EvaluationError("no such overload")
        return value


def _all(turns: _Turns, condition: Run, result: Run | None) -> bool:
    failed: EvaluationError | None = None
    for _ in turns:
        try:
            if not turns.truth(condition):
                return False
        except EvaluationError as exc:
            failed = failed or exc
    if failed is not None:
        raise failed
    return True


def _exists(turns: _Turns, condition: Run, result: Run | None) -> bool:
    failed: EvaluationError | None = None
    for _ in turns:
        try:
            if turns.truth(condition):
                return True
        except EvaluationError as exc:
            failed = failed or exc
    if failed is not None:
        raise failed
    return False


def _exists_one(turns: _Turns, condition: Run, result: Run | None) -> bool:
    return sum(1 for _ in turns if turns.truth(condition)) == 1


def _filter(turns: _Turns, condition: Run, result: Run | None) -> list[Any]:
    return [one for one, _ in turns if turns.truth(condition)]


def _map(turns: _Turns, condition: Run | None, result: Run) -> list[Any]:
    return [result(turns.frame) for _ in turns if condition is None or turns.truth(condition)]


def _transform_map(turns: _Turns, condition: Run | None, result: Run) -> dict[Any, Any]:
    return {key: result(turns.frame) for key, _ in turns if condition is None or turns.truth(condition)}


def _transform_entry(turns: _Turns, condition: Run | None, result: Run) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for _ in turns:
        if condition is not None and not turns.truth(condition):
            continue
        entries = result(turns.frame)
        if not isinstance(entries, dict):
            raise EvaluationError("no such overload")
        for key, value in entries.items():
            if key in made:
                raise EvaluationError(f"insert failed: key {key} already exists")
            made[key] = value
    return made


_LOOPS: dict[str, Callable[..., Any]] = {
    "all": _all,
    "exists": _exists,
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
    "transformList": _map,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entry,
}


def _dispatch(function: str, overloads: list[Overload], parts: list[Run]) -> Run:
    """Choose the overload by the arguments' types, remembering each choice."""
    chosen: dict[tuple[type, ...], Overload | None] = {}

    def run(frame: Frame) -> Any:
        values = [part(frame) for part in parts]
        kinds = tuple(map(type, values))
        try:
            overload = chosen[kinds]
        except KeyError:
            overload = chosen[kinds] = next((one for one in overloads if one.takes(kinds)), None)
        if overload is None:
            raise EvaluationError(f"no such overload: {function}({', '.join(map(_kind, values))})")
        cost = overload.cost
        frame.budget.spend(1 if cost is None else cost(*values))
        try:
            return overload.implementation(*values)
        except (AttributeError, TypeError) as exc:
            # the elements of a list are only known when they are looked at
            raise EvaluationError(f"no such overload: {function}({', '.join(map(_kind, values))})") from exc

    return run


def _logical(decisive: bool, left: Run, right: Run) -> Run:
    """`&&` and `||`: the `decisive` value of either side wins over an error of the other, as the specification's
    commutative logic wants."""

    def run(frame: Frame) -> Any:
        try:
            first = left(frame)
        except EvaluationError:
            if right(frame) is decisive:
                return decisive
            raise
        if first is decisive:
            return decisive
        second = right(frame)
        if second is decisive or (first is not decisive and isinstance(first, bool) and isinstance(second, bool)):
            return bool(second)
        raise EvaluationError("no such overload")

    return run


def _conditional(condition: Run, yes: Run, no: Run) -> Run:
    def run(frame: Frame) -> Any:
        value = condition(frame)
        if type(value) is not bool:
            raise EvaluationError("no such overload")
        return yes(frame) if value else no(frame)

    return run


def _indexing(container: Run, key: Run) -> Run:
    def run(frame: Frame) -> Any:
        holder, index = container(frame), key(frame)
        frame.budget.spend(1)
        if isinstance(holder, CelOptional):
            return _optional(holder, index)
        return _item(holder, index)

    return run


def _item(holder: Any, index: Any) -> Any:
    if isinstance(holder, list):
        if type(index) is float and index.is_integer():
            index = int(index)
        if type(index) not in (int, UInt):
            raise EvaluationError("no such overload")
        if not 0 <= index < len(holder):
            raise EvaluationError(f"index out of bounds: {index}")
        return holder[index]
    if isinstance(holder, dict):
        for key in _keys(index):
            if key in holder:
                value = holder[key]
                return value() if isinstance(value, Lazy) else value
        raise EvaluationError(f"no such key: {index}")
    raise EvaluationError("no such overload")


def _keys(index: Any) -> tuple[Any, ...]:
    """A key as it may stand in a map: Python would take True for 1."""
    if type(index) in (list, dict) or index is None:
        raise EvaluationError("no such overload")
    return (index,)


def _select(holder: Any, field: str) -> Any:
    if isinstance(holder, CelOptional):
        return _optional(holder, field)
    if isinstance(holder, dict):
        return _item(holder, field)
    if holder is None:
        raise EvaluationError(f"no such key: {field}")
    if isinstance(holder, Opaque):
        return holder.field(field)
    raise EvaluationError("no such overload")


def _has(holder: Any, field: str) -> bool:
    if isinstance(holder, CelOptional):
        return holder.present and _has(holder.value, field)
    if isinstance(holder, dict):
        return field in holder
    raise EvaluationError("no such overload")


def _optional(holder: Any, key: Any) -> CelOptional:
    if isinstance(holder, CelOptional):
        return _optional(holder.value, key) if holder.present else NONE
    if isinstance(holder, dict):
        return CelOptional(True, _item(holder, key)) if key in holder else NONE
    if isinstance(holder, list) and type(key) in (int, UInt):
        return CelOptional(True, holder[key]) if 0 <= key < len(holder) else NONE
    if holder is None:
        return NONE
    raise EvaluationError("no such overload")


def _present(value: Any) -> bool:
    if not isinstance(value, CelOptional):
        raise EvaluationError("no such overload")
    return value.present


def _kind(value: Any) -> str:
    known = {UInt: "uint", Timestamp: "timestamp", Duration: "duration"}
    return known.get(type(value), type(value).__name__)
