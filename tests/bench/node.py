"""`make bench-node`: what a container costs here, and what it costs with others, in one run and one table.

Peers come from Debian's packages and are left out where they are missing. Figures are of this machine at this moment:
only the ratios within one run say something. Docker and podman run without a network, ours with one where it says so.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.nodeagent.network import NodeNetwork
from services.nodeagent.runtime.client import KeeperClient
from services.nodeagent.runtime.model import ContainerSpec, Resources, SandboxSpec
from shared.kernel.cgroups import groups
from shared.kernel.underlay import Underlay
from tests.bench.beside import Others, beside
from tests.bench.node_start import CLUSTER, Bench
from tests.fakes.podlife import container, pod
from tests.integration.nodeagent.conftest import KeptNode

ROUNDS = 40
SLOW_ROUNDS = 8
PARALLEL = 8
TURNS = 3
IDLE = 20
PODS = 100
Row = tuple[str, str]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        directory = Path(name)
        layer = Bench(directory / "image").layer
        with beside(directory, layer) as others:
            asyncio.run(ours(directory / "keeper", others))
            asyncio.run(pods(directory, layer))
            for name in others.slow:
                show([(f"start -> exit of true, {name}", spread([others.seconds(name) for _ in range(SLOW_ROUNDS)]))])
                rate = others.rate(name, SLOW_ROUNDS * 2, PARALLEL)
                show([(f"containers a second, {PARALLEL} in parallel, {name}", f"{rate:.1f}")])
    return 0


def show(rows: list[Row]) -> None:
    for name, value in rows:
        print(f"{name:58} {value:>24}", flush=True)


def spread(seconds: list[float]) -> str:
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered) * 1e3:.1f}  p99 {p99 * 1e3:.1f} ms"


@asynccontextmanager
async def keeper(directory: Path) -> AsyncIterator[tuple[Bench, subprocess.Popen[bytes]]]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/run") as run:
        env = {**os.environ, "WHERRY_RUN": run, "WHERRY_CLUSTER": CLUSTER, "WHERRY_NODE_NAME": "n"}
        process = subprocess.Popen([sys.executable, "-m", "services.nodeagent.keeper"], env=env)  # noqa: ASYNC220
        bench = Bench(directory)
        try:
            bench.runtime = await KeeperClient.connect(Path(run) / "nodes/n/keeper.sock")
            bench.runtime.on_exit = bench.on_exit
            try:
                yield bench, process
            finally:
                for sandbox in (await bench.runtime.list())[0]:
                    await bench.runtime.remove_sandbox(sandbox.id)
                await bench.runtime.close()
        finally:
            process.terminate()
            process.wait()
            groups.detect(f"/{CLUSTER}/n").remove_all()


async def ours(directory: Path, others: Others) -> None:
    """Ours and the quick ones in turns, so that what else the machine does touches all alike."""
    async with keeper(directory) as (bench, process):
        await bench.runtime.create_sandbox(SandboxSpec("pod", cgroup="/pods/pod", netns_name=f"{CLUSTER}-pod"))
        times: dict[str, list[float]] = {}
        async with pod_network(bench) as network:
            for number in range(ROUNDS):
                alone = (await bench.container(f"a{number}", "/bin/true"))[1]
                times.setdefault("ours in the agent, in a pod", []).append(alone)
                whole = await whole_pod(bench, network, number)
                times.setdefault("the same with sandbox, group, veth and address", []).append(whole)
                for name in others.quick:
                    times.setdefault(name, []).append(others.seconds(name))
        show([(f"start -> exit of true, {name}", spread(seconds)) for name, seconds in times.items()])
        rates: dict[str, list[float]] = {}
        for turn in range(TURNS):
            rates.setdefault("ours", []).append(await throughput(bench, turn))
            for name in others.quick:
                rates.setdefault(name, []).append(others.rate(name, ROUNDS, PARALLEL))
        for name, found in rates.items():
            show([(f"containers a second, {PARALLEL} in parallel, {name}", f"{statistics.median(found):.1f}")])
        show([("memory of an idle container beside its process, ours", f"{await idle(bench, process):.2f} MiB")])


@asynccontextmanager
async def pod_network(bench: Bench) -> AsyncIterator[NodeNetwork]:
    """The network of a node, in a namespace of its own."""
    underlay = Underlay("bnode", "10.115.0.0/24", pod_cidr="10.116.0.0/16", service_cidr="10.117.0.0/16")
    try:
        address = underlay.up(["n-1"])["n-1"]
        namespace = underlay.namespace("n-1")
        network = NodeNetwork(bench.directory / "network", namespace=namespace, cluster_cidr="10.116.0.0/16")
        await network.setup("10.116.1.0/24", address)
        yield network
        await network.close()
    finally:
        underlay.down()


async def whole_pod(bench: Bench, network: NodeNetwork, number: int) -> float:
    """Sandbox, network and a container that ends, as the agent makes them one after the other."""
    begin = time.perf_counter()
    name = f"w{number}"
    limits = Resources(memory_bytes=256 << 20, cpu_shares=100)
    spec = SandboxSpec(name, cgroup=f"/pods/{name}", netns_name=f"{CLUSTER}-{name}", resources=limits)
    state = await bench.runtime.create_sandbox(spec)
    await network.attach(name, state.netns_path)
    await bench.container(f"c{number}", "/bin/true", sandbox=name)
    taken = time.perf_counter() - begin
    await network.detach(name)
    await bench.runtime.remove_sandbox(name)
    return taken


async def throughput(bench: Bench, turn: int = 0) -> float:
    limit = asyncio.Semaphore(PARALLEL)

    async def one(number: int) -> None:
        async with limit:
            name = f"p{turn}-{number}"
            await bench.container(name, "/bin/true")
            await bench.runtime.remove_container(name)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(ROUNDS * 2):
            group.create_task(one(number), name=f"p{number}")
    return ROUNDS * 2 / (time.perf_counter() - begin)


async def idle(bench: Bench, process: subprocess.Popen[bytes]) -> float:
    """MiB by which the keeper grows for each container that only sleeps."""
    before = private_memory(process.pid)
    for number in range(IDLE):
        bench.ends[f"i{number}"] = asyncio.get_running_loop().create_future()
        spec = ContainerSpec(f"i{number}", "pod", "i", ["/bin/sleep", "1000"], lower=[str(bench.layer)])
        spec.writable = str(bench.directory / f"i{number}")
        await bench.runtime.start_container(spec)
    return max(0, private_memory(process.pid) - before) / IDLE / 1024


def private_memory(pid: int) -> int:
    """KiB that only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


async def pods(directory: Path, layer: Path) -> None:
    """The agent's whole way for a pod, with a real keeper and no network: one by one, and a hundred at once."""
    home = directory / "agent"
    home.mkdir()
    node = KeptNode(home, layer)
    node.start_keeper()
    await node.connect()
    node.boot()
    try:
        alone = [await running(node, [f"one-{number}"]) for number in range(SLOW_ROUNDS)]
        together = await running(node, [f"many-{number}" for number in range(PODS)])
        rows = [
            ("pod create -> Running in the agent, one by one", spread([seconds for one in alone for seconds in one])),
            (f"pod create -> Running in the agent, {PODS} at once", spread(together)),
        ]
        show(rows)
    finally:
        for path in node.pod_paths():
            node.delete(path.rpartition("/")[2], grace=0)
        await until(lambda: not node.manager.workers)
        await node.crash()
        await node.runtime.close()
        node.kill_keeper()
        node.groups.remove_all()


async def running(node: KeptNode, names: list[str]) -> list[float]:
    """Seconds from each pod's creation until its status says that it runs."""
    begin: dict[str, float] = {}
    for name in names:
        spec = pod(container("c", command=["sleep", "100000"]), terminationGracePeriodSeconds=0)
        spec["metadata"].update(name=name, uid=f"uid-{name}")
        begin[name] = time.perf_counter()
        node.create(spec)
    ends: dict[str, float] = {}

    def done() -> bool:
        for name in names:
            if name not in ends and node.status(name).get("phase") == "Running":
                ends[name] = time.perf_counter()
        return len(ends) == len(names)

    await until(done)
    return [ends[name] - begin[name] for name in names]


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    sys.exit(main())
