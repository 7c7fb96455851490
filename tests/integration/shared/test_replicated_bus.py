"""Three servers: any may be killed under load, with two gone nothing is written, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.bus.replicas import FOLLOWER, LEADER, Replica, replicas, wait_current
from shared.errors import BusError, Disconnected, NoResponders, RevisionConflict
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.log import StateLog
from shared.state.streams import STREAMS, ensure_streams
from tests.fakes.brokers import running, wait_for
from tests.fakes.nats_cluster import NatsCluster
from tests.slowness import LIMIT_S

AUTHOR = Author("tester")
WRITERS = 8


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path / "bus") as started:
        yield started


class Load:
    """Writers that create objects without pause; `acknowledged` holds name -> revision, `refused` what failed."""

    def __init__(self, bus: Connection) -> None:
        self._log = StateLog(bus)
        self._bus = bus
        self.acknowledged: dict[str, int] = {}
        self.refused: list[BusError | RevisionConflict] = []

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with running(*(self._write(number) for number in range(WRITERS))):
            await self.more(50)
            yield

    async def more(self, count: int) -> None:
        """Wait until so many more writes were acknowledged."""
        target = len(self.acknowledged) + count
        await wait_for(lambda: len(self.acknowledged) >= target, "writes go on")

    async def _write(self, writer: int) -> None:
        number = 0
        while True:
            name = f"w{writer}-{number}"
            number += 1
            body = {"metadata": {"name": name, "namespace": "default"}}
            try:
                self.acknowledged[name] = await self._log.put(
                    Ref("", "pods", "default", name), body, expected=0, author=AUTHOR
                )
            except (BusError, RevisionConflict) as exc:
                self.refused.append(exc)
                await asyncio.sleep(0.01)
                await self._bus.wait_connected()

    async def lost(self, bus: Connection) -> dict[str, int]:
        """What was acknowledged and is not there at its revision, read anew through a connection."""
        cache = Cache()
        feed = Feed(bus, "STATE", cache)
        async with running(feed.run()):
            await feed.wait_loaded()
            if self.acknowledged:
                await cache.wait_revision(max(self.acknowledged.values()), LIMIT_S)
            stored = {record.ref.name: record.revision for record in cache.list("", "pods")}
        return {name: revision for name, revision in self.acknowledged.items() if stored.get(name) != revision}


async def leader(jetstream: JetStream, stream: str = "STATE") -> str:
    """The server that leads a stream, as soon as one does."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                found = await replicas(jetstream, stream)
            except BusError:
                await asyncio.sleep(0.1)
                continue
            if names := [one.server for one in found if one.role == LEADER]:
                return names[0]


def unreceived(failure: Exception) -> bool:
    """Whether a write failed before any server had it: no connection, or no leader just then."""
    return isinstance(failure, NoResponders) or (isinstance(failure, Disconnected) and not failure.sent)


async def test_every_stream_has_three_copies_that_can_be_told_apart(servers: NatsCluster) -> None:
    async with connect(servers.settings("admin"), "test") as bus:
        await ensure_streams(bus, 3)
        jetstream = JetStream(bus)
        for stream in STREAMS:
            await wait_current(jetstream, stream, 3)
            found = await replicas(jetstream, stream)
            assert [one.server for one in found] == ["bus-1", "bus-2", "bus-3"]
            assert sorted(one.role for one in found) == [FOLLOWER, FOLLOWER, LEADER]


async def test_the_leader_killed_under_load_loses_no_acknowledged_write(servers: NatsCluster) -> None:
    async with connect(servers.settings("apiserver"), "load") as bus, connect(servers.settings("admin"), "see") as see:
        await ensure_streams(bus, 3)
        jetstream = JetStream(see)
        load = Load(bus)
        async with load.run():
            for _ in range(2):
                killed = servers.member(await leader(jetstream))
                killed.kill()
                await load.more(100)
                assert await leader(jetstream) != killed.name
                await asyncio.to_thread(killed.start)
                await wait_current(jetstream, "STATE", 3)
        assert await load.lost(see) == {}


async def test_a_leader_that_is_stopped_hands_over_and_no_write_on_its_way_fails(servers: NatsCluster) -> None:
    async with connect(servers.settings("apiserver"), "load") as bus, connect(servers.settings("admin"), "see") as see:
        await ensure_streams(bus, 3)
        jetstream = JetStream(see)
        load = Load(bus)
        async with load.run():
            stopped = servers.member(await leader(jetstream))
            await asyncio.to_thread(stopped.stop)
            await load.more(100)
            assert await leader(jetstream) != stopped.name
        # what was on its way to the stopped server is settled; only what nobody received is refused
        assert [one for one in load.refused if not unreceived(one)] == []
        assert await load.lost(see) == {}


async def test_with_two_of_three_gone_writes_are_refused_until_one_is_back(servers: NatsCluster) -> None:
    async with connect(servers.settings("apiserver"), "load") as bus, connect(servers.settings("admin"), "see") as see:
        await ensure_streams(bus, 3)
        cache = Cache()
        feed = Feed(bus, "STATE", cache)
        load = Load(bus)
        async with running(feed.run()):
            await feed.wait_loaded()
            async with load.run():
                await cache.consistent()
                known = len(cache.list("", "pods"))
                for member in servers.members[1:]:
                    member.kill()
                load.refused.clear()
                await wait_for(
                    lambda: sum(isinstance(exc, NoResponders) for exc in load.refused) > WRITERS,
                    "writes are refused at once",
                    60,
                )
                assert len(cache.list("", "pods")) >= known
                for member in servers.members[1:]:
                    await asyncio.to_thread(member.start)
                await load.more(100)
            await wait_current(JetStream(see), "STATE", 3)
            await cache.wait_revision(max(load.acknowledged.values()), LIMIT_S)
        assert await load.lost(see) == {}


async def test_a_server_that_was_away_catches_up(servers: NatsCluster) -> None:
    async with connect(servers.settings("apiserver"), "load") as bus, connect(servers.settings("admin"), "see") as see:
        await ensure_streams(bus, 3)
        jetstream = JetStream(see)
        await wait_current(jetstream, "STATE", 3)
        leading = await leader(jetstream)
        away = next(member for member in servers.members if member.name != leading)
        away.kill()
        load = Load(bus)
        async with load.run():
            await load.more(200)
        await asyncio.to_thread(away.start)
        await wait_current(jetstream, "STATE", 3)
        found = {one.server: one for one in await replicas(jetstream, "STATE")}
        assert found[away.name] == Replica(away.name, FOLLOWER)
