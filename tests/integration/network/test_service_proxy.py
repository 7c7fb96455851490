from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from services.nodeagent.proxy import ServiceProxy
from shared.errors import NetworkError
from shared.kernel import netns
from shared.kernel.netlink import namespaces
from tests.integration.network.harness import Cluster, Pod, ask, ask_udp

pytestmark = pytest.mark.root

Objects = dict[tuple[str, str], dict[str, Any]]


class Services:
    """A cluster with a service proxy per node, and the objects that they serve."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.services: Objects = {}
        self.slices: Objects = {}
        self.proxies = {node: self.proxy(node) for node in cluster.nodes}

    def proxy(self, node: str) -> ServiceProxy:
        return ServiceProxy(
            node,
            cluster_cidr=self.cluster.pods,
            service_cidr=self.cluster.services,
            local_addresses=[self.cluster.service_ip(10)],
            namespace=self.cluster.namespace(node),
        )

    def service(self, name: str, number: int, *ports: dict[str, Any], **spec: Any) -> str:
        address = self.cluster.service_ip(number)
        full = {"clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "ports": list(ports), **spec}
        self.services["default", name] = {"metadata": {"namespace": "default", "name": name}, "spec": full}
        return address

    def endpoints(
        self, name: str, pods: Iterable[Pod], *, port: int = 8080, protocol: str = "TCP", **more: Any
    ) -> None:
        conditions = {"ready": True, "serving": True, "terminating": False, **more}
        self.slices["default", f"{name}-{protocol}"] = {
            "metadata": {
                "namespace": "default",
                "name": f"{name}-{protocol}",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port, "protocol": protocol}],
            "endpoints": [{"addresses": [pod.ip], "nodeName": pod.node, "conditions": conditions} for pod in pods],
        }

    async def apply(self) -> int:
        return sum([await proxy.apply(self.services, self.slices) for proxy in self.proxies.values()])

    async def close(self) -> None:
        for proxy in self.proxies.values():
            await proxy.close()


@pytest.fixture
async def world(cluster: Cluster) -> AsyncIterator[Services]:
    world = Services(cluster)
    yield world
    await world.close()


HTTP = {"port": 80, "protocol": "TCP"}


async def test_a_cluster_ip_reaches_pods_on_every_node_and_keeps_the_client_address(world: Services) -> None:
    cluster = world.cluster
    pods = [await cluster.pod(node) for node in cluster.nodes]
    for pod in pods:
        cluster.answer(pod)
    address = world.service("web", 20, HTTP)
    world.endpoints("web", pods)
    await world.apply()

    client = await cluster.pod("node-1")
    answers = {client.ask(address, 80) for _ in range(60)}
    assert answers == {(pod.name, client.ip) for pod in pods}


@pytest.mark.parametrize("bridged", ["0", "1"])
async def test_pods_reach_themselves_and_each_other_through_a_service_with_and_without_br_netfilter(
    world: Services, bridged: str
) -> None:
    cluster = world.cluster
    setting = "net.bridge.bridge-nf-call-iptables"
    namespaces.call_inside(cluster.namespace("node-1"), lambda: netns.write_sysctl(setting, bridged))
    pod, other = await cluster.pod("node-1"), await cluster.pod("node-1")
    cluster.answer(pod)
    address = world.service("web", 20, HTTP)
    world.endpoints("web", [pod])
    await world.apply()
    assert pod.ask(address, 80)[0] == pod.name
    assert other.ask(address, 80) == (pod.name, other.ip)


async def test_the_node_and_the_host_reach_a_cluster_ip(world: Services) -> None:
    pod = await world.cluster.pod("node-2")
    world.cluster.answer(pod)
    address = world.service("web", 20, HTTP)
    world.endpoints("web", [pod])
    await world.apply()
    assert ask(world.cluster.namespace("node-1"), address, 80) == (pod.name, world.cluster.nodes["node-1"])
    assert ask(world.cluster.namespace("node-2"), address, 80)[0] == pod.name
    assert ask("/proc/self/ns/net", address, 80)[0] == pod.name


async def test_a_node_port_answers_on_every_node_and_on_its_loopback(world: Services) -> None:
    cluster = world.cluster
    pod = await cluster.pod("node-2")
    cluster.answer(pod)
    world.service("web", 20, {**HTTP, "nodePort": 30080}, type="NodePort")
    world.endpoints("web", [pod])
    await world.apply()
    for address in cluster.nodes.values():
        assert ask("/proc/self/ns/net", address, 30080)[0] == pod.name
        assert pod.ask(address, 30080)[0] == pod.name
    for node in cluster.nodes:
        assert ask(cluster.namespace(node), "127.0.0.1", 30080)[0] == pod.name


async def test_external_traffic_policy_local_keeps_the_client_address_and_stays_on_the_node(world: Services) -> None:
    cluster = world.cluster
    pod = await cluster.pod("node-2")
    cluster.answer(pod)
    world.service("web", 20, {**HTTP, "nodePort": 30080}, type="NodePort", externalTrafficPolicy="Local")
    world.endpoints("web", [pod])
    await world.apply()
    assert ask("/proc/self/ns/net", cluster.nodes["node-2"], 30080) == (pod.name, cluster.underlay.gateway)
    with pytest.raises(TimeoutError):
        ask("/proc/self/ns/net", cluster.nodes["node-1"], 30080)
    inside = await cluster.pod("node-1")
    assert inside.ask(cluster.nodes["node-1"], 30080)[0] == pod.name
    assert ask(cluster.namespace("node-1"), cluster.nodes["node-1"], 30080)[0] == pod.name


async def test_internal_traffic_policy_local_uses_only_pods_of_the_node(world: Services) -> None:
    cluster = world.cluster
    pods = {node: await cluster.pod(node) for node in ("node-1", "node-2")}
    for pod in pods.values():
        cluster.answer(pod)
    address = world.service("web", 20, HTTP, internalTrafficPolicy="Local")
    world.endpoints("web", pods.values())
    await world.apply()
    assert {pods["node-1"].ask(address, 80)[0] for _ in range(20)} == {pods["node-1"].name}
    elsewhere = await cluster.pod("node-3")
    with pytest.raises(TimeoutError):
        elsewhere.ask(address, 80)


async def test_a_malformed_service_does_not_stop_the_others(world: Services, caplog: pytest.LogCaptureFixture) -> None:
    pod = await world.cluster.pod("node-2")
    world.cluster.answer(pod)
    address = world.service("web", 20, HTTP)
    world.endpoints("web", [pod])
    world.service("broken", 21, {"port": 99999})
    await world.apply()
    assert (await world.cluster.pod("node-1")).ask(address, 80)[0] == pod.name
    assert "default/broken is not served" in caplog.text


async def test_an_external_ip_is_served(world: Services) -> None:
    cluster = world.cluster
    pod = await cluster.pod("node-2")
    cluster.answer(pod)
    world.service("web", 20, HTTP, externalIPs=["203.0.113.9"])
    world.endpoints("web", [pod])
    await world.apply()
    assert (await cluster.pod("node-1")).ask("203.0.113.9", 80)[0] == pod.name


async def test_a_service_without_endpoints_refuses_at_once(world: Services) -> None:
    cluster = world.cluster
    address = world.service("web", 20, {**HTTP, "nodePort": 30080}, type="NodePort")
    await world.apply()
    client = await cluster.pod("node-1")
    for source in (client.namespace, cluster.namespace("node-1"), "/proc/self/ns/net"):
        with pytest.raises(ConnectionRefusedError):
            ask(source, address, 80)
        with pytest.raises(ConnectionRefusedError):
            ask(source, cluster.nodes["node-1"], 30080)
        # what a node refuses itself is EPERM for its own datagrams
        with pytest.raises((ConnectionRefusedError, PermissionError)):
            ask_udp(source, cluster.service_ip(99), 53)


async def test_terminating_pods_serve_only_when_none_is_ready(world: Services) -> None:
    cluster = world.cluster
    ready, leaving = await cluster.pod("node-1"), await cluster.pod("node-2")
    for pod in (ready, leaving):
        cluster.answer(pod)
    address = world.service("web", 20, HTTP)
    world.endpoints("web", [ready])
    world.slices["default", "leaving"] = {
        **world.slices["default", "web-TCP"],
        "endpoints": [
            {
                "addresses": [leaving.ip],
                "nodeName": "node-2",
                "conditions": {"ready": False, "serving": True, "terminating": True},
            }
        ],
    }
    await world.apply()
    client = await cluster.pod("node-3")
    assert {client.ask(address, 80)[0] for _ in range(20)} == {ready.name}
    del world.slices["default", "web-TCP"]
    await world.apply()
    assert client.ask(address, 80)[0] == leaving.name


async def test_client_ip_affinity_holds_until_the_endpoint_is_gone(world: Services) -> None:
    cluster = world.cluster
    pods = [await cluster.pod(node) for node in ("node-1", "node-2", "node-2", "node-3")]
    for pod in pods:
        cluster.answer(pod)
    address = world.service("web", 20, HTTP, sessionAffinity="ClientIP")
    world.endpoints("web", pods)
    await world.apply()
    clients = [await cluster.pod("node-1") for _ in range(4)]
    first = {client.name: client.ask(address, 80)[0] for client in clients}
    for client in clients:
        assert {client.ask(address, 80)[0] for _ in range(8)} == {first[client.name]}
    gone = first[clients[0].name]
    rest = [pod for pod in pods if pod.name != gone]
    world.endpoints("web", rest)
    await world.apply()
    second = clients[0].ask(address, 80)[0]
    assert second != gone
    assert {clients[0].ask(address, 80)[0] for _ in range(8)} == {second}


async def test_a_udp_flow_moves_when_its_endpoint_is_gone(world: Services) -> None:
    cluster = world.cluster
    pods = [await cluster.pod("node-2"), await cluster.pod("node-3")]
    for pod in pods:
        cluster.answer(pod)
    address = world.service("dns", 20, {"port": 53, "protocol": "UDP", "nodePort": 30053})
    await world.apply()
    client = await cluster.pod("node-1")
    with pytest.raises(ConnectionRefusedError):
        client.ask_udp(address, 53)
    flow = namespaces.call_inside(client.namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with flow, outside:
        for item, target in ((flow, (address, 53)), (outside, (cluster.nodes["node-1"], 30053))):
            item.settimeout(3)
            item.connect(target)
        for position in (0, 1, 0):
            world.endpoints("dns", [pods[position]], protocol="UDP")
            await world.apply()
            for item in (flow, outside):
                item.send(b"who")
                assert item.recv(1500).decode().split()[0] == pods[position].name


async def test_a_restarted_proxy_finds_the_kernel_as_it_should_be(world: Services) -> None:
    cluster = world.cluster
    pods = [await cluster.pod(node) for node in cluster.nodes]
    world.service("web", 20, {**HTTP, "nodePort": 30080}, sessionAffinity="ClientIP")
    world.service("none", 21, HTTP)
    world.endpoints("web", pods)
    assert await world.apply() > 0
    world.endpoints("web", pods[1:])
    assert await world.apply() > 0
    await world.close()
    world.proxies = {node: world.proxy(node) for node in cluster.nodes}
    assert await world.apply() == 0
    await world.close()
    del world.services["default", "web"]
    world.proxies = {node: world.proxy(node) for node in cluster.nodes}
    await world.apply()
    rules = cluster.run(cluster.namespace("node-1"), "nft", "list", "table", "ip", "wherry-services")
    assert pods[1].ip not in rules
    assert "services-2-10800" not in rules


async def test_a_flushed_rule_set_is_repaired(world: Services) -> None:
    cluster = world.cluster
    pod = await cluster.pod("node-2")
    cluster.answer(pod)
    address = world.service("web", 20, HTTP)
    world.endpoints("web", [pod])
    await world.apply()
    client = await cluster.pod("node-1")
    cluster.run(cluster.namespace("node-1"), "nft", "delete", "table", "ip", "wherry-services")
    await world.proxies["node-1"].resync()
    assert client.ask(address, 80)[0] == pod.name
    cluster.run(cluster.namespace("node-1"), "nft", "delete", "table", "ip", "wherry-services")
    world.service("other", 21, HTTP)
    await world.apply()
    assert client.ask(address, 80)[0] == pod.name


async def test_a_scaled_service_changes_only_its_elements(world: Services) -> None:
    cluster = world.cluster
    pods = [await cluster.pod("node-1") for _ in range(4)]
    for number in range(30):
        world.service(f"web{number}", 20 + number, HTTP)
        world.endpoints(f"web{number}", pods)
    await world.apply()
    world.endpoints("web7", [pods[0], pods[2], pods[3]])
    proxy = world.proxies["node-1"]
    # the verdict and the vacated position are replaced, the last position removed: 2 + 2 + 1
    assert await proxy.apply(world.services, world.slices) == 5
    assert await proxy.apply(world.services, world.slices) == 0


async def test_a_service_address_of_the_node_itself_is_left_alone(world: Services) -> None:
    address = world.service("kube-dns", 10, {"port": 53, "protocol": "UDP"})
    await world.cluster.networks["node-1"].add_local_address(address)
    await world.apply()
    world.cluster.answer_on_node("node-1", "dns", 53, address)
    client = await world.cluster.pod("node-1")
    assert client.ask_udp(address, 53) == ("dns", client.ip)
    assert ask(world.cluster.namespace("node-1"), address, 53)[0] == "dns"


async def test_a_namespace_that_is_missing_is_named(world: Services) -> None:
    proxy = ServiceProxy("node-9", namespace="/run/netns/missing")
    with pytest.raises(NetworkError, match="/run/netns/missing"):
        await proxy.apply({}, {})
    await proxy.close()
