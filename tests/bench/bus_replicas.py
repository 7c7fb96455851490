"""`python -m tests.bench.bus_replicas`: what a second and a third copy of all state cost, in memory and in writes.

Both sizes are measured in one run, through the state log, with objects of 1.5 KB, and every write is on the disk before
it is acknowledged. The servers share the machine with each other and with the client, so the ratios count.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import uvloop

from shared.bus.connection import connect
from shared.cli.status import resident_bytes
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.log import StateLog
from shared.state.streams import ensure_streams
from tests.fakes.nats import NatsServer
from tests.fakes.nats_cluster import NatsCluster

AUTHOR = Author("bench")
ONE_BY_ONE = 500
AT_ONCE = 64
WRITES = 10_000
PADDING = "x" * 1400


def main() -> None:
    print(f"{'':34}{'1 server':>12}{'3 servers':>12}")
    columns = []
    for replicas in (1, 3):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            columns.append(uvloop.run(measure(Path(directory), replicas)))
    for name in columns[0]:
        print(f"{name:34}" + "".join(f"{column[name]:>12}" for column in columns))


async def measure(directory: Path, replicas: int) -> dict[str, str]:
    cluster: AbstractContextManager[NatsServer | NatsCluster]
    cluster = NatsServer(directory) if replicas == 1 else NatsCluster(directory)
    with cluster as running:
        servers = running.members if isinstance(running, NatsCluster) else [running]
        async with connect(running.settings("apiserver"), "bench") as bus:
            await ensure_streams(bus, replicas=replicas)
            log = StateLog(bus)
            await asyncio.sleep(3)
            idle = memory(server.pid for server in servers)
            times = await one_by_one(log)
            started = time.perf_counter()
            await at_once(log)
            rate = WRITES / (time.perf_counter() - started)
            loaded = memory(server.pid for server in servers)
    return {
        "idle memory, all servers": f"{idle:.0f} MiB",
        f"memory after {WRITES} objects": f"{loaded:.0f} MiB",
        "one write at a time, p50": f"{statistics.median(times) * 1e6:.0f} us",
        f"writes a second, {AT_ONCE} at once": f"{rate:.0f}",
    }


def memory(pids: Iterable[int]) -> float:
    return sum(resident_bytes(pid) for pid in pids) / 2**20


async def one_by_one(log: StateLog) -> list[float]:
    times = []
    for number in range(ONE_BY_ONE):
        started = time.perf_counter()
        await put(log, f"one-{number}")
        times.append(time.perf_counter() - started)
    return times


async def at_once(log: StateLog) -> None:
    numbers = iter(range(WRITES))

    async def write() -> None:
        for number in numbers:
            await put(log, f"many-{number}")

    async with asyncio.TaskGroup() as group:
        for writer in range(AT_ONCE):
            group.create_task(write(), name=f"writer {writer}")


async def put(log: StateLog, name: str) -> None:
    body = {"metadata": {"name": name, "namespace": "default"}, "data": {"value": PADDING}}
    await log.put(Ref("", "configmaps", "default", name), body, expected=0, author=AUTHOR)


if __name__ == "__main__":
    main()
