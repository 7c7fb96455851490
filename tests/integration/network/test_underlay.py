from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import NetworkError
from shared.kernel import netns
from shared.kernel.netlink import NetlinkSocket, links, namespaces, routes
from shared.kernel.netlink.routes import Route
from shared.kernel.underlay import Underlay
from tests.integration.network.harness import Answerer, Cluster, ask

pytestmark = pytest.mark.root

OUTSIDE = "198.51.100.2"


@pytest.fixture
def outside(bare: Cluster) -> Iterator[Answerer]:
    """A machine beyond the host that knows no route to the cluster."""
    path = netns.create(f"{bare.name}-outside")
    with NetlinkSocket() as connection, open(path, "rb") as namespace:
        link = f"{bare.name}-o"
        pair = links.add_veth(link, "eth0", peer_namespace=namespace.fileno(), master=0, mtu=1500)
        connection.execute([pair])
        near = links.find(connection, link)
        assert near is not None
        connection.execute([routes.add_address(near.index, "198.51.100.1", 24)])
        with namespaces.open_inside(path) as inside:
            far = links.find(inside, "eth0")
            assert far is not None
            inside.execute([links.set_up(far.index), routes.add_address(far.index, OUTSIDE, 24)])
        answerer = Answerer(path, "outside", 8080)
        yield answerer
        answerer.close()
        connection.execute([links.delete(link)])
    netns.delete(f"{bare.name}-outside")


def test_up_twice_changes_nothing_and_adds_new_nodes(bare: Cluster) -> None:
    before = {node: os.stat(bare.namespace(node)).st_ino for node in bare.nodes}
    addresses = bare.underlay.up(["node-1", "node-2", "node-3"])
    assert {node: os.stat(bare.namespace(node)).st_ino for node in before} == before
    prefix = bare.underlay.gateway.rpartition(".")[0]
    assert addresses == {f"node-{number}": f"{prefix}.{10 + number}" for number in (1, 2, 3)}
    answerer = bare.answer_on_node("node-3", "third", 8080)
    assert ask(bare.namespace("node-1"), addresses["node-3"], 8080) == (answerer.name, addresses["node-1"])


def test_nodes_host_and_outside_are_reached(bare: Cluster, outside: Answerer) -> None:
    bare.answer_on_node("node-2", "second", 8080)
    assert ask(bare.namespace("node-1"), bare.nodes["node-2"], 8080)[0] == "second"
    assert ask("/proc/self/ns/net", bare.nodes["node-2"], 8080) == ("second", bare.underlay.gateway)
    # outside knows no way back: only the host's own address can be answered
    assert ask(bare.namespace("node-1"), OUTSIDE, 8080) == ("outside", "198.51.100.1")


def test_pod_routes_lead_to_their_nodes_and_vanish_when_not_given(bare: Cluster) -> None:
    def present() -> dict[str, str]:
        with NetlinkSocket() as connection:
            found = routes.routes(connection, protocol=routes.PROTOCOL_WHERRY)
            return {route.destination: route.gateway for route in found}

    second = bare.pod_cidr("node-2")
    bare.underlay.set_pod_routes({second: bare.nodes["node-2"]})
    assert present()[second] == bare.nodes["node-2"]
    assert present()[bare.pods] == bare.nodes["node-1"]
    bare.underlay.set_pod_routes({})
    assert second not in present()
    assert bare.pods in present()


def test_down_removes_everything_and_is_idempotent(bare: Cluster) -> None:
    netns.create(f"{bare.name}-node-1-0123456789ab")
    assert len(bare.underlay.leftovers()) == 7
    bare.underlay.down()
    assert bare.underlay.leftovers() == []
    bare.underlay.down()
    assert not (bare.directory / "forwarding").exists()


def test_half_of_an_underlay_is_completed(bare: Cluster) -> None:
    with NetlinkSocket() as connection:
        connection.execute([links.delete(f"{bare.name}-v1")])
    netns.delete(f"{bare.name}-node-2")
    bare.underlay.up(["node-1", "node-2"])
    bare.answer_on_node("node-2", "second", 8080)
    assert ask(bare.namespace("node-1"), bare.nodes["node-2"], 8080)[0] == "second"


def test_a_route_of_somebody_else_is_left_alone_and_named(bare: Cluster, tmp_path: Path) -> None:
    other = Underlay("tother", "10.87.0.0/24", pod_cidr=bare.pods, service_cidr="10.149.0.0/16")
    try:
        with pytest.raises(NetworkError, match=f"route to {bare.pods}"):
            other.up(["node-1"])
    finally:
        other.down()
    with NetlinkSocket() as connection:
        assert any(route.destination == bare.pods for route in routes.routes(connection))


def test_a_node_whose_name_has_no_number_is_refused() -> None:
    with pytest.raises(NetworkError, match="'worker'"):
        Underlay("tnone").up(["worker"])


def test_routes_of_a_protocol_are_listed_alone(bare: Cluster) -> None:
    with namespaces.open_inside(bare.namespace("node-1")) as connection:
        found = list(routes.routes(connection, protocol=routes.PROTOCOL_WHERRY))
        assert [route.destination for route in found] == ["0.0.0.0/0"]
        connection.execute([routes.add_route(Route("192.0.2.0/24", bare.underlay.gateway, 0, routes.PROTOCOL_BOOT))])
        assert list(routes.routes(connection, protocol=routes.PROTOCOL_WHERRY)) == found
