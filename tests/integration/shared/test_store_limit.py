"""A store that has reached the limit of nats-server: a clear refusal, and reads of the present and the past go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.errors import StorageFull
from shared.events.envelope import Author
from shared.events.subjects import Ref, subject_of
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.history import History
from shared.state.log import StateLog
from shared.state.streams import STATE, ensure_streams
from tests.fakes.brokers import running
from tests.fakes.disks import disk
from tests.fakes.nats import NatsServer

AUTHOR = Author("tester")


def ref(name: str) -> Ref:
    return Ref("", "pods", "default", name)


@pytest.fixture
def small_server(tmp_path: Path) -> Iterator[NatsServer]:
    with disk(tmp_path / "disk", 64) as directory, NatsServer(directory) as server:
        yield server


async def fill(log: StateLog, revisions: list[int]) -> None:
    while True:
        name = f"p{len(revisions)}"
        body = {"metadata": {"name": name, "namespace": "default"}, "x": "x" * 200_000}
        revisions.append(await log.put(ref(name), body, expected=0, author=AUTHOR))


@pytest.mark.root
async def test_a_full_store_refuses_writes_and_serves_reads(small_server: NatsServer) -> None:
    async with connect(small_server.settings("apiserver"), "writer") as bus:
        await ensure_streams(bus)
        log, cache = StateLog(bus), Cache()
        feed = Feed(bus, STATE, cache)
        async with running(feed.run()):
            await feed.wait_loaded()
            revisions: list[int] = []
            with pytest.raises(StorageFull):
                await fill(log, revisions)
            assert await cache.consistent() >= revisions[-1]
            assert len(cache.list("", "pods")) == len(revisions)
            past = await History(bus, cache).at("", "pods", "default", revisions[4])
            assert len(past) == 5
            # a process that starts now can serve as well
            fresh = Cache()
            second = Feed(bus, STATE, fresh)
            async with running(second.run()):
                await second.wait_loaded()
                assert len(fresh.list("", "pods")) == len(revisions)
            await JetStream(bus).purge(STATE, subject_of(ref("p0")))
            assert await log.put(ref("more"), {"metadata": {"name": "more"}}, expected=0, author=AUTHOR) > revisions[-1]
