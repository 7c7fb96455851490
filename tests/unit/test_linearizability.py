"""The checker itself: it accepts what could have happened and refuses what could not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.linearizability import CONFLICT, OK, READ, WRITE, NotLinearizable, Operation, Value, check, unknown


def read(value: Value, begin: float, end: float, process: str = "r") -> Operation:
    return Operation(process, READ, None, value, OK, begin, end)


def write(old: Value, new: Value, begin: float, end: float, outcome: str = OK, process: str = "w") -> Operation:
    return Operation(process, WRITE, old, new, outcome, begin, end)


ACCEPTED = {
    "nothing happened": [],
    "one after the other": [write(None, "a", 0, 1), read("a", 2, 3), write("a", "b", 4, 5), read("b", 6, 7)],
    "a read beside a write sees either": [write(None, "a", 0, 10), read(None, 1, 2), read("a", 3, 4)],
    "two writers, one loses": [write(None, "a", 0, 5), write(None, "b", 0, 5, CONFLICT), read("a", 6, 7)],
    "an unknown write took effect late": [unknown("w", None, "a", 0), read(None, 5, 6), read("a", 7, 8)],
    "an unknown write never took effect": [unknown("w", None, "a", 0), write(None, "b", 1, 2), read("b", 3, 4)],
    "an unknown write explains a conflict": [
        write(None, "a", 0, 1),
        unknown("w", "a", "b", 2),
        write("a", "c", 3, 4, CONFLICT),
    ],
    "deleted and made again": [
        write(None, "a", 0, 1),
        write("a", None, 2, 3),
        read(None, 4, 5),
        write(None, "b", 6, 7),
    ],
}

REFUSED = {
    "a stale read": [write(None, "a", 0, 1), write("a", "b", 2, 3), read("a", 4, 5)],
    "a read of what was not yet written": [read("a", 0, 1), write(None, "a", 2, 3)],
    "a read of what nobody wrote": [read("x", 0, 1)],
    "a lost write": [write(None, "a", 0, 1), read(None, 2, 3)],
    "two writes on top of one value": [write(None, "a", 0, 1), write("a", "b", 2, 5), write("a", "c", 2, 5)],
    "a write that was refused and took effect": [
        write(None, "a", 0, 1),
        write("a", "b", 2, 3, CONFLICT),
        read("b", 4, 5),
    ],
    "a conflict with nobody": [write(None, "a", 0, 1), write("a", "b", 2, 3, CONFLICT), read("a", 4, 5)],
    "reads that go back": [write(None, "a", 0, 10), read("a", 1, 2), read(None, 3, 4)],
    "an unknown write seen and then unseen": [
        write(None, "a", 0, 1),
        unknown("w", "a", "b", 2),
        read("b", 3, 4),
        read("a", 5, 6),
    ],
    "an unknown write seen before it began": [write(None, "a", 0, 1), read("b", 2, 3), unknown("w", "a", "b", 4)],
}


@pytest.mark.parametrize("history", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_could_have_happened_is_accepted(history: list[Operation]) -> None:
    check(history)


@pytest.mark.parametrize("history", REFUSED.values(), ids=REFUSED.keys())
def test_what_could_not_have_happened_is_refused(history: list[Operation]) -> None:
    with pytest.raises(NotLinearizable, match="no order explains"):
        check(history)


def test_a_conflict_without_reason_is_accepted_where_it_may_be_but_never_an_effect_of_it() -> None:
    refused = [write(None, "a", 0, 1), write("a", "b", 2, 3, CONFLICT)]
    check([*refused, read("a", 4, 5)], spurious_conflicts=True)
    with pytest.raises(NotLinearizable):
        check([*refused, read("b", 4, 5)], spurious_conflicts=True)


def simulate(seed: int, processes: int, count: int, unknown_share: float = 0.1) -> list[Operation]:
    """The history of an object that takes each operation at one moment between its begin and end."""
    chance = random.Random(seed)
    free = dict.fromkeys(range(processes), 0.0)
    state: Value = None
    history = []
    clock = 0.0
    for number in range(count):
        process = min(free, key=lambda one: free[one])
        clock = max(clock, free[process]) + chance.random()
        begin, end = max(free[process], clock - chance.random()), clock + chance.random()
        free[process] = end
        name = f"p{process}"
        kind = chance.random()
        if kind < 0.4:
            history.append(read(state, begin, end, name))
        elif kind < 0.4 + unknown_share:
            applied = chance.random() < 0.5
            history.append(unknown(name, state, f"v{number}", begin))
            state = f"v{number}" if applied else state
        elif kind < 0.6:
            history.append(write(f"other{number}", f"v{number}", begin, end, CONFLICT, name))
        elif kind < 0.7 and state is not None:
            history.append(write(state, None, begin, end, OK, name))
            state = None
        else:
            history.append(write(state, f"v{number}", begin, end, OK, name))
            state = f"v{number}"
    return history


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 60))
def test_every_history_of_a_real_register_is_accepted(seed: int, processes: int, count: int) -> None:
    check(simulate(seed, processes, count))


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 60))
def test_one_stale_read_behind_a_history_is_refused(seed: int, processes: int, count: int) -> None:
    history = [one for one in simulate(seed, processes, count, unknown_share=0.0) if one.outcome != CONFLICT]
    end = max((one.end for one in history), default=0.0)
    settled = [*history, write(current(history), "final", end + 1, end + 2), read("final", end + 3, end + 4)]
    check(settled)
    with pytest.raises(NotLinearizable):
        check([*settled, read(current(history), end + 5, end + 6)])


def current(history: list[Operation]) -> Value:
    """What the last write left: writes stand in the order in which they took effect."""
    return next((one.new for one in reversed(history) if one.kind == WRITE), None)
