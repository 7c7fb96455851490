"""Which images go when the disk fills up: a pure decision, with the reason for every removal.

Why not just the oldest: layers are shared, so removing an image frees only what no other image holds, and air-gapped
nodes pin what they could never fetch again.
Source: Kubernetes docs, "Garbage collection of containers and images" (high and low threshold, minimum age).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Collect when the disk is fuller than `high` percent, down to `low` percent; spare images younger than `age` s."""

    high: float = 85.0
    low: float = 80.0
    age: float = 120.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image as the collector sees it. `last_used` is wall-clock seconds, or the time of its pull if later."""

    id: str
    references: tuple[str, ...]
    layers: tuple[str, ...]
    last_used: float
    pinned: bool
    in_use: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """An image to remove, the bytes that frees, and why."""

    id: str
    references: tuple[str, ...]
    freed: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Removals in order; `missing` is how many bytes of the goal they cannot free (0 if it is reached)."""

    removals: tuple[Removal, ...] = ()
    missing: int = 0


def decide(
    candidates: Sequence[Candidate],
    sizes: Mapping[str, int],
    used: int,
    capacity: int,
    thresholds: Thresholds,
    now: float,
) -> Plan:
    """Plan removals, least recently used first. `sizes` maps layer names to bytes; `used` and `capacity` are bytes."""
    percent = 100.0 * used / capacity if capacity else 0.0
    if percent < thresholds.high:
        return Plan()
    goal = used - int(capacity * thresholds.low / 100.0)
    holders = Counter(layer for candidate in candidates for layer in set(candidate.layers))
    removals: list[Removal] = []
    freed = 0
    for candidate in sorted(candidates, key=lambda c: (c.last_used, c.id)):
        if freed >= goal:
            break
        if candidate.pinned or candidate.in_use or now - candidate.last_used < thresholds.age:
            continue
        own = 0
        for layer in set(candidate.layers):
            holders[layer] -= 1
            if holders[layer] == 0:
                own += sizes.get(layer, 0)
        freed += own
        idle = int(now - candidate.last_used)
        reason = f"disk is {percent:.0f}% full (threshold {thresholds.high:.0f}%), unused for {idle} s"
        removals.append(Removal(candidate.id, candidate.references, own, reason))
    return Plan(tuple(removals), max(goal - freed, 0))
