"""What a node answers behind nodes/NAME/proxy, between a client on the bus and a node without a kernel."""

import asyncio
import json

import pytest

from services.nodeagent.configuration import Configuration
from services.nodeagent.pages import Pages
from services.nodeagent.runtime.model import ContainerStats, InterfaceStats
from services.nodeagent.summary import Rates
from shared.bus.fake import FakeBroker
from shared.bus.streams import StreamServer, open_stream
from shared.errors import InternalError
from tests.fakes.nodes import fake_node
from tests.fakes.podlife import container, pod

CONFIGURATION = Configuration.from_environment({"WHERRY_NODE_ADDRESS": "127.0.0.1", "WHERRY_NODE_NAME": "n1"})


class Stats:
    def __init__(self, runtime):
        self.runtime = runtime

    async def stats_all(self):
        used = ContainerStats(cpu_ns=1_500_000_000, working_set_bytes=4096, time=1000.0)
        return {one.id: used for one in self.runtime.containers.values() if one.state == "running"}

    async def sandbox_stats(self, sandbox_id):
        used = ContainerStats(cpu_ns=2_000_000_000, working_set_bytes=8192, pids=3, time=1000.0)
        return used, [InterfaceStats("eth0", receive_bytes=7)]


@pytest.fixture
async def node(tmp_path):
    async with fake_node(tmp_path) as node:
        node.layout.images.mkdir(parents=True, exist_ok=True)
        node.create(pod(container("web")))
        await node.wait_phase("Running")
        yield node


@pytest.fixture
def pages(node):
    return Pages(CONFIGURATION, node.layout, node.manager, Stats(node.runtime))


@pytest.fixture
async def client(pages):
    async with FakeBroker() as broker:
        agent, client = broker.connect("node-n1"), broker.connect("apiserver")
        server = asyncio.create_task(StreamServer(agent, "n1", pages.handlers()).run(), name="streams")
        await asyncio.sleep(0)
        yield client
        server.cancel()
        await asyncio.wait([server])
        for bus in (agent, client):
            await bus.close()


async def fetch(client, path, method="GET"):
    stream = await open_stream(client, "n1", "page", {"method": method, "path": path})
    received = [(channel, data) async for channel, data in stream]
    await stream.close()
    return json.loads(received[0][1]), b"".join(data for channel, data in received if channel == 1)


async def test_a_page_comes_with_status_and_type_before_its_body(client):
    assert await fetch(client, "/healthz") == ({"status": 200, "contentType": "text/plain; charset=utf-8"}, b"ok")


@pytest.mark.parametrize("path", ["/", "/exec", "/metrics/none", "/logs/../root", "/logs/missing"])
async def test_what_is_not_there_is_404(pages, path):
    assert (await pages.find("GET", path)).status == 404


async def test_a_page_cannot_be_written(pages):
    assert (await pages.find("POST", "/pods")).status == 405


async def test_the_pods_of_the_node_are_listed(pages):
    listed = json.loads((await pages.find("GET", "/pods/")).body)
    assert (listed["kind"], [one["metadata"]["name"] for one in listed["items"]]) == ("PodList", ["p"])


async def test_the_summary_tells_what_pods_and_the_node_use(pages):
    summary = json.loads((await pages.find("GET", "/stats/summary")).body)
    assert summary["node"]["nodeName"] == "n1"
    assert summary["node"]["memory"]["workingSetBytes"] > 0
    shown = summary["pods"][0]
    assert shown["podRef"] == {"name": "p", "namespace": "default", "uid": "u1"}
    assert shown["containers"][0]["cpu"]["usageCoreNanoSeconds"] == 1_500_000_000
    assert shown["memory"]["workingSetBytes"] == 8192
    assert (shown["network"]["name"], shown["network"]["rxBytes"]) == ("eth0", 7)
    assert shown["process_stats"] == {"process_count": 3}


async def test_resource_metrics_are_those_that_metrics_server_reads(pages):
    lines = (await pages.find("GET", "/metrics/resource")).body.decode().splitlines()
    assert 'container_cpu_usage_seconds_total{container="web",namespace="default",pod="p"} 1.5' in lines
    assert 'pod_memory_working_set_bytes{namespace="default",pod="p"} 8192' in lines
    assert any(line.startswith("node_cpu_usage_seconds_total ") for line in lines)


async def test_settings_are_in_the_words_of_kubelet(pages):
    settings = json.loads((await pages.find("GET", "/configz")).body)["kubeletconfig"]
    assert (settings["maxPods"], settings["clusterDomain"]) == (110, "cluster.local")
    assert settings["evictionHard"]["nodefs.available"] == "10%"


async def test_logs_are_files_and_directories(pages, node, client):
    directory = node.layout.logs / "default_p_u1" / "web"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "0.log").write_bytes(b"x" * 200_000)
    assert b'<a href="default_p_u1/">default_p_u1/</a>' in (await pages.find("GET", "/logs/")).body
    assert (await fetch(client, "/logs/default_p_u1/web/0.log"))[1] == b"x" * 200_000


async def test_another_port_is_connected_to_and_a_closed_one_named(client):
    async def greet(reader, writer):
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    stream = await open_stream(client, "n1", "nodeport", {"port": port})
    assert b"".join([data async for _, data in stream]) == b"hello"
    await stream.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(InternalError, match=f"127.0.0.1:{port}|localhost:{port}"):
        await open_stream(client, "n1", "nodeport", {"port": port})


def test_a_rate_is_that_since_the_last_look():
    rates = Rates()
    assert rates.nanocores("a", 10.0, 1_000) is None
    assert rates.nanocores("a", 12.0, 5_000) == 2_000
    assert rates.nanocores("a", 12.1, 9_000) == 2_000
    rates.keep(["b"])
    assert rates.nanocores("a", 13.0, 9_000) is None
