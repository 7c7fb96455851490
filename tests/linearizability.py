"""Whether a history of concurrent operations on one object could have happened one after the other.

Wing and Gong's search ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of configurations that led
nowhere ("Testing for linearizability", 2017), as Porcupine does it. The object is a register that holds a value or
nothing: writes name the value that they replace, and no two writes write the same value.

An operation whose outcome is unknown may have taken effect at any moment after it began, or never, so it has no end and
need not find a place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

READ = "read"
WRITE = "write"

OK = "ok"
CONFLICT = "conflict"
UNKNOWN = "unknown"

Value = str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """A read that saw `new`, or a write of `new` on top of `old`; None is the absent object, so a write on top of None
    creates and a write of None deletes. `begin` and `end` are times of one clock; a process does one at a time."""

    process: str
    kind: str
    old: Value
    new: Value
    outcome: str
    begin: float
    end: float

    def __str__(self) -> str:
        what = f"read {self.new}" if self.kind == READ else f"write {self.old} -> {self.new}: {self.outcome}"
        return f"[{self.begin:.4f} {self.end:.4f}] {self.process} {what}"


class NotLinearizable(AssertionError):
    """No order explains the history."""


class _Event:
    """The begin or the end of an operation, in a list that operations are taken out of and put back into."""

    __slots__ = ("end", "following", "index", "preceding")

    def __init__(self, index: int, end: _Event | None, is_begin: bool) -> None:
        self.index = index
        self.end: _Event | None = end if is_begin else None
        self.preceding: _Event = self
        self.following: _Event | None = None


def check(history: Iterable[Operation], initial: Value = None, *, spurious_conflicts: bool = False) -> None:
    """Raise NotLinearizable, with the operations around the first that finds no place, if a history is not.

    With `spurious_conflicts` a write may be refused without a reason that anybody sees; it must still have no effect.
    """
    operations = sorted(
        (one for one in history if not (spurious_conflicts and one.outcome == CONFLICT)),
        key=lambda one: (one.begin, one.end),
    )
    required = sum(one.outcome != UNKNOWN for one in operations)
    head = _events(operations)
    visited: set[tuple[int, Value]] = set()
    placed: list[tuple[_Event, Value]] = []
    state, chosen, done, best = initial, 0, 0, -1
    blocked: Operation | None = None
    event = head.following
    while done < required:
        assert event is not None
        operation = operations[event.index]
        is_unknown = operation.outcome == UNKNOWN
        if event.end is not None or is_unknown:
            after = _step(state, operation)
            if after is not False and (configuration := (chosen | 1 << event.index, after)) not in visited:
                visited.add(configuration)
                placed.append((event, state))
                chosen, state = configuration
                done += not is_unknown
                _take(event)
                event = head.following
            elif event.following is not None:
                event = event.following
            else:
                event, state, chosen, done = _back(operations, placed, chosen, done)
            continue
        if done > best:
            best, blocked = done, operation
        if not placed:
            raise NotLinearizable(_describe(operations, blocked or operation))
        event, state, chosen, done = _back(operations, placed, chosen, done)


def _step(state: Value, operation: Operation) -> Value | bool:
    """The value after an operation; False if it cannot happen in a state."""
    if operation.kind == READ:
        return state if state == operation.new else False
    if operation.outcome == CONFLICT:
        # a creation also conflicts with the tombstone of an earlier object
        return state if operation.old is None or state != operation.old else False
    return operation.new if state == operation.old else False


def _back(
    operations: Sequence[Operation], placed: list[tuple[_Event, Value]], chosen: int, done: int
) -> tuple[_Event, Value, int, int]:
    """Undo the last placement, or more if nothing follows it."""
    while True:
        if not placed:
            raise NotLinearizable(_describe(operations, operations[0]))
        event, state = placed.pop()
        chosen &= ~(1 << event.index)
        done -= operations[event.index].outcome != UNKNOWN
        _put_back(event)
        if event.following is not None:
            return event.following, state, chosen, done


def _events(operations: Sequence[Operation]) -> _Event:
    timed: list[tuple[float, int, _Event]] = []
    for index, operation in enumerate(operations):
        end = None
        if operation.outcome != UNKNOWN:
            end = _Event(index, None, is_begin=False)
            timed.append((operation.end, 1, end))
        timed.append((operation.begin, 0, _Event(index, end, is_begin=True)))
    head = last = _Event(-1, None, is_begin=False)
    for _, _, event in sorted(timed, key=lambda one: one[:2]):
        last.following, event.preceding = event, last
        last = event
    return head


def _take(event: _Event) -> None:
    for each in (event, event.end):
        if each is not None:
            each.preceding.following = each.following
            if each.following is not None:
                each.following.preceding = each.preceding


def _put_back(event: _Event) -> None:
    for each in (event.end, event):
        if each is not None:
            each.preceding.following = each
            if each.following is not None:
                each.following.preceding = each


def _describe(operations: Sequence[Operation], blocked: Operation) -> str:
    around = [one for one in operations if one.begin <= blocked.end and one.end >= blocked.begin - 1]
    lines = "\n".join(f"  {one}" for one in around[-40:])
    return f"no order explains {blocked}\namong\n{lines}"


def unknown(process: str, old: Value, new: Value, begin: float) -> Operation:
    """A write whose outcome was lost."""
    return Operation(process, WRITE, old, new, UNKNOWN, begin, math.inf)
