"""Cluster addresses and node ports: nobody ever gets what somebody else has."""

import asyncio
from pathlib import Path

from services.apiserver.app import State, assemble, load_state
from services.apiserver.settings import ApiSettings
from tests.unit.services.apiserver.memory_api import MemoryApi

SERVICES = "/api/v1/namespaces/default/services"


def service(name: str, **spec: object) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": name}, **spec}}


async def test_a_cluster_begins_with_the_services_of_api_and_dns(api: MemoryApi) -> None:
    kubernetes = await api.get(f"{SERVICES}/kubernetes")
    assert kubernetes["spec"]["clusterIP"] == "10.96.0.1"
    dns = await api.get("/api/v1/namespaces/kube-system/services/kube-dns")
    assert dns["spec"]["clusterIP"] == "10.96.0.10"
    # by this `kubectl cluster-info` finds it
    assert dns["metadata"]["labels"]["kubernetes.io/cluster-service"] == "true"
    slices = await api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    assert slices["endpoints"][0]["addresses"] == ["10.89.0.1"]


async def test_the_api_is_found_where_the_server_says_it_is(api: MemoryApi, tmp_path: Path) -> None:
    environment = {"WHERRY_DATA": str(tmp_path), "WHERRY_API_ADVERTISE": "10.89.0.7:7443"}
    state = State(api.parts.store, lambda: True)
    settings = ApiSettings.from_environment(environment)
    await assemble(api.broker.connect("apiserver"), state, settings, api.key, "a certificate")
    endpoints = await api.get("/api/v1/namespaces/default/endpoints/kubernetes")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "10.89.0.7"}]
    assert endpoints["subsets"][0]["ports"][0]["port"] == 7443


async def test_many_services_at_once_get_different_addresses(api: MemoryApi) -> None:
    made = await asyncio.gather(*(api.create(SERVICES, service(f"s{n}", type="NodePort")) for n in range(20)))
    assert len({one["spec"]["clusterIP"] for one in made}) == 20
    assert len({one["spec"]["ports"][0]["nodePort"] for one in made}) == 20


async def test_a_taken_address_is_refused_until_it_is_released(api: MemoryApi) -> None:
    first = await api.create(SERVICES, service("a"))
    address = first["spec"]["clusterIP"]
    failure = await api.failure("POST", SERVICES, service("b", clusterIP=address))
    assert failure.code == 422
    assert "provided IP is already allocated" in failure.message
    await api.delete(f"{SERVICES}/a")
    assert (await api.create(SERVICES, service("b", clusterIP=address)))["spec"]["clusterIP"] == address


async def test_an_address_outside_of_the_range_is_refused(api: MemoryApi) -> None:
    assert await api.code("POST", SERVICES, service("a", clusterIP="192.0.2.1")) == 422


async def test_a_service_keeps_its_address_through_updates_that_leave_it_out(api: MemoryApi) -> None:
    made = await api.create(SERVICES, service("a", type="NodePort"))
    again = await api.update(f"{SERVICES}/a", service("a", type="NodePort", externalIPs=["192.0.2.9"]))
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert again["spec"]["ports"][0]["nodePort"] == made["spec"]["ports"][0]["nodePort"]


async def test_a_service_that_becomes_internal_gives_its_node_port_back(api: MemoryApi) -> None:
    made = await api.create(SERVICES, service("a", type="NodePort"))
    port = made["spec"]["ports"][0]["nodePort"]
    changed = await api.patch(f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}})
    assert "nodePort" not in changed["spec"]["ports"][0]
    ports = [{"port": 80, "nodePort": port}]
    assert await api.code("POST", SERVICES, service("b", type="NodePort", ports=ports)) == 200


async def test_a_headless_service_claims_nothing(api: MemoryApi) -> None:
    made = await api.create(SERVICES, service("a", clusterIP="None"))
    assert made["spec"]["clusterIPs"] == ["None"]
    assert await api.code("POST", SERVICES, service("b", clusterIP="None")) == 200


async def test_one_number_over_tcp_and_udp_shares_a_node_port(api: MemoryApi) -> None:
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]
    made = await api.create(SERVICES, service("a", type="NodePort", ports=ports))
    assert len({port["nodePort"] for port in made["spec"]["ports"]}) == 1


async def test_a_dry_run_claims_nothing(api: MemoryApi) -> None:
    shown = await api.create(f"{SERVICES}?dryRun=All", service("a", clusterIP="10.96.7.7"))
    assert shown["spec"]["clusterIP"] == "10.96.7.7"
    assert await api.code("POST", SERVICES, service("b", clusterIP="10.96.7.7")) == 200


async def test_two_servers_never_hand_out_the_same_address(api: MemoryApi, tmp_path: Path) -> None:
    settings = ApiSettings.from_environment({"WHERRY_DATA": str(tmp_path), "WHERRY_SERVICE_CIDR": "10.96.0.0/27"})
    async with asyncio.TaskGroup() as group:
        feeds: list[asyncio.Task[object]] = []
        servers = []
        for name in ("one", "two"):
            bus = api.broker.connect(name)
            state = await load_state(bus, lambda coroutine, name: feeds.append(group.create_task(coroutine, name=name)))
            parts = await assemble(bus, state, settings, api.key, "a certificate")
            servers.append(MemoryApi(parts, api.key, api.broker))
        creations = [servers[number % 2].create(SERVICES, service(f"s{number}")) for number in range(16)]
        made = await asyncio.gather(*creations)
        for feed in feeds:
            feed.cancel()
    assert len({one["spec"]["clusterIP"] for one in made}) == 16


async def test_families_that_the_cluster_does_not_have_are_refused(api: MemoryApi) -> None:
    for asked, field in (
        ({"ipFamilies": ["IPv4", "IPv6"]}, "ipFamilies[1]"),
        ({"ipFamilyPolicy": "RequireDualStack"}, "ipFamilyPolicy"),
    ):
        refused = await api.failure("POST", SERVICES, service("s", **asked))
        assert [one["field"] for one in refused.causes] == [f"spec.{field}"]
    made = await api.create(SERVICES, service("s", ipFamilyPolicy="PreferDualStack"))
    assert made["spec"]["ipFamilies"] == ["IPv4"]
    without = service("h", clusterIP="None", ipFamilies=["IPv6"])
    without["spec"].pop("selector")  # type: ignore[attr-defined]
    assert (await api.create(SERVICES, without))["spec"]["ipFamilies"] == ["IPv6"]
