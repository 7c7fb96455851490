"""Runs the real manager, writer and loops against the world, to see where a cluster ends up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from services.controllers.manager import Manager
from services.controllers.nodes.presence import Presence
from services.controllers.settings import ControllerSettings
from tests.slowness import LIMIT_S
from tests.unit.services.controllers.world import World, WorldApi


@dataclass
class Lease:
    """One node's lease."""

    alive: bool
    since: float = 0.0


@dataclass
class Leases:
    """What the lease watch would know."""

    nodes: dict[str, Lease] = field(default_factory=dict)
    up_since: float | None = -1e9


@asynccontextmanager
async def controllers(world: World, leases: Leases | None = None) -> AsyncIterator[Manager]:
    """One life of the controllers process; leaving the block is its kill -9."""
    settings = ControllerSettings("certificate", IPv4Network("10.244.0.0/16"), 40.0)
    world.catch_up()
    manager = Manager(
        world.view,
        world.cache,
        WorldApi(world),
        Presence(leases or Leases(), 40.0, lambda: world.now + 3600, lambda: world.now),
        settings,
        clock=lambda: world.now,
    )
    world.manager = manager
    task = asyncio.create_task(manager.run(asyncio.Event()), name="manager")
    try:
        yield manager
    finally:
        world.manager = None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object], what: str = "", limit: float = LIMIT_S) -> None:
    """Wait until the condition holds; fails with `what` after `limit` seconds."""
    deadline = asyncio.get_running_loop().time() + limit
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not reached: {what or condition}"
        await asyncio.sleep(0.002)


async def settled(world: World, quiet: float = 0.05, limit: float = LIMIT_S) -> None:
    """Wait until no controller has anything to do and nothing was written for `quiet` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    revision, since = world.revision, loop.time()
    while loop.time() - since < quiet:
        assert loop.time() < deadline, "the controllers never come to rest"
        await asyncio.sleep(0.005)
        busy = world.manager is not None and not world.manager.idle()
        if busy or world.revision != revision:
            revision, since = world.revision, loop.time()
