"""Time to attach and detach a pod, and to bring the service maps in line, in milliseconds.

Run as root: `python -m tests.bench.pod_network`. It makes a node of its own and removes it again.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from services.nodeagent.network import NodeNetwork
from services.nodeagent.proxy import ServiceProxy
from shared.kernel import netns
from shared.kernel.underlay import Underlay

PODS = 200
SERVICES = 5000
ENDPOINTS = 10
CLUSTER = "tbench"

Objects = dict[tuple[str, str], dict[str, Any]]


async def timed(action: Awaitable[Any]) -> float:
    started = time.perf_counter()
    await action
    return (time.perf_counter() - started) * 1e3


def show(name: str, values: list[float]) -> None:
    ordered = sorted(values)
    print(f"{name:45} median {statistics.median(values):8.2f}   p99 {ordered[int(len(ordered) * 0.99)]:8.2f} ms")


async def pods(network: NodeNetwork) -> None:
    sandboxes = [f"{number:012x}" for number in range(PODS)]
    paths = [netns.create(f"{CLUSTER}-pod-{sandbox}") for sandbox in sandboxes]
    attach = [await timed(network.attach(sandbox, path)) for sandbox, path in zip(sandboxes, paths, strict=True)]
    show("attach, one after the other", attach)
    show("detach, one after the other", [await timed(network.detach(sandbox)) for sandbox in sandboxes[:20]])
    rest = sandboxes[20:]
    together = await timed(asyncio.gather(*(network.detach(sandbox) for sandbox in rest)))
    print(f"{f'detach of {len(rest)} at once':45} {together / len(rest):15.2f} ms each")


def objects() -> tuple[Objects, Objects]:
    services: Objects = {}
    slices: Objects = {}
    for number in range(SERVICES):
        key = ("default", f"service-{number}")
        address = f"10.96.{number // 250}.{number % 250 + 1}"
        metadata = {"namespace": key[0], "name": key[1]}
        services[key] = {"metadata": metadata, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}
        slices[key] = one_slice(key, ENDPOINTS)
    return services, slices


def one_slice(key: tuple[str, str], endpoints: int) -> dict[str, Any]:
    return {
        "metadata": {"namespace": key[0], "name": key[1], "labels": {"kubernetes.io/service-name": key[1]}},
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [f"10.244.9.{number + 2}"]} for number in range(endpoints)],
    }


async def services(namespace: str) -> None:
    proxy = ServiceProxy("node-1", namespace=namespace)
    wanted, slices = objects()
    first = await timed(proxy.apply(wanted, slices))
    print(f"{f'first apply, {SERVICES} services of {ENDPOINTS} endpoints':45} {first:15.0f} ms")
    changes = []
    for number in range(50):
        key = ("default", f"service-{number}")
        slices[key] = one_slice(key, ENDPOINTS - 1)
        changes.append(await timed(proxy.apply(wanted, slices)))
    show("one endpoint of one service removed", changes)
    await proxy.close()
    proxy = ServiceProxy("node-1", namespace=namespace)
    again = await timed(proxy.apply(wanted, slices))
    print(f"{'apply after a restart, nothing to change':45} {again:15.0f} ms")
    await proxy.close()


async def measure() -> None:
    underlay = Underlay(CLUSTER, "10.86.0.0/24", pod_cidr="10.147.0.0/16", service_cidr="10.148.0.0/16")
    with tempfile.TemporaryDirectory() as directory:
        try:
            address = underlay.up(["node-1"])["node-1"]
            namespace = underlay.namespace("node-1")
            network = NodeNetwork(Path(directory) / "network", cluster_cidr="10.147.0.0/16", namespace=namespace)
            await network.setup("10.147.1.0/24", address)
            await pods(network)
            await network.close()
            await services(namespace)
        finally:
            underlay.down()


if __name__ == "__main__":
    asyncio.run(measure())
