"""Endpoints and slices: who is behind a Service, written with as few changes as possible."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.controllers import instants
from services.controllers.actions import Create, Delete, Update
from services.controllers.endpoints import legacy, membership, mirror, slices
from shared.objects import meta
from tests.unit.services.controllers.objects import pod, service

Object = dict[str, Any]


def stored(**spec: Any) -> Object:
    found = service(**spec)
    found["metadata"]["uid"] = "svc"
    return found


def backend(number: int, *, ready: bool = True, ending: bool = False, **more: Any) -> Object:
    found = pod(f"web-{number}", uid=f"u{number}", **more)
    found["spec"]["nodeName"] = "node-1"
    condition = {"type": "Ready", "status": str(ready)}
    address = f"10.244.{number // 250}.{number % 250 + 1}"
    found["status"] = {"phase": "Running", "podIP": address, "conditions": [condition]}
    if ending:
        found["metadata"]["deletionTimestamp"] = instants.text(0)
    return found


def found_members(obj: Object, *pods: Object) -> list[membership.Member]:
    return membership.members(obj, pods, {"node-1": "zone-a"})


def decide(obj: Object, pods: list[Object], existing: list[Object] | None = None) -> list[Any]:
    return slices.decide(obj, found_members(obj, *pods), existing or [], set().__contains__)


def settle(obj: Object, pods: list[Object], existing: list[Object]) -> list[Object]:
    """Carry out what is decided."""
    by_name = {meta.name(one): one for one in existing}
    for action in decide(obj, pods, existing):
        if isinstance(action, Delete):
            del by_name[action.ref.name]
        else:
            by_name[action.ref.name] = {
                **action.obj,
                "metadata": {**action.obj["metadata"], "uid": action.ref.name},
            }
    return list(by_name.values())


def test_an_endpoint_says_who_where_and_how() -> None:
    (create,) = decide(stored(), [backend(1)])
    assert isinstance(create, Create)
    assert create.obj["metadata"]["labels"] == {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    (endpoint,) = create.obj["endpoints"]
    assert endpoint == {
        "addresses": ["10.244.0.2"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "u1"},
        "nodeName": "node-1",
        "zone": "zone-a",
    }


def conditions(obj: Object, one: Object) -> tuple[bool, bool, bool]:
    (create,) = decide(obj, [one])
    found = create.obj["endpoints"][0]["conditions"]
    return found["ready"], found["serving"], found["terminating"]


def test_a_terminating_pod_serves_but_is_not_ready() -> None:
    assert conditions(stored(), backend(1, ending=True)) == (False, True, True)


def test_publish_not_ready_addresses_calls_everything_ready() -> None:
    assert conditions(stored(publishNotReadyAddresses=True), backend(1, ready=False)) == (True, False, False)


def test_traffic_distribution_gives_ready_endpoints_hints() -> None:
    zone, node = {"forZones": [{"name": "zone-a"}]}, {"forNodes": [{"name": "node-1"}]}
    for wish, hints in {"PreferClose": zone, "PreferSameZone": zone, "PreferSameNode": zone | node}.items():
        (create,) = decide(stored(trafficDistribution=wish), [backend(1), backend(2, ready=False)])
        first, second = create.obj["endpoints"]
        assert first["hints"] == hints
        assert "hints" not in second
    (create,) = decide(stored(), [backend(1)])
    assert "hints" not in create.obj["endpoints"][0]


def test_finished_and_unaddressed_pods_are_not_endpoints() -> None:
    over, new = backend(1), backend(2)
    over["status"]["phase"] = "Succeeded"
    new["status"] = {"phase": "Pending"}
    (create,) = decide(stored(), [over, new])
    assert create.obj["endpoints"] == []


def test_a_service_without_pods_keeps_one_empty_slice() -> None:
    existing = settle(stored(), [], [])
    assert len(existing) == 1
    assert decide(stored(), [], existing) == []


def test_a_slice_holds_a_hundred() -> None:
    pods = [backend(number) for number in range(250)]
    assert sorted(len(action.obj["endpoints"]) for action in decide(stored(), pods)) == [50, 100, 100]


def test_nothing_changes_when_nothing_changed() -> None:
    pods = [backend(number) for number in range(120)]
    existing = settle(stored(), pods, [])
    assert decide(stored(), pods, existing) == []


def test_one_changed_pod_writes_one_slice() -> None:
    pods = [backend(number) for number in range(250)]
    existing = settle(stored(), pods, [])
    pods[7] = backend(7, ready=False)
    (update,) = decide(stored(), pods, existing)
    assert isinstance(update, Update)
    assert sum(not one["conditions"]["ready"] for one in update.obj["endpoints"]) == 1


def test_new_pods_fill_the_fullest_slice_that_has_room() -> None:
    pods = [backend(number) for number in range(150)]
    existing = settle(stored(), pods, [])
    (update,) = decide(stored(), [*pods, backend(150)], existing)
    assert len(update.obj["endpoints"]) == 51


def test_the_last_pod_leaves_one_empty_slice_behind() -> None:
    existing = settle(stored(), [backend(1)], [])
    again = settle(stored(), [], existing)
    assert [one["endpoints"] for one in again] == [[]]
    assert meta.name(again[0]) == meta.name(existing[0])


def named(number: int, port: int) -> Object:
    found = backend(number)
    found["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": port, "protocol": "TCP"}]
    return found


def test_named_ports_follow_each_pod_into_slices_of_their_own() -> None:
    obj = stored(ports=[{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}])
    actions = decide(obj, [named(1, 8080), named(2, 9090), named(3, 8080)])
    found = {action.obj["ports"][0]["port"]: len(action.obj["endpoints"]) for action in actions}
    assert found == {8080: 2, 9090: 1}


def test_a_pod_without_the_named_port_offers_none() -> None:
    obj = stored(ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    (create,) = decide(obj, [backend(1)])
    assert create.obj["ports"] == []


def test_headless_services_are_marked_and_give_hostnames() -> None:
    obj = stored(clusterIP="None")
    one = backend(1)
    one["spec"] |= {"hostname": "first", "subdomain": "web"}
    (create,) = decide(obj, [one])
    assert create.obj["metadata"]["labels"][membership.HEADLESS_LABEL] == ""
    assert create.obj["endpoints"][0]["hostname"] == "first"


def test_each_address_family_has_its_slices() -> None:
    one = backend(1)
    one["status"]["podIPs"] = [{"ip": "10.244.0.2"}, {"ip": "fd00::2"}]
    actions = decide(stored(ipFamilies=["IPv4", "IPv6"]), [one])
    assert {action.obj["addressType"]: action.obj["endpoints"][0]["addresses"] for action in actions} == {
        "IPv4": ["10.244.0.2"],
        "IPv6": ["fd00::2"],
    }


@given(st.lists(st.sets(st.integers(0, 260)), min_size=1, max_size=5))
def test_slices_always_hold_exactly_the_pods_there_are(generations: list[set[int]]) -> None:
    existing: list[Object] = []
    for generation in generations:
        pods = [backend(number) for number in sorted(generation)]
        existing = settle(stored(), pods, existing)
        uids = [endpoint["targetRef"]["uid"] for one in existing for endpoint in one["endpoints"]]
        assert sorted(uids) == sorted(meta.uid(one) for one in pods)
        assert all(len(one["endpoints"]) <= slices.CAPACITY for one in existing)
        assert decide(stored(), pods, existing) == []


def test_legacy_endpoints_separate_ready_from_not_ready() -> None:
    obj = stored()
    (create,) = legacy.decide(obj, found_members(obj, backend(2), backend(1), backend(3, ready=False)), None)
    (subset,) = create.obj["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == ["10.244.0.2", "10.244.0.3"]
    assert [one["ip"] for one in subset["notReadyAddresses"]] == ["10.244.0.4"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


def test_legacy_endpoints_leave_terminating_pods_out() -> None:
    obj = stored()
    (create,) = legacy.decide(obj, found_members(obj, backend(1, ending=True)), None)
    assert create.obj["subsets"] == []


def test_legacy_endpoints_are_not_rewritten_without_need() -> None:
    obj = stored()
    found = found_members(obj, backend(1))
    (create,) = legacy.decide(obj, found, None)
    assert legacy.decide(obj, found, create.obj) == []


def test_legacy_endpoints_stop_at_a_thousand() -> None:
    obj = stored()
    (create,) = legacy.decide(obj, found_members(obj, *(backend(n) for n in range(1001))), None)
    assert len(create.obj["subsets"][0]["addresses"]) == 1000
    assert create.obj["metadata"]["annotations"] == {legacy.OVER_CAPACITY: "truncated"}


def test_a_heartbeat_of_a_pod_concerns_no_service() -> None:
    before, after = backend(1), backend(1)
    after["status"]["conditions"][0]["lastProbeTime"] = instants.text(5)
    assert membership.concerned(after, before, [stored()]) == set()
    assert membership.concerned(backend(1, ready=False), before, [stored()]) == {("shop", "web")}


def test_a_pod_that_changes_its_labels_concerns_its_old_service() -> None:
    moved = backend(1)
    moved["metadata"]["labels"] = {"app": "other"}
    assert membership.concerned(moved, backend(1), [stored()]) == {("shop", "web")}


def test_services_without_selector_are_left_alone() -> None:
    assert not membership.is_selecting(stored(selector=None))
    assert not membership.is_selecting(stored(type="ExternalName"))


def test_a_slice_tells_of_the_oldest_change_it_was_written_for() -> None:
    pods = [backend(1), backend(2)]
    for number, one in enumerate(pods):
        one["status"]["conditions"][0]["lastTransitionTime"] = instants.text(100 + number)
    existing = settle(stored(), pods, [])
    assert meta.annotations(existing[0]) == {slices.TRIGGER: instants.text(100)}
    pods[1] = backend(2, ready=False)
    pods[1]["status"]["conditions"][0]["lastTransitionTime"] = instants.text(500)
    again = settle(stored(), pods, existing)
    assert meta.annotations(again[0]) == {slices.TRIGGER: instants.text(500)}


def by_hand(*addresses: str) -> Object:
    subset = {"addresses": [{"ip": one} for one in addresses], "ports": [{"port": 80, "protocol": "TCP"}]}
    metadata = {"name": "db", "namespace": "shop", "uid": "ep"}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]}


def mirrored(endpoints: Object, existing: list[Object] | None = None) -> list[Any]:
    return mirror.decide(endpoints, existing or [], set().__contains__)


def test_endpoints_written_by_hand_are_mirrored_by_family() -> None:
    actions = mirrored(by_hand("192.0.2.1", "2001:db8::1", "192.0.2.2"))
    found = {one.obj["addressType"]: [e["addresses"] for e in one.obj["endpoints"]] for one in actions}
    assert found == {"IPv4": [["192.0.2.1"], ["192.0.2.2"]], "IPv6": [["2001:db8::1"]]}
    assert actions[0].obj["metadata"]["labels"][slices.NAME_LABEL] == "db"


def test_a_mirror_has_the_annotations_that_are_not_about_the_endpoints_themselves() -> None:
    written = by_hand("192.0.2.1")
    written["metadata"]["annotations"] = {"team": "shop", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    (create,) = mirrored(written)
    assert create.obj["metadata"]["annotations"] == {"team": "shop"}
    written["metadata"]["annotations"] = {"team": "cart"}
    (update,) = mirrored(written, [create.obj])
    assert update.obj["metadata"]["annotations"] == {"team": "cart"}


def test_a_mirror_is_changed_in_place_and_only_when_needed() -> None:
    (create,) = mirrored(by_hand("192.0.2.1"))
    assert mirrored(by_hand("192.0.2.1"), [create.obj]) == []
    (update,) = mirrored(by_hand("192.0.2.9"), [create.obj])
    assert isinstance(update, Update)
    gone = {**by_hand(), "subsets": []}
    (delete,) = mirrored(gone, [create.obj])
    assert isinstance(delete, Delete)
