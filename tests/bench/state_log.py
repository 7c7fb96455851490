"""The state log alone, on a broker of its own: what a write, a batch, a barrier, a load and a restart cost.

`python -m tests.bench.state_log`. The figures of one run belong together; a machine that is shared with others gives no
absolute values.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.bus.port import Bus
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache
from shared.state.compactor import Compactor
from shared.state.feed import Feed
from shared.state.history import History
from shared.state.log import StateLog, Write
from shared.state.streams import STATE, ensure_streams
from tests.fakes.brokers import running
from tests.fakes.nats import NatsServer

AUTHOR = Author("bench", "bench/1", "bench")
SINGLE = 1000
IN_FLIGHT = 256
MANY = 10_000
OBJECTS = 50_000
CHANGED = 2_000
BATCH = 100
Row = tuple[str, str]


def body(name: str, number: int = 0) -> dict[str, Any]:
    """An object of about 1.5 KB, as pods are."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "bench", "uid": "0" * 36},
        "data": {"value": "x" * 1300, "number": str(number)},
    }


def ref(name: str) -> Ref:
    return Ref("", "configmaps", "bench", name)


async def one_by_one(log: StateLog) -> list[Row]:
    times, revision = [], 0
    for number in range(SINGLE):
        started = time.perf_counter()
        revision = await log.put(ref("single"), body("single", number), expected=revision, author=AUTHOR)
        times.append(time.perf_counter() - started)
    return [("put, one at a time, p50", f"{statistics.median(times) * 1e6:.0f} us")]


async def in_flight(log: StateLog) -> list[Row]:
    numbers = iter(range(MANY))
    cpu = time.process_time()

    async def worker() -> None:
        for number in numbers:
            await log.put(ref(f"many-{number}"), body(f"many-{number}"), expected=0, author=AUTHOR)

    seconds = await timed(lambda: together(worker, IN_FLIGHT))
    cpu = time.process_time() - cpu
    return [
        (f"puts a second, {IN_FLIGHT} in flight", f"{MANY / seconds:.0f}"),
        ("the writer's CPU for a put", f"{cpu / MANY * 1e6:.1f} us"),
    ]


async def batches(log: StateLog) -> list[Row]:
    """Stores OBJECTS objects, so that the loads that follow have something to read."""

    async def all_of_them() -> None:
        for start in range(0, OBJECTS, BATCH):
            names = [f"batch-{number}" for number in range(start, start + BATCH)]
            await log.batch([Write(ref(name), body(name), 0) for name in names], AUTHOR)

    seconds = await timed(all_of_them)
    return [(f"objects a second in batches of {BATCH}", f"{OBJECTS / seconds:.0f}")]


async def barriers(bus: Bus) -> list[Row]:
    cache = Cache()
    feed = Feed(bus, STATE, cache)
    started = time.perf_counter()
    async with running(feed.run()):
        await feed.wait_loaded()
        loaded = time.perf_counter() - started
        times = []
        for _ in range(SINGLE):
            begun = time.perf_counter()
            await cache.consistent()
            times.append(time.perf_counter() - begun)
        shared = await timed(lambda: together(cache.consistent, 1000))
    return [
        (f"load of {len(cache.list('', 'configmaps'))} objects", f"{loaded:.2f} s"),
        ("consistent read, alone, p50", f"{statistics.median(times) * 1e6:.0f} us"),
        ("consistent read, 1000 at once, each", f"{shared / 1000 * 1e6:.1f} us"),
    ]


async def restart(server: NatsServer, bus: Bus, log: StateLog) -> list[Row]:
    """From the broker's port being open again to a new write in the cache."""
    cache = Cache()
    feed = Feed(bus, STATE, cache)
    async with running(feed.run()):
        await feed.wait_loaded()
        server.kill()
        while bus.connected:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.start)
        started = time.perf_counter()
        await bus.wait_connected()
        revision = await log.put(ref("after"), body("after"), expected=0, author=AUTHOR)
        await cache.wait_revision(revision)
        return [("broker back -> a new write in the cache", f"{time.perf_counter() - started:.2f} s")]


async def past(bus: Bus, log: StateLog) -> list[Row]:
    """What the history costs to keep, to read and to remove: CHANGED objects get ten more revisions each."""
    cache = Cache()
    feed = Feed(bus, STATE, cache)
    async with running(feed.run()):
        await feed.wait_loaded()
        rows = [("STATE on disk, one revision an object", await disk(bus))]
        since = cache.revision

        async def change() -> None:
            for number in range(1, 11):
                for start in range(0, CHANGED, BATCH):
                    names = [f"batch-{one}" for one in range(start, start + BATCH)]
                    writes = [Write(ref(name), body(name, number), cache.expected(ref(name))) for name in names]
                    await cache.wait_revision((await log.batch(writes, AUTHOR))[-1])

        seconds = await timed(change)
        rows.append((f"objects changed a second in batches of {BATCH}", f"{CHANGED * 10 / seconds:.0f}"))
        rows.append((f"STATE on disk, ten more of {CHANGED} objects", await disk(bus)))
        history = History(bus, cache)
        recent = cache.revision - 1000
        rows.append(
            (
                "watch resumed 1000 changes back, without the ring",
                milliseconds(await timed(lambda: changes(history, recent, cache.revision))),
            )
        )
        rows.append(
            (
                f"list of {cache.count('', 'configmaps')} objects, {CHANGED * 10} changes back",
                milliseconds(await timed(lambda: history.at("", "configmaps", "", since))),
            )
        )
        rows.append(("revisions of one object", milliseconds(await timed(lambda: history.revisions(ref("batch-0"))))))
        compactor = Compactor(bus, 0.0)
        seconds = await timed(compactor.compact)
        rows.append(("revisions removed a second by the compactor", f"{CHANGED * 10 / seconds:.0f}"))
        rows.append(("STATE on disk after the compaction", await disk(bus)))
        return rows


async def changes(history: History, since: int, until: int) -> None:
    async for _ in history.changes("", "configmaps", "", since, until):
        pass


async def disk(bus: Bus) -> str:
    return f"{(await JetStream(bus).stream_info(STATE))['state']['bytes'] / 2**20:.1f} MiB"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


async def together(action: Callable[[], Awaitable[Any]], count: int) -> None:
    await asyncio.gather(*(action() for _ in range(count)))


async def timed(action: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    await action()
    return time.perf_counter() - started


async def measure(directory: Path) -> list[Row]:
    with NatsServer(directory) as server:
        async with connect(server.settings("apiserver"), "bench") as bus:
            await ensure_streams(bus)
            log = StateLog(bus)
            rows = [*await one_by_one(log), *await in_flight(log), *await batches(log), *await barriers(bus)]
            rows += await past(bus, log)
            rows += await restart(server, bus, log)
            stored = (await JetStream(bus).stream_info(STATE))["state"]
            rows.append(("STATE on disk, a message", f"{stored['bytes'] / stored['messages']:.0f} B"))
            return rows


def main() -> int:
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        rows = runner.run(measure(Path(directory)))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value:>12}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
