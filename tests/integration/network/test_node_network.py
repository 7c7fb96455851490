from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.nodeagent.network import Bandwidth, HostPort, NodeNetwork
from shared.errors import NetworkError
from shared.kernel import netns
from shared.kernel.netlink import links, namespaces, routes
from tests.integration.network.harness import Answerer, Cluster, ask, ask_udp

pytestmark = pytest.mark.root


def ports(cluster: Cluster, node: str) -> set[str]:
    """The names of the pods' veths on a node's bridge."""
    with namespaces.open_inside(cluster.namespace(node)) as connection:
        bridge = links.find(connection, "wherry0")
        assert bridge is not None
        return {link.name for link in links.every(connection, master=bridge.index)}


async def test_pods_reach_pods_nodes_and_the_host(cluster: Cluster) -> None:
    one, two, far = await cluster.pod("node-1"), await cluster.pod("node-1"), await cluster.pod("node-3")
    for pod in (two, far):
        cluster.answer(pod)
        assert one.ask(pod.ip, 8080) == (pod.name, one.ip)
        assert one.ask_udp(pod.ip, 8080) == (pod.name, one.ip)
        assert ask("/proc/self/ns/net", pod.ip, 8080) == (pod.name, cluster.underlay.gateway)
        assert ask(cluster.namespace("node-2"), pod.ip, 8080)[0] == pod.name
    cluster.answer_on_node("node-2", "node", 8080)
    assert one.ask(cluster.nodes["node-2"], 8080) == ("node", cluster.nodes["node-1"])
    host = cluster.answer_on_node("node-1", "own-node", 8081)
    assert one.ask(cluster.nodes["node-1"], 8081) == (host.name, one.ip)


async def test_traffic_to_the_outside_has_the_nodes_address(cluster: Cluster) -> None:
    host = Answerer("/proc/self/ns/net", "host", 18080, cluster.underlay.gateway)
    cluster.answerers.append(host)
    pod = await cluster.pod("node-2")
    assert pod.ask(cluster.underlay.gateway, 18080) == ("host", cluster.nodes["node-2"])
    assert pod.ask_udp(cluster.underlay.gateway, 18080) == ("host", cluster.nodes["node-2"])


async def test_the_pods_own_view_is_complete(cluster: Cluster) -> None:
    pod = await cluster.pod("node-1")
    with namespaces.open_inside(pod.namespace) as inside:
        found = {link.name: link for link in links.every(inside)}
        assert found["lo"].up
        assert found["eth0"].up
        with namespaces.open_inside(cluster.namespace("node-1")) as node:
            uplink = links.find(node, "eth0")
        assert uplink is not None
        assert found["eth0"].mtu == uplink.mtu
        gateway = cluster.pod_cidr("node-1").replace(".0/24", ".1")
        assert {(route.destination, route.gateway) for route in routes.routes(inside)} == {
            (f"{gateway}/32", ""),
            ("0.0.0.0/0", gateway),
        }


async def test_the_first_packet_of_a_pod_arrives(cluster: Cluster) -> None:
    server = await cluster.pod("node-1")
    cluster.answer(server)
    for _ in range(30):
        pod = await cluster.pod("node-1")
        assert pod.ask_udp(server.ip, 8080) == (server.name, pod.ip)


async def test_attaching_again_gives_the_same_address(cluster: Cluster) -> None:
    network = cluster.networks["node-1"]
    sandbox, path = cluster.pod_namespace("node-1")
    first = await network.attach(sandbox, path)
    assert await network.attach(sandbox, path) == first
    assert network.addresses() == {sandbox: first}
    assert len(ports(cluster, "node-1")) == 1


async def test_an_interrupted_attachment_is_completed(cluster: Cluster) -> None:
    network = cluster.networks["node-1"]
    sandbox, path = cluster.pod_namespace("node-1")
    first = await network.attach(sandbox, path)
    with namespaces.open_inside(path) as inside:
        eth0 = links.find(inside, "eth0")
        assert eth0 is not None
        inside.execute([routes.delete_address(eth0.index, first.ip, 24)])
    assert await network.attach(sandbox, path) == first
    with namespaces.open_inside(path) as inside:
        assert first.ip in {item.address for item in routes.addresses(inside)}
    # the namespace was lost, its name is used anew
    netns.delete(Path(path).name)
    netns.create(Path(path).name)
    assert await network.attach(sandbox, path) == first
    assert len(ports(cluster, "node-1")) == 1


async def test_a_restarted_agent_knows_its_pods_and_frees_those_that_are_gone(cluster: Cluster) -> None:
    kept, gone = await cluster.pod("node-1"), await cluster.pod("node-1")
    cluster.answer(kept)
    await cluster.networks["node-1"].close()
    network = await cluster.start_network("node-1")
    assert {address.ip for address in network.addresses().values()} == {kept.ip, gone.ip}
    assert await network.reconcile([kept.sandbox, "f" * 64]) == {"f" * 64}
    assert set(network.addresses()) == {kept.sandbox}
    assert len(ports(cluster, "node-1")) == 1
    other = await cluster.pod("node-2")
    assert other.ask(kept.ip, 8080)[0] == kept.name


async def test_a_sandbox_whose_link_is_gone_is_reported(cluster: Cluster) -> None:
    pod = await cluster.pod("node-1")
    with namespaces.open_inside(cluster.namespace("node-1")) as connection:
        connection.execute([links.delete(name) for name in ports(cluster, "node-1")])
    assert await cluster.networks["node-1"].reconcile([pod.sandbox]) == {pod.sandbox}


async def test_many_are_detached_at_once(cluster: Cluster) -> None:
    network = cluster.networks["node-1"]
    pods = [await cluster.pod("node-1") for _ in range(20)]
    await asyncio.gather(*(network.detach(pod.sandbox) for pod in pods))
    await network.detach(pods[0].sandbox)
    assert network.addresses() == {}
    assert ports(cluster, "node-1") == set()
    assert not list((cluster.directory / "node-1").iterdir())


async def test_a_missing_namespace_is_named_and_frees_the_address(cluster: Cluster) -> None:
    network = cluster.networks["node-1"]
    with pytest.raises(NetworkError, match="/run/netns/nowhere"):
        await network.attach("a" * 64, "/run/netns/nowhere")
    assert network.addresses() == {}
    assert not list((cluster.directory / "node-1").iterdir())


async def test_a_given_address_is_used_and_refused_when_taken(cluster: Cluster) -> None:
    wanted = cluster.pod_cidr("node-1").replace(".0/24", ".77")
    assert (await cluster.pod("node-1", ip=wanted)).ip == wanted
    with pytest.raises(NetworkError, match="is taken"):
        await cluster.pod("node-1", ip=wanted)
    with pytest.raises(NetworkError, match="not a host address"):
        await cluster.pod("node-1", ip="192.0.2.1")


async def test_host_ports_lead_to_the_pod_from_everywhere(cluster: Cluster) -> None:
    tcp, udp = HostPort("TCP", 8888, 8080), HostPort("UDP", 8888, 8080)
    pod = await cluster.pod("node-1", host_ports=(tcp, udp))
    cluster.answer(pod)
    node = cluster.nodes["node-1"]
    other, neighbour = await cluster.pod("node-2"), await cluster.pod("node-1")
    assert ask("/proc/self/ns/net", node, 8888) == (pod.name, cluster.underlay.gateway)
    assert ask_udp("/proc/self/ns/net", node, 8888)[0] == pod.name
    for source in (other, neighbour, pod):
        assert source.ask(node, 8888)[0] == pod.name
    assert ask(cluster.namespace("node-1"), "127.0.0.1", 8888)[0] == pod.name
    with pytest.raises(NetworkError, match="8888/TCP"):
        await cluster.pod("node-1", host_ports=(tcp,))
    await cluster.networks["node-1"].close()
    await cluster.start_network("node-1")
    assert ask("/proc/self/ns/net", node, 8888)[0] == pod.name
    await cluster.networks["node-1"].detach(pod.sandbox)
    with pytest.raises(ConnectionRefusedError):
        ask("/proc/self/ns/net", node, 8888)


async def test_a_host_port_of_one_address_leads_from_that_address_only(cluster: Cluster) -> None:
    node = cluster.nodes["node-1"]
    pod = await cluster.pod("node-1", host_ports=(HostPort("TCP", 8888, 8080, "127.0.0.1"),))
    cluster.answer(pod)
    assert ask(cluster.namespace("node-1"), "127.0.0.1", 8888)[0] == pod.name
    with pytest.raises(ConnectionRefusedError):
        ask("/proc/self/ns/net", node, 8888)


async def test_bandwidth_limits_are_set_on_both_ends(cluster: Cluster) -> None:
    network = cluster.networks["node-1"]
    sandbox, path = cluster.pod_namespace("node-1")
    await network.attach(sandbox, path, bandwidth=Bandwidth(ingress=10_000_000, egress=40_000_000_000))
    assert "tbf 1: root refcnt 3 rate 40Gbit" in cluster.run(path, "tc", "qdisc", "show", "dev", "eth0")
    outer = ports(cluster, "node-1").pop()
    assert "rate 10Mbit" in cluster.run(cluster.namespace("node-1"), "tc", "qdisc", "show", "dev", outer)


async def test_routes_follow_the_nodes(cluster: Cluster) -> None:
    network = cluster.networks["node-1"]
    await network.set_routes({cluster.pod_cidr("node-3"): cluster.nodes["node-2"]})
    with namespaces.open_inside(cluster.namespace("node-1")) as connection:
        found = {route.destination: route.gateway for route in routes.routes(connection)}
    assert cluster.pod_cidr("node-2") not in found
    assert found[cluster.pod_cidr("node-3")] == cluster.nodes["node-2"]
    assert "0.0.0.0/0" in found
    with pytest.raises(NetworkError, match=r"192\.0\.2\.9"):
        await network.set_routes({cluster.pod_cidr("node-2"): "192.0.2.9"})


async def test_a_full_network_says_so(cluster: Cluster, tmp_path: Path) -> None:
    network = NodeNetwork(tmp_path / "small", cluster_cidr=cluster.pods, namespace=cluster.namespace("node-1"))
    small = cluster.pods.replace("/16", "/29")
    await network.setup(small, cluster.nodes["node-1"])
    for _ in range(5):
        await network.attach(*cluster.pod_namespace("node-1"))
    with pytest.raises(NetworkError, match=f"no free address in {small}"):
        await network.attach(*cluster.pod_namespace("node-1"))
    await network.close()


async def test_a_node_address_that_nobody_has_is_named(cluster: Cluster, tmp_path: Path) -> None:
    network = NodeNetwork(tmp_path / "other", cluster_cidr=cluster.pods, namespace=cluster.namespace("node-1"))
    with pytest.raises(NetworkError, match=r"192\.0\.2\.1 belongs to no link"):
        await network.setup(cluster.pod_cidr("node-1"), "192.0.2.1")
    with pytest.raises(NetworkError, match="has not been set up"):
        await network.attach("a" * 64, cluster.namespace("node-1"))
    await network.close()


async def test_loopback_of_a_node_is_closed_to_others(cluster: Cluster) -> None:
    cluster.answer_on_node("node-1", "secret", 9999, "127.0.0.9")
    pod = await cluster.pod("node-1")
    gateway = cluster.pod_cidr("node-1").replace(".0/24", ".1")
    cluster.run(pod.namespace, "ip", "link", "set", "lo", "down")
    cluster.run(pod.namespace, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    cluster.run(pod.namespace, "ip", "route", "add", "127.0.0.9/32", "via", gateway)
    with pytest.raises(TimeoutError):
        pod.ask("127.0.0.9", 9999)
    cluster.run(cluster.namespace("node-1"), "nft", "flush", "chain", "ip", "wherry-network", "raw")
    assert pod.ask("127.0.0.9", 9999)[0] == "secret"
