"""Compare-and-set and consistent reads through the state log are linearizable while nats-servers are killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from shared.bus.connection import Connection, connect
from shared.errors import BusError, RevisionConflict
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.settings import BusSettings
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.log import StateLog
from shared.state.streams import ensure_streams
from tests.fakes.brokers import running
from tests.fakes.nats import NatsServer
from tests.fakes.nats_cluster import NatsCluster
from tests.fakes.registers import Histories, Lost, Refused, disturb
from tests.linearizability import Value

AUTHOR = Author("tester")
NAMES = ("x", "y", "z")
# each has a connection and a cache of its own, as an API server has
REPLICAS = 3
CLIENTS = 3


class LogClient:
    """A register is an object of the state log, read from a cache behind a barrier."""

    def __init__(self, log: StateLog, cache: Cache) -> None:
        self._log = log
        self._cache = cache

    async def read(self, name: str) -> tuple[Value, int]:
        try:
            await self._cache.consistent()
        except BusError as exc:
            raise Lost from exc
        record = self._cache.get(_ref(name))
        expected = self._cache.expected(_ref(name))
        return (record.object["value"], expected) if record else (None, expected)

    async def write(self, name: str, new: Value, seen: int) -> None:
        body: dict[str, Any] = {"metadata": {"name": name, "namespace": "default"}, "value": new}
        try:
            if new is None:
                await self._log.delete(_ref(name), body, expected=seen, author=AUTHOR)
            else:
                await self._log.put(_ref(name), body, expected=seen, author=AUTHOR)
        except RevisionConflict as exc:
            raise Refused from exc
        except BusError as exc:
            raise Lost from exc


def _ref(name: str) -> Ref:
    return Ref("", "configmaps", "default", name)


async def record(
    settings: BusSettings, replicas: int, disturbances: list[Callable[[], Awaitable[None]]], seconds: float
) -> Histories:
    """The histories of clients that work while the disturbances happen."""
    histories = Histories(NAMES)
    async with contextlib.AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(connect(settings, f"replica {i}")) for i in range(REPLICAS)]
        await ensure_streams(buses[0], replicas=replicas)
        work = []
        for number, bus in enumerate(buses):
            client = await _client(bus, stack)
            for each in range(CLIENTS):
                process = f"c{number}{each}"
                work.append(histories.work(process, client, seed=number * CLIENTS + each))
        async with running(*work):
            await disturb(histories, disturbances, seconds)
    return histories


async def _client(bus: Connection, stack: contextlib.AsyncExitStack) -> LogClient:
    cache = Cache()
    feed = Feed(bus, "STATE", cache)
    await stack.enter_async_context(running(feed.run()))
    await feed.wait_loaded()
    return LogClient(StateLog(bus), cache)


async def test_with_one_server_that_is_killed(nats_server: NatsServer) -> None:
    async def restart() -> None:
        nats_server.kill()
        await asyncio.to_thread(nats_server.start)

    histories = await record(nats_server.settings("apiserver"), 1, [restart] * 5, 6)
    histories.check()
    assert histories.counts()["write ok"] > 100


async def test_with_three_servers_each_of_which_is_killed(tmp_path: Path) -> None:
    with NatsCluster(tmp_path / "bus") as servers:

        def restart(number: int) -> Callable[[], Awaitable[None]]:
            async def act() -> None:
                servers.members[number].kill()
                await asyncio.sleep(1)  # long enough for an election to begin; what happens in it is the question
                await asyncio.to_thread(servers.members[number].start)

            return act

        histories = await record(servers.settings("apiserver"), 3, [restart(0), restart(1), restart(2)], 20)
        histories.check(replicas=3)
        assert histories.counts()["write ok"] > 100
