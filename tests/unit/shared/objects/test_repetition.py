"""What is remembered must be right, shared by nobody who changes it, and bounded in bytes."""

from typing import Any

import pytest

from shared.objects import repetition
from shared.objects.repetition import remembered


def counting(calls: list[Any]) -> Any:
    @remembered
    def work(key: str, value: Any) -> int:
        calls.append((key, value))
        return len(calls)

    return work


def test_the_same_value_is_worked_out_once_and_the_order_of_its_fields_counts() -> None:
    calls: list[Any] = []
    work = counting(calls)
    assert work("a", {"x": 1, "y": 2}) == work("a", {"x": 1, "y": 2}) == 1
    assert work("a", {"y": 2, "x": 1}) == 2
    assert work("b", {"x": 1, "y": 2}) == 3
    assert work("a", {"x": True, "y": 2}) == 4


def test_a_large_value_is_not_remembered() -> None:
    calls: list[Any] = []
    work = counting(calls)
    large = {"x": "x" * repetition.LARGEST_BYTES}
    assert (work("a", large), work("a", large)) == (1, 2)


def test_values_are_forgotten_when_they_become_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetition, "MOST_BYTES", 1000)
    calls: list[Any] = []
    work = counting(calls)
    for number in range(3):
        assert work("a", {"x": f"{number}" * 400}) == number + 1
    assert work("a", {"x": "2" * 400}) == 3
    assert work("a", {"x": "0" * 400}) == 4
