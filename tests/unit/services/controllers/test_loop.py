"""One controller at work: what it remembers, what it waits for, and what cannot stop it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.controllers import loop
from services.controllers.actions import NOTHING, Create, Moment, Object, Plan
from services.controllers.claims import ref_of
from services.controllers.loop import Loop
from services.controllers.view import View
from services.controllers.writer import Writer
from shared.events.subjects import Ref
from tests.unit.services.controllers.cluster import until
from tests.unit.services.controllers.objects import pod
from tests.unit.services.controllers.world import World, WorldApi


class Silent:
    """Records no event."""

    def record(self, regarding: Object, kind: str, reason: str, message: str) -> None:
        pass


class Planned:
    """Does for every key what it is told to."""

    name = "planned"
    workers = 4

    def __init__(self, **plans: Plan) -> None:
        self.plans = plans
        self.seen: list[str] = []

    def keys(self, view: View) -> Iterable[str]:
        return list(self.plans)

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[str]:
        yield ref.name
        if ref.name == "strange":
            raise KeyError("spec")

    def plan(self, key: str, view: View, moment: Moment) -> Plan:
        self.seen.append(key)
        return self.plans.get(key, NOTHING)


@asynccontextmanager
async def running(reconciler: Planned, world: World) -> AsyncIterator[Loop[Any]]:
    found: Loop[Any] = Loop(
        reconciler,
        world.view,
        world.cache,
        Writer(WorldApi(world), Silent()),  # type: ignore[arg-type]
        lambda: world.now,
    )
    task = asyncio.create_task(found.run(), name="loop")
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def creation(name: str) -> Plan:
    made = pod(name)
    return Plan((Create(ref_of("", "pods", made), made),))


async def test_writes_for_keys_that_never_come_back_are_not_remembered_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "MOST_UNSEEN", 8)
    world = World()
    async with running(Planned(**{f"p{number}": creation(f"p{number}") for number in range(40)}), world) as found:
        await until(lambda: len(world.stored) == 40 and found.queue.idle())
        assert len(found._unseen) < 16


async def test_a_plan_for_the_far_future_is_made_anew_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LONGEST_WAIT", 0.01)
    reconciler = Planned(job=Plan((), 86_400.0))
    async with running(reconciler, World()):
        await until(lambda: len(reconciler.seen) > 2)


async def test_a_change_that_one_controller_cannot_digest_does_not_fail_whoever_tells_it() -> None:
    reconciler = Planned()
    async with running(reconciler, World()) as found:
        found.changed(Ref("", "pods", "shop", "strange"), pod("strange"), None)
        found.changed(Ref("", "pods", "shop", "web"), pod("web"), None)
        await until(lambda: reconciler.seen == ["web"])
