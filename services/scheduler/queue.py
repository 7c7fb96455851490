"""Which pods wait for a node, and which of them are worth another look.

A pod that fits nowhere is parked: only a change that could help (a node, room that became free, the pod itself) brings
it back, and not before its back-off has run out. Nothing here waits or polls; the clock is passed in.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.scheduler.decide import nominated_node
from services.scheduler.snapshot import Key

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 10.0
# A parked pod is looked at again after this even if no change announced itself, as kube-scheduler does.
PARKED_LIMIT_S = 300.0


@dataclass(slots=True)
class Waiting:
    """One pod without a node; `not_before` is the end of its back-off, `parked_at` is set while it is parked."""

    key: Key
    pod: Mapping[str, Any]
    arrival: int
    since: float
    attempts: int = 0
    not_before: float = 0.0
    parked_at: float | None = None


class SchedulingQueue:
    """Pods by priority, then by arrival. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.waiting: dict[Key, Waiting] = {}
        self._arrivals = 0

    def add(self, key: Key, pod: Mapping[str, Any], now: float) -> None:
        """A pod that has no node, new or changed; a change of its specification ends its parking."""
        entry = self.waiting.get(key)
        if entry is None:
            self._arrivals += 1
            self.waiting[key] = Waiting(key, pod, self._arrivals, now)
            return
        if _decisive(entry.pod) != _decisive(pod):
            entry.parked_at = None
        entry.pod = pod

    def remove(self, key: Key) -> Waiting | None:
        """The pod is bound or gone."""
        return self.waiting.pop(key, None)

    def failed(self, key: Key, now: float) -> None:
        """No node fits: park the pod and lengthen its back-off."""
        if (entry := self.waiting.get(key)) is not None:
            entry.not_before = now + min(FIRST_BACKOFF_S * 2**entry.attempts, LONGEST_BACKOFF_S)
            entry.attempts += 1
            entry.parked_at = now

    def retry(self, key: Key) -> None:
        """The decision was overtaken by another write: look again as soon as the pod's new state is known."""
        if (entry := self.waiting.get(key)) is not None:
            entry.parked_at = None

    def cluster_changed(self) -> None:
        """A node appeared or changed, or room became free: every parked pod may try again."""
        for entry in self.waiting.values():
            entry.parked_at = None

    def ready(self, now: float, limit: int) -> list[Waiting]:
        """The most important pods that may be tried now."""
        able = [entry for entry in self.waiting.values() if self._due(entry) <= now]
        return heapq.nsmallest(limit, able, key=lambda e: (-(e.pod["spec"].get("priority") or 0), e.arrival))

    def nominated(self, ready: Collection[Key]) -> list[Mapping[str, Any]]:
        """Waiting pods that are not among the `ready` ones and have a node to come to once its victims are gone."""
        return [e.pod for e in self.waiting.values() if e.key not in ready and nominated_node(e.pod)]

    def next_due(self) -> float | None:
        """When `ready` will next have something, None if nothing waits."""
        return min((self._due(entry) for entry in self.waiting.values()), default=None)

    def counts(self, now: float) -> dict[str, int]:
        """Waiting pods by kind of waiting, under the labels of `scheduler_pending_pods`."""
        parked = sum(1 for entry in self.waiting.values() if entry.parked_at is not None)
        backoff = sum(1 for e in self.waiting.values() if e.parked_at is None and e.not_before > now)
        return {"active": len(self.waiting) - parked - backoff, "backoff": backoff, "unschedulable": parked}

    @staticmethod
    def _due(entry: Waiting) -> float:
        if entry.parked_at is not None:
            return max(entry.parked_at + PARKED_LIMIT_S, entry.not_before)
        return entry.not_before


def _decisive(pod: Mapping[str, Any]) -> tuple[Any, Any]:
    return pod["spec"], pod["metadata"].get("labels")
