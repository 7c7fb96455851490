"""`make bench`: a cluster of its own, and one table of what its users feel.

The figures of one run belong together; a machine that is shared with others gives no absolute values.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from shared.cli.cluster import Cluster
from shared.identity import tokens
from tests.e2e.harness import ADDRESSES, EXAMPLE, TestCluster, pod, wherry

PODS = 100
WRITES = 4000
CONNECTIONS = 32
Row = tuple[str, str]


def main() -> int:
    """Measure and print; everything is removed again."""
    data = Path("/var/tmp/wherry-bench")
    wherry("down", "--data", str(data), "--wipe", check=False)
    shutil.rmtree(data, ignore_errors=True)
    cluster = TestCluster(data)
    rows: list[Row] = []
    try:
        rows.append(
            ("make up, first start, example included", seconds(cluster.up, *ADDRESSES, "--example", str(EXAMPLE)))
        )
        cluster.down()
        rows.append(("make up, warm", seconds(cluster.up)))
        time.sleep(15)  # let the pods of the example come back, idle means idle
        rows += memory(data)
        rows += asyncio.run(requests(data))
    finally:
        cluster.down("--wipe")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value:>12}")
    return 0


def seconds(action: Any, *arguments: str) -> str:
    started = time.perf_counter()
    action(*arguments)
    return f"{time.perf_counter() - started:.1f} s"


def memory(data: Path) -> list[Row]:
    """Proportional set size of every process, and of all together."""
    status = json.loads(wherry("status", "--data", str(data), "-o", "json", check=False).stdout)
    sizes = {process["name"]: process["memory"] / 2**20 for process in status["processes"]}
    rows = [(f"idle memory, {name}", f"{size:.1f} MiB") for name, size in sizes.items()]
    return [*rows, ("idle memory, all processes", f"{sum(sizes.values()):.0f} MiB")]


async def requests(data: Path) -> list[Row]:
    cluster = Cluster.load(data)
    assert cluster is not None
    token = tokens.issue(tokens.load_key(cluster.pki / "sa.key"), "bench", ["system:masters"], 3600)
    tls = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
    connector = aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS + 4)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(cluster.api_url, connector=connector, headers=headers) as session:
        await post(session, "/api/v1/namespaces", {"metadata": {"name": "bench"}})
        return [
            ("ConfigMap creates a second, 32 connections", f"{await creates(session):.0f}"),
            *await pod_starts(session, 1),
            *await pod_starts(session, PODS),
        ]


async def post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    async with session.post(path, json=body) as answer:
        if answer.status >= 300 and answer.status != 409:
            raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
        await answer.read()


async def creates(session: aiohttp.ClientSession) -> float:
    path = "/api/v1/namespaces/bench/configmaps"
    numbers = iter(range(WRITES))

    async def worker() -> None:
        for number in numbers:
            await post(session, path, {"metadata": {"name": f"c-{number}"}, "data": {"value": "x" * 1000}})

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(worker())
    return WRITES / (time.perf_counter() - started)


async def pod_starts(session: aiohttp.ClientSession, at_once: int) -> list[Row]:
    """Create pods, all at once or one after the other, and see in a watch when each runs."""
    path = "/api/v1/namespaces/bench/pods"
    created: dict[str, float] = {}
    running: dict[str, float] = {}
    ready = asyncio.Event()
    done = asyncio.Event()
    count = PODS if at_once > 1 else 20

    async def watch() -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
        async with session.get(path, params={"watch": "1"}, timeout=timeout) as answer:
            ready.set()
            async for line in answer.content:
                event = json.loads(line)
                name = event["object"]["metadata"]["name"]
                if event["object"].get("status", {}).get("phase") == "Running" and name not in running:
                    running[name] = time.perf_counter()
                    done.set()

    async def create(number: int) -> None:
        name = f"p{at_once}-{number}"
        created[name] = time.perf_counter()
        await post(session, path, pod(name, "exec sleep 100000"))

    watcher = asyncio.create_task(watch())
    await ready.wait()
    for start in range(0, count, at_once):
        await asyncio.gather(*(create(number) for number in range(start, min(start + at_once, count))))
        while len(running) < len(created):
            done.clear()
            await asyncio.wait_for(done.wait(), 120)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    times = sorted((running[name] - created[name]) * 1000 for name in created)
    for name in created:
        async with session.delete(f"{path}/{name}", params={"gracePeriodSeconds": "0"}) as answer:
            await answer.read()
    how = f"{count} pods at once" if at_once > 1 else f"{count} pods one by one"
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return [
        (f"pod create -> Running, {how}, p50", f"{statistics.median(times):.0f} ms"),
        (f"pod create -> Running, {how}, p99", f"{p99:.0f} ms"),
    ]


if __name__ == "__main__":
    sys.exit(main())
