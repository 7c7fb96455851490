"""Whether a node is there, judged by its lease and by how long we have been able to see leases at all.

A lease that ran out while nobody could renew it proves nothing. So every node gets a full fresh period after its own
registration, our start, a broker reconnect, a sleep of the whole machine or any other gap of the watch, and while all
nodes are gone at once it is taken to be us, or the broker, who is cut off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from services.controllers import instants
from services.controllers.actions import Object
from services.controllers.view import NODES, View
from shared.objects import meta

FRESH_SECONDS = 40.0
"""How long the watch must have been up before a node without a lease counts as gone: several times a lease's life."""
LOOK_AGAIN = 2.0
SLEEP_SECONDS = 5.0
"""How far the wall clock may run ahead between two looks before the machine is taken to have slept."""


class Lease(Protocol):
    """What is read of a node's lease; instants are monotonic seconds."""

    @property
    def alive(self) -> bool: ...
    @property
    def since(self) -> float: ...


class Watch(Protocol):
    """What is read of the watch of all leases."""

    @property
    def nodes(self) -> Mapping[str, Lease]: ...
    @property
    def up_since(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """alive, gone, or unsure; `again_after` seconds the answer may be another one, without any message."""

    state: Literal["alive", "gone", "unsure"]
    again_after: float | None = None


def judge(lease: Lease | None, watched: float | None, age: float, fresh: float = FRESH_SECONDS) -> Judgement:
    """Judge a node that has existed for `age` seconds and whose lease was watched for `watched` seconds, if at all."""
    if watched is None:
        return Judgement("unsure", LOOK_AGAIN)
    if lease is not None and lease.alive:
        return Judgement("alive")
    left = fresh - min(watched, age)
    return Judgement("unsure", left) if left > 0 else Judgement("gone")


class Presence:
    """Judgements by node name, from the lease watch.

    `wall` and `monotonic` are clocks in seconds; that the first runs ahead of the second tells of a sleep.
    """

    def __init__(
        self,
        watch: Watch,
        fresh: float = FRESH_SECONDS,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._watch = watch
        self._fresh = fresh
        self._wall = wall
        self._monotonic = monotonic or asyncio.get_running_loop().time
        self._lead = self._wall() - self._monotonic()
        self._woke = float("-inf")

    def of(self, node: Object) -> Judgement:
        """The judgement of one Node."""
        now, wall = self._monotonic(), self._wall()
        lead = wall - now
        if lead - self._lead > SLEEP_SECONDS:
            self._woke = now
        self._lead = lead
        up_since = self._watch.up_since
        watched = None if up_since is None else now - max(up_since, self._woke)
        age = wall - instants.seconds(node["metadata"].get("creationTimestamp"))
        return judge(self._watch.nodes.get(meta.name(node)), watched, age, self._fresh)

    def all_gone(self, view: View) -> bool:
        """Whether every Node that exists is gone."""
        return all(self.of(node).state == "gone" for node in view.every(*NODES))
