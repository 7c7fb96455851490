"""A candidate for a lease while the bus cannot watch it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shared.bus.consumer import PullConsumer
from shared.bus.fake import FakeBroker
from shared.errors import BusTimeout
from shared.state import leases
from shared.state.leases import Leases
from shared.state.streams import ensure_streams
from tests.slowness import LIMIT_S


async def test_a_candidate_whose_watch_fails_goes_on_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_RETRY_S", 0.01)
    failed = asyncio.Event()
    run = PullConsumer.run

    async def run_later(self: PullConsumer, created: Callable[[int], None] = lambda pending: None) -> str:
        if not failed.is_set():
            failed.set()
            raise BusTimeout("no answer")
        return await run(self, created)

    monkeypatch.setattr(PullConsumer, "run", run_later)
    async with FakeBroker() as broker, asyncio.timeout(LIMIT_S):
        bus = broker.connect("admin")
        await ensure_streams(bus)
        leading = asyncio.Event()

        async def wait_to_lead() -> None:
            async with Leases(bus).leadership("x", "second"):
                leading.set()

        async with asyncio.TaskGroup() as group:
            async with Leases(bus).leadership("x", "first"):
                group.create_task(wait_to_lead(), name="second")
                await failed.wait()
            await leading.wait()
