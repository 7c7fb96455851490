"""Power loss in the middle of writes: what was acknowledged is on the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shared.bus.connection import connect
from shared.bus.jetstream import STREAM_NOT_FOUND, JetStream
from shared.errors import BrokerError
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.log import StateLog, Write
from shared.state.streams import STATE, ensure_streams
from tests.fakes.brokers import running, wait_for
from tests.fakes.disks import Machine, mounted
from tests.fakes.nats import NatsServer

AUTHOR = Author("tester")
WRITERS = 16
SIZE_MB = 128


class LazyServer(NatsServer):
    """With nats-server's own default for syncing: every two minutes."""

    def write_configuration(self) -> Path:
        path = super().write_configuration()
        path.write_text(path.read_text().replace("sync_interval: always", 'sync_interval: "2m"'))
        return path


def ref(name: str) -> Ref:
    return Ref("", "pods", "default", name)


async def write_until_cut(server: NatsServer, machine: Machine, copy: Path) -> dict[str, int]:
    """Write singles and batches without pause, cut the power, and tell what had been acknowledged by then."""
    acknowledged: dict[str, int] = {}
    stop = asyncio.Event()
    async with connect(server.settings("apiserver"), "writer") as bus:
        await ensure_streams(bus)
        log = StateLog(bus)

        async def single(writer: int) -> None:
            number = 0
            while not stop.is_set():
                name = f"w{writer}-{number}"
                number += 1
                acknowledged[name] = await log.put(ref(name), {"metadata": {"name": name}}, expected=0, author=AUTHOR)

        async def batches() -> None:
            number = 0
            while not stop.is_set():
                names = [f"b{number}-{member}" for member in range(10)]
                number += 1
                writes = [Write(ref(name), {"metadata": {"name": name}}, 0) for name in names]
                acknowledged.update(zip(names, await log.batch(writes, AUTHOR), strict=True))

        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(single(writer), name=f"writer {writer}")
            group.create_task(batches(), name="batches")
            await wait_for(lambda: len(acknowledged) >= 500, "writes are under way")
            before = dict(acknowledged)
            await asyncio.to_thread(machine.cut, copy)
            stop.set()
    return before


async def stored(server: NatsServer) -> dict[str, int]:
    async with connect(server.settings("scheduler"), "reader") as bus:
        try:
            await JetStream(bus).stream_info(STATE)
        except BrokerError as exc:
            if exc.code == STREAM_NOT_FOUND:
                return {}
            raise
        cache = Cache()
        feed = Feed(bus, STATE, cache)
        async with running(feed.run()):
            await feed.wait_loaded()
            return {record.ref.name: record.revision for record in cache.list("", "pods")}


async def lost_by(kind: type[NatsServer], tmp_path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """The acknowledged writes that a power loss took, and everything that was found afterwards."""
    machine, copy = Machine(tmp_path, SIZE_MB), tmp_path / "copy.img"
    with machine as directory, kind(directory, tls=False) as server:
        before = await write_until_cut(server, machine, copy)
    with mounted(copy, tmp_path / "after") as directory, kind(directory, tls=False) as server:
        found = await stored(server)
    return {name: revision for name, revision in before.items() if found.get(name) != revision}, found


@pytest.mark.root
async def test_no_acknowledged_write_is_lost_when_the_power_fails(tmp_path: Path) -> None:
    lost, found = await lost_by(NatsServer, tmp_path)
    assert lost == {}
    sizes: dict[str, int] = {}
    for name in found:
        if name.startswith("b"):
            sizes[name.partition("-")[0]] = sizes.get(name.partition("-")[0], 0) + 1
    assert set(sizes.values()) <= {10}


@pytest.mark.root
async def test_the_power_cut_takes_what_was_not_synced(tmp_path: Path) -> None:
    lost, _ = await lost_by(LazyServer, tmp_path)
    assert lost
