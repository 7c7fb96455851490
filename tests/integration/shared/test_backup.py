"""A backup holds one moment of a stream that others write to, and what is restored from it is that moment."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.bus import tails
from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.bus.offline import offline_bus
from shared.bus.port import Bus
from shared.cli import archive
from shared.cli.backup import add_stream
from shared.cli.bus import servers
from shared.cli.cluster import Cluster
from shared.cli.main import main
from shared.cli.restore import fill_stream, unpack
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.log import StateLog
from shared.state.streams import ensure_streams
from tests.fakes.brokers import running, wait_for
from tests.fakes.nats import NatsServer

AUTHOR = Author("tester")
BULK = 400


def ref(name: str) -> Ref:
    return Ref("", "configmaps", "default", name)


def body(name: str, number: int = 0, padding: int = 0) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "default"}, "number": number, "padding": "x" * padding}


async def objects(bus: Bus) -> tuple[dict[str, tuple[int, int]], int]:
    """Name -> (revision, number) of every object, and the last revision of the log."""
    cache = Cache()
    feed = Feed(bus, "STATE", cache)
    async with running(feed.run()):
        await feed.wait_loaded()
        found = {one.ref.name: (one.revision, int(one.object["number"])) for one in cache.list("", "configmaps")}
    return found, int((await JetStream(bus).stream_info("STATE"))["state"]["last_seq"])


class Writers:
    """Change objects in an order that every moment of the log must show: `left` before `right`, and each `chain-N` is
    there before `chain-(N-1)` goes."""

    def __init__(self, bus: Connection) -> None:
        self._log = StateLog(bus)
        self.rounds = 0

    async def pair(self) -> None:
        left = right = 0
        while True:
            self.rounds += 1
            left = await self._log.put(ref("left"), body("left", self.rounds, 2000), expected=left, author=AUTHOR)
            right = await self._log.put(ref("right"), body("right", self.rounds, 2000), expected=right, author=AUTHOR)

    async def chain(self) -> None:
        number = 0
        before = await self._log.put(ref("chain-0"), body("chain-0"), expected=0, author=AUTHOR)
        while True:
            number += 1
            name, gone = f"chain-{number}", f"chain-{number - 1}"
            revision = await self._log.put(ref(name), body(name, number, 500), expected=0, author=AUTHOR)
            await self._log.delete(ref(gone), body(gone), expected=before, author=AUTHOR)
            before = revision


async def test_a_backup_of_a_busy_stream_is_one_moment_of_it(nats_server: NatsServer, tmp_path: Path) -> None:
    target = tmp_path / "x.backup"
    async with (
        connect(nats_server.settings("apiserver"), "writer") as bus,
        connect(nats_server.settings("admin"), "backup") as admin,
    ):
        await ensure_streams(bus)
        log = StateLog(bus)
        for number in range(BULK):
            name = f"bulk-{number}"
            await log.put(ref(name), body(name, number, 20_000), expected=0, author=AUTHOR)
        writers = Writers(bus)
        async with running(writers.pair(), writers.chain()):
            await wait_for(lambda: writers.rounds >= 30, "writers are busy")
            first = writers.rounds
            with archive.writing(target, {}) as writer:
                await add_stream(admin, "STATE", writer, tmp_path)
            last = writers.rounds
            await wait_for(lambda: writers.rounds >= last + 5, "writers go on")
        original, _ = await objects(bus)
    archive.check(target)
    unpack(target, tmp_path / "staging")
    async with offline_bus([("restored", tmp_path / "restored")], "x") as restored:
        end = await fill_stream(restored, tmp_path / "staging" / "streams" / "STATE", 1, gap=5000)
        found, revision = await objects(restored)
    bulk = {name: value for name, value in original.items() if name.startswith("bulk")}
    assert {name: value for name, value in found.items() if name.startswith("bulk")} == bulk
    left, right = found["left"], found["right"]
    assert first - 1 <= left[1] <= last + 1
    assert 0 <= left[1] - right[1] <= 1
    chain = sorted(int(name.removeprefix("chain-")) for name in found if name.startswith("chain"))
    assert len(chain) in (1, 2)
    assert chain == list(range(chain[0], chain[0] + len(chain)))
    assert end >= max(one[0] for one in found.values()) + 5000
    assert revision >= end


async def test_messages_come_back_at_their_own_sequences_with_gaps_between(nats_server: NatsServer) -> None:
    async with connect(nats_server.settings("admin"), "test") as bus:
        await ensure_streams(bus)
        log = StateLog(bus)
        first = await log.put(ref("a"), body("a", 1), expected=0, author=AUTHOR)
        for name in ("b", "c"):
            await log.put(ref(name), body(name, 1), expected=0, author=AUTHOR)
        second = await log.put(ref("a"), body("a", 2), expected=first, author=AUTHOR)
        tail = await tails.read_tail(bus, "STATE", 1)
        assert tails.decode(tails.encode(tail)) == tail
        jetstream = JetStream(bus)
        config = (await jetstream.stream_info("STATE"))["config"]
        await jetstream.api("STREAM.DELETE.STATE")
        await ensure_streams(bus)
        # the first revision of `a` was superseded and dropped before it was read, and two others with it
        assert await tails.replay(bus, config, [entry for entry in tail if entry.sequence == second]) == second
        info = await jetstream.stream_info("STATE")
        assert (info["state"]["messages"], info["state"]["last_seq"]) == (1, second)
        assert (await objects(bus))[0] == {"a": (second, 2)}
        assert await tails.replay(bus, config, tail) == int((await jetstream.stream_info("STATE"))["state"]["last_seq"])


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    data = tmp_path / "data"
    data.mkdir()
    made = Cluster(data, name="wbackup").with_nodes(1)
    made.save()
    (data / "pki").mkdir()
    (data / "pki" / "sa.key").write_text("a key")
    (data / "bus" / "credentials").mkdir(parents=True)
    return made


def on_bus(cluster: Cluster, use: Callable[[Bus], object]) -> object:
    async def run() -> object:
        async with offline_bus([(one.name, one.store) for one in servers(cluster)], cluster.name) as bus:
            return await use(bus)  # type: ignore[misc]

    return asyncio.run(run())


async def fill(bus: Bus) -> None:
    await ensure_streams(bus)
    log = StateLog(bus)
    for name in ("a", "b", "gone"):
        revision = await log.put(ref(name), body(name, 1), expected=0, author=AUTHOR)
        revision = await log.put(ref(name), body(name, 2), expected=revision, author=AUTHOR)
    await log.delete(ref("gone"), body("gone"), expected=revision, author=AUTHOR)


def test_a_stopped_cluster_is_backed_up_and_restored_into_another_directory(cluster: Cluster, tmp_path: Path) -> None:
    on_bus(cluster, fill)
    before, _ = on_bus(cluster, objects)  # type: ignore[misc]
    file, other = str(tmp_path / "x.backup"), tmp_path / "other"
    assert main(["backup", file, "--data", str(cluster.data)]) == 0
    assert main(["restore", file, "--data", str(other), "--revision-gap", "1000", "--name", "wbackup2"]) == 0
    restored = Cluster.load(other)
    assert restored == dataclasses.replace(cluster, data=other, name="wbackup2")
    assert (other / "pki" / "sa.key").read_text() == "a key"
    found, last = on_bus(restored, objects)  # type: ignore[misc]
    assert found == before
    assert set(found) == {"a", "b"}
    assert last > max(revision for revision, _ in before.values()) + 1000
    assert sorted(path.name for path in other.iterdir()) == ["bus", "cluster.json", "log", "pki"]


def test_a_damaged_backup_changes_nothing(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on_bus(cluster, fill)
    file = tmp_path / "x.backup"
    assert main(["backup", str(file), "--data", str(cluster.data)]) == 0
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    before = sorted(path.name for path in cluster.data.iterdir())
    assert main(["restore", str(file), "--data", str(cluster.data), "--force"]) == 1
    assert "cut off" in capsys.readouterr().err
    assert sorted(path.name for path in cluster.data.iterdir()) == before
    assert main(["restore", str(file), "--data", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()
