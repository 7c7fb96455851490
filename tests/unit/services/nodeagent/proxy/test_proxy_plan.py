from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent.proxy import table
from services.nodeagent.proxy.endpoints import Place, target
from services.nodeagent.proxy.ledger import Ledger
from services.nodeagent.proxy.plan import Elements, frontend_key, node_port_key, plan, position_key
from shared.kernel.nftables import drop, goto

PLACE = Place("node-1")
ADDRESS = frontend_key("10.96.0.20", "TCP", 80)
NODE_PORT = node_port_key("TCP", 30080)


def service(**spec: Any) -> dict[str, Any]:
    full = {"clusterIP": "10.96.0.20", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}], **spec}
    return {"metadata": {"namespace": "default", "name": "web"}, "spec": full}


def slices(*nodes: str) -> list[dict[str, Any]]:
    endpoints = [{"addresses": [f"10.244.0.{number}"], "nodeName": node} for number, node in enumerate(nodes, 2)]
    return [{"ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints}]


def planned(*nodes: str, **spec: Any) -> Elements:
    return plan(service(**spec), slices(*nodes), PLACE, lambda name, key: [])


def test_a_frontend_has_a_verdict_and_its_endpoints_by_position() -> None:
    elements = planned("node-1", "node-2")
    assert elements[table.SERVICES] == {ADDRESS: goto("services-2")}
    assert elements[table.endpoints_of(table.SERVICES)] == {
        position_key(ADDRESS, 0): target("10.244.0.2", 8080),
        position_key(ADDRESS, 1): target("10.244.0.3", 8080),
    }
    assert elements[table.NODE_PORTS] == {NODE_PORT: goto("node_ports-2")}
    assert NODE_PORT in elements[table.SNAT_NODE_PORTS]
    assert len(elements[table.HAIRPINS]) == 1


def test_affinity_has_chains_of_its_own() -> None:
    assert planned("node-1", sessionAffinity="ClientIP")[table.SERVICES] == {ADDRESS: goto("services-1-10800")}
    configuration = {"clientIP": {"timeoutSeconds": 60}}
    elements = planned("node-1", sessionAffinity="ClientIP", sessionAffinityConfig=configuration)
    assert elements[table.SERVICES] == {ADDRESS: goto("services-1-60")}


def test_without_endpoints_everything_is_refused() -> None:
    assert planned() == {table.UNSERVED: {ADDRESS: table.REFUSE}, table.UNSERVED_NODE_PORTS: {NODE_PORT: table.REFUSE}}


def test_policy_local_without_local_endpoints_is_silent_outside_and_open_inside() -> None:
    elements = planned("node-2", externalTrafficPolicy="Local", internalTrafficPolicy="Local")
    assert elements[table.UNSERVED] == {ADDRESS: drop}
    assert elements[table.UNSERVED_NODE_PORTS] == {NODE_PORT: drop}
    assert elements[table.INNER_NODE_PORTS] == {NODE_PORT: goto("inner_node_ports-1")}
    assert table.SNAT_NODE_PORTS not in elements


def test_services_without_an_address_of_this_proxy_are_left_alone() -> None:
    for changed in (
        {"clusterIP": "None"},
        {"clusterIP": ""},
        {"type": "ExternalName", "externalName": "example.org"},
        {"clusterIP": "fd00::1"},
    ):
        assert planned("node-1", **changed) == {}
    labelled = service()
    labelled["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
    assert plan(labelled, slices("node-1"), PLACE, lambda name, key: []) == {}
    own = plan(service(ports=[{"port": 80}]), slices("node-1"), PLACE, lambda name, key: [], frozenset({"10.96.0.20"}))
    assert table.SERVICES not in own


def test_a_load_balancers_address_is_served_unless_it_is_a_proxy() -> None:
    balanced = service()
    balanced["status"] = {
        "loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}]}
    }
    elements = plan(balanced, slices("node-1"), PLACE, lambda name, key: [])
    assert set(elements[table.SERVICES]) == {ADDRESS, frontend_key("203.0.113.1", "TCP", 80)}


def test_the_first_of_two_claims_wins_and_the_second_takes_over() -> None:
    ledger = Ledger()
    assert ledger.replace("b", {"set": {b"k": b"from b"}}) == {("set", b"k")}
    assert ledger.replace("a", {"set": {b"k": b"from a"}}) == {("set", b"k")}
    assert ledger.winner("set", b"k") == ("a", b"from a")
    ledger.replace("a", {})
    assert ledger.winner("set", b"k") == ("b", b"from b")
    ledger.replace("b", {})
    assert ledger.winner("set", b"k") is None


wishes = st.dictionaries(st.binary(min_size=1, max_size=1), st.binary(max_size=1), max_size=4)


@given(st.lists(st.tuples(st.sampled_from("abc"), wishes), max_size=20))
def test_the_ledger_agrees_with_a_plain_model(steps: list[tuple[str, dict[bytes, bytes]]]) -> None:
    ledger = Ledger()
    model: dict[str, dict[bytes, bytes]] = {}
    for owner, wanted in steps:
        before = model.get(owner, {})
        touched = ledger.replace(owner, {"set": dict(wanted)} if wanted else {})
        model[owner] = wanted
        assert touched == {("set", key) for key in before.keys() | wanted.keys() if before.get(key) != wanted.get(key)}
    for key in {key for wanted in model.values() for key in wanted}:
        owner = min(owner for owner, wanted in model.items() if key in wanted)
        assert ledger.winner("set", key) == (owner, model[owner][key])
    assert set(ledger.places()) == {("set", key) for wanted in model.values() for key in wanted}
