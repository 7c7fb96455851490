"""An agent that is killed at any instant leaves nothing behind that its successor does not clear."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from shared.kernel import netns
from shared.kernel.netlink import links, namespaces
from tests.integration.network.harness import Cluster

pytestmark = pytest.mark.root

WORKER = """
import asyncio, sys
from pathlib import Path
from services.nodeagent.network import HostPort, NodeNetwork

async def main(directory, cluster_cidr, namespace, pod_cidr, node_ip, *pods):
    network = NodeNetwork(Path(directory), cluster_cidr=cluster_cidr, namespace=namespace)
    await network.setup(pod_cidr, node_ip)
    print("ready", flush=True)
    while True:
        for number, pod in enumerate(pods):
            await network.attach(pod.rpartition("-")[2], pod, host_ports=[HostPort("TCP", 9000 + number, 80)])
        await asyncio.gather(*(network.detach(pod.rpartition("-")[2]) for pod in pods))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_agent_leaves_nothing_behind(cluster: Cluster, tmp_path: Path) -> None:
    node = "node-1"
    await cluster.networks.pop(node).close()
    pods = [netns.create(f"{cluster.name}-{node}-{number:012x}") for number in range(4)]
    arguments = [
        str(cluster.directory / node),
        cluster.pods,
        cluster.namespace(node),
        cluster.pod_cidr(node),
        cluster.nodes[node],
        *pods,
    ]
    for _ in range(6):
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, *arguments, stdout=asyncio.subprocess.PIPE
        )
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"
        # any instant will do: the point is that none is special
        await asyncio.sleep(random.uniform(0, 0.08))
        worker.send_signal(signal.SIGKILL)
        await worker.wait()

        network = await cluster.start_network(node)
        await network.reconcile([])
        assert network.addresses() == {}
        assert list((cluster.directory / node).iterdir()) == []
        with namespaces.open_inside(cluster.namespace(node)) as connection:
            bridge = links.find(connection, "wherry0")
            assert bridge is not None
            assert list(links.every(connection, master=bridge.index)) == []
        again = await network.attach("again", pods[0])
        assert again.ip
        await network.detach("again")
        await network.close()
    rules = cluster.run(cluster.namespace(node), "nft", "list", "map", "ip", "wherry-network", "host_ports")
    assert "elements" not in rules
