"""Which images are collected."""

from __future__ import annotations

from services.nodeagent.images.collection import Candidate, Thresholds, decide

LIMITS = Thresholds(high=80, low=50, age=60)
SIZES = {"base": 20, "a": 10, "b": 15, "c": 5}


def candidate(name: str, layers: tuple[str, ...], used: float, **flags: bool) -> Candidate:
    return Candidate(name, (f"{name}:1",), layers, used, flags.get("pinned", False), flags.get("in_use", False))


A, B, C = candidate("a", ("base", "a"), 10), candidate("b", ("base", "b"), 20), candidate("c", ("c",), 30)


def removed(candidates: list[Candidate], used: int, now: float = 1000) -> list[str]:
    return [r.id for r in decide(candidates, SIZES, used, 100, LIMITS, now).removals]


def test_nothing_goes_below_the_high_threshold() -> None:
    assert removed([A, B, C], 79) == []


def test_the_least_recently_used_go_first_until_the_low_threshold() -> None:
    assert removed([C, B, A], 80) == ["a", "b"]


def test_a_shared_layer_frees_bytes_only_with_its_last_image() -> None:
    plan = decide([A, B, C], SIZES, 90, 100, LIMITS, 1000)
    assert [r.freed for r in plan.removals] == [10, 35]
    assert plan.missing == 0


def test_pinned_used_and_young_images_stay() -> None:
    pinned = candidate("p", ("a",), 1, pinned=True)
    used = candidate("u", ("b",), 2, in_use=True)
    young = candidate("y", ("c",), 970)
    assert removed([pinned, used, young], 95) == []


def test_what_cannot_be_freed_is_told() -> None:
    assert decide([C], SIZES, 90, 100, LIMITS, 1000).missing == 35


def test_every_removal_has_a_reason() -> None:
    (removal,) = decide([C], SIZES, 85, 100, LIMITS, 1030).removals
    assert removal.reason == "disk is 85% full (threshold 80%), unused for 1000 s"
