"""The loop that settles what changes made stale."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from services.apiserver import settling
from shared.errors import NotFound
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache, Change
from shared.state.record import Record
from tests.slowness import LIMIT_S

RAW = msgspec.msgpack.encode({"metadata": {"name": "a"}})


def of_pods(change: Change) -> bool:
    return change.record.ref.resource == "pods"


def record(plural: str, revision: int) -> Record:
    return Record(Ref("", plural, "default", "a"), revision, RAW, Author("anna"), "create", 0.0)


class Settled:
    """Counts calls, of which the first `failures` fail."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: asyncio.Queue[int] = asyncio.Queue()
        self._failures = failures

    async def settle(self) -> None:
        self.calls.put_nowait(1)
        if self._failures:
            self._failures -= 1
            raise NotFound("it went")

    async def wait_called(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.calls.get()


@asynccontextmanager
async def kept(cache: Cache, settled: Settled) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(settling.keep_settled("pods", cache, of_pods, settled.settle), name="settling")
        yield
        task.cancel()


async def test_what_is_there_is_settled_first_and_a_burst_of_changes_once() -> None:
    cache, settled = Cache(), Settled()
    cache.apply([record("pods", 1)])
    async with kept(cache, settled):
        await settled.wait_called()
        cache.apply([record("pods", 2), record("pods", 3)])
        cache.apply([record("configmaps", 4)])
        await settled.wait_called()
    assert settled.calls.empty()


async def test_what_concerns_nobody_settles_nothing() -> None:
    cache, settled = Cache(), Settled()
    cache.apply([record("configmaps", 1)])
    async with kept(cache, settled):
        cache.apply([record("configmaps", 2)])
        await asyncio.sleep(0)
        assert settled.calls.empty()
        cache.apply([record("pods", 3)])
        await settled.wait_called()


async def test_a_failure_is_tried_again_without_another_change(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settling, "RETRY_S", 0.01)
    cache, settled = Cache(), Settled(failures=2)
    async with kept(cache, settled):
        cache.apply([record("pods", 1)])
        for _ in range(3):
            await settled.wait_called()
    assert "pods could not be settled, trying again: it went" in caplog.text
