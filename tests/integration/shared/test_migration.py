"""A bus of one server becomes one of three and one again, and every object is as it was."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from shared.bus import snapshots
from shared.bus.jetstream import JetStream
from shared.bus.offline import offline_bus
from shared.bus.port import Bus
from shared.bus.snapshots import Snapshot
from shared.cli.bus import servers
from shared.cli.cluster import Cluster, ClusterError
from shared.cli.migration import migrate
from shared.cli.progress import Progress
from shared.errors import BusError
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.log import StateLog, Write
from shared.state.streams import ensure_streams
from tests.fakes.brokers import running

AUTHOR = Author("tester")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    # a name of its own: its run directory must be nobody's
    made = Cluster(tmp_path, name="wmoves").with_nodes(1)
    made.save()
    return made


def layout(cluster: Cluster) -> list[tuple[str, Path]]:
    return [(server.name, server.store) for server in servers(cluster)]


def body(name: str) -> dict[str, dict[str, str]]:
    return {"metadata": {"name": name, "namespace": "default"}}


async def fill(cluster: Cluster) -> None:
    """Objects with history, a deleted one and a batch."""
    async with offline_bus(layout(cluster), cluster.name) as bus:
        await ensure_streams(bus, cluster.bus_replicas)
        log = StateLog(bus)
        for name in ("a", "b", "gone"):
            revision = 0
            for _ in range(3):
                revision = await log.put(Ref("", "pods", "default", name), body(name), expected=revision, author=AUTHOR)
        await log.delete(Ref("", "pods", "default", "gone"), body("gone"), expected=revision, author=AUTHOR)
        await log.batch([Write(Ref("", "pods", "default", f"m{i}"), body(f"m{i}"), 0) for i in range(50)], AUTHOR)


async def content(cluster: Cluster) -> tuple[dict[str, int], int]:
    """Name -> revision of every object, and the replicas of the stream."""
    async with offline_bus(layout(cluster), cluster.name) as bus:
        info = await JetStream(bus).stream_info("STATE")
        return await objects(bus), info["config"]["num_replicas"]


async def objects(bus: Bus) -> dict[str, int]:
    cache = Cache()
    feed = Feed(bus, "STATE", cache)
    async with running(feed.run()):
        await feed.wait_loaded()
        return {record.ref.name: record.revision for record in cache.list("", "pods")}


def move(cluster: Cluster, replicas: int) -> Cluster:
    after = dataclasses.replace(cluster, bus_replicas=replicas)
    migrate(cluster, after, Progress())
    loaded = Cluster.load(cluster.data)
    assert loaded == after
    return after


def test_streams_move_to_three_servers_and_back(cluster: Cluster) -> None:

    asyncio.run(fill(cluster))
    before, replicas = asyncio.run(content(cluster))
    assert replicas == 1
    assert len(before) == 52
    three = move(cluster, 3)
    assert asyncio.run(content(three)) == (before, 3)
    assert not (cluster.data / "bus" / "jetstream").exists()
    one = move(three, 1)
    assert asyncio.run(content(one)) == (before, 1)
    assert not list((cluster.data / "bus").glob("server-*"))


def test_a_move_that_fails_leaves_the_cluster_as_it_was(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:

    asyncio.run(fill(cluster))
    before = asyncio.run(content(cluster))

    async def refuse(bus: Bus, snapshot: Snapshot, replicas: int) -> None:
        raise BusError("on purpose")

    monkeypatch.setattr(snapshots, "put_back", refuse)
    with pytest.raises(ClusterError, match=r"nothing was changed.*--bus-replicas 1"):
        move(cluster, 3)
    assert Cluster.load(cluster.data) == cluster
    assert asyncio.run(content(cluster)) == before
