"""Nodes: who is gone, what that means, who must leave, and which addresses they get."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controllers import instants, podgarbage
from services.controllers.actions import Delete, Note, Patch, Together
from services.controllers.nodes import cidrs, eviction, lifecycle
from services.controllers.nodes.lifecycle import NOT_READY, UNREACHABLE
from services.controllers.nodes.presence import Judgement, Presence, judge
from tests.unit.services.controllers.cluster import Lease, Leases
from tests.unit.services.controllers.objects import node, pod

NOW = 1_800_000_000.0
ALIVE, GONE, UNSURE = Judgement("alive"), Judgement("gone"), Judgement("unsure", 7.0)
Object = dict[str, Any]


@pytest.mark.parametrize(
    ("lease", "watched", "age", "expected"),
    [
        (Lease(True), 100.0, 500.0, ALIVE),
        (Lease(False), 100.0, 500.0, GONE),
        (None, 100.0, 500.0, GONE),
        (Lease(False), 30.0, 500.0, Judgement("unsure", 10.0)),
        (None, 1.0, 500.0, Judgement("unsure", 39.0)),
        (None, 100.0, 5.0, Judgement("unsure", 35.0)),
        (Lease(True), None, 500.0, Judgement("unsure", 2.0)),
        (Lease(False), None, 500.0, Judgement("unsure", 2.0)),
    ],
    ids=["lease", "ran out", "never seen", "watch is young", "unseen, young", "new node", "blind", "blind, ran out"],
)
def test_judgements(lease: Lease | None, watched: float | None, age: float, expected: Judgement) -> None:
    assert judge(lease, watched, age, fresh=40.0) == expected


def stored(**more: Any) -> Object:
    found = node(**more)
    found["metadata"] |= {"uid": "n", "resourceVersion": "9"}
    return found


def unknown() -> Object:
    """A node that was found silent before."""
    found = stored()
    found["status"]["conditions"] = [
        {"type": kind, "status": "Unknown"} for kind in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    return found


def running(name: str = "web", **more: Any) -> Object:
    found = pod(name, uid=name, **more)
    found["spec"]["nodeName"] = "node-1"
    found["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return found


def taints(plan: Any) -> set[tuple[str, str]]:
    patches = [
        action for action in plan.actions if isinstance(action, Patch) and "taints" in action.body.get("spec", {})
    ]
    return {(one["key"], one["effect"]) for patch in patches for one in patch.body["spec"]["taints"] or ()}


def test_a_silent_node_turns_unknown_and_its_pods_are_not_ready() -> None:
    plan = lifecycle.decide(stored(), [running()], GONE, False, NOW)
    status = plan.actions[0]
    assert status.subresource == "status"
    found = {one["type"]: (one["status"], one["reason"]) for one in status.body["status"]["conditions"]}
    assert found["Ready"] == ("Unknown", "NodeStatusUnknown")
    assert found["DiskPressure"] == ("Unknown", "NodeStatusNeverUpdated")
    assert [action.reason for action in plan.actions if isinstance(action, Note)] == ["NodeNotReady"]
    (marked,) = [action for action in plan.actions if isinstance(action, Together)]
    assert marked.actions[0].body["status"]["conditions"][0]["status"] == "False"


def test_an_unknown_node_is_tainted_only_if_nobody_else_changed_its_taints_meanwhile() -> None:
    assert taints(lifecycle.decide(stored(), [], GONE, False, NOW)) == set()
    plan = lifecycle.decide(unknown(), [], GONE, False, NOW)
    assert taints(plan) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
    assert plan.actions[-1].body["metadata"] == {"resourceVersion": "9"}


def test_an_unsure_observer_changes_nothing() -> None:
    plan = lifecycle.decide(stored(), [running()], UNSURE, False, NOW)
    assert (plan.actions, plan.again_after) == ((), 7.0)


def test_when_all_are_gone_nobody_is_driven_out() -> None:
    assert taints(lifecycle.decide(unknown(), [], GONE, True, NOW)) == {(UNREACHABLE, "NoSchedule")}


def test_a_node_that_is_back_loses_the_taints_and_keeps_those_of_others() -> None:
    own = {"key": "gpu", "effect": "NoSchedule"}
    ours = [{"key": UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
    (patch,) = lifecycle.decide(stored(taints=[own, *ours]), [], ALIVE, False, NOW).actions
    assert patch.body["spec"]["taints"] == [own]


def test_a_node_that_says_it_is_not_ready_is_tainted_so() -> None:
    plan = lifecycle.decide(stored(ready="False"), [], ALIVE, False, NOW)
    assert taints(plan) == {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}


def test_a_new_node_gets_no_pods_before_it_is_ready() -> None:
    obj = stored()
    obj["status"] = {}
    assert taints(lifecycle.decide(obj, [], ALIVE, False, NOW)) == {(NOT_READY, "NoSchedule")}


def test_pressure_and_cordons_become_taints() -> None:
    obj = stored()
    obj["spec"]["unschedulable"] = True
    obj["status"]["conditions"].append({"type": "DiskPressure", "status": "True"})
    assert taints(lifecycle.decide(obj, [], ALIVE, False, NOW)) == {
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    }


def test_standing_taints_keep_their_time() -> None:
    standing = {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": instants.text(NOW - 60)}
    obj = {**unknown(), "spec": {"taints": [standing]}}
    (patch,) = lifecycle.decide(obj, [], GONE, False, NOW).actions[-1:]
    assert standing in patch.body["spec"]["taints"]


def no_execute(key: str = UNREACHABLE, ago: float = 0) -> Object:
    return {"key": key, "effect": "NoExecute", "timeAdded": instants.text(NOW - ago)}


def tolerant(seconds: int | None, key: str = UNREACHABLE) -> Object:
    found = running()
    toleration: Object = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    if seconds is not None:
        toleration["tolerationSeconds"] = seconds
    found["spec"]["tolerations"] = [toleration]
    return found


def evicted(plan: Any) -> bool:
    return any(isinstance(action, Delete) for action in plan.actions)


def test_a_pod_leaves_when_its_toleration_runs_out() -> None:
    plan = eviction.decide(tolerant(30), [no_execute(ago=10)], GONE, False, NOW)
    assert (plan.actions, plan.again_after) == ((), 20.0)
    plan = eviction.decide(tolerant(30), [no_execute(ago=30)], GONE, False, NOW)
    assert [type(action) for action in plan.actions] == [Note, Patch, Delete]
    assert plan.actions[0].reason == "TaintManagerEviction"
    assert plan.actions[2].grace is None


def test_a_pod_without_toleration_leaves_at_once() -> None:
    assert evicted(eviction.decide(running(), [no_execute()], GONE, False, NOW))


def test_a_pod_that_tolerates_for_ever_stays() -> None:
    assert eviction.decide(tolerant(None), [no_execute(ago=9999)], GONE, False, NOW).actions == ()


@pytest.mark.parametrize(("judgement", "all_gone"), [(UNSURE, False), (ALIVE, False), (GONE, True)])
def test_nobody_is_evicted_for_silence_that_may_be_ours(judgement: Judgement, all_gone: bool) -> None:
    plan = eviction.decide(running(), [no_execute(ago=9999)], judgement, all_gone, NOW)
    assert plan.actions == ()
    assert plan.again_after is not None


def test_taints_of_users_need_no_judgement() -> None:
    assert evicted(eviction.decide(running(), [no_execute("maintenance")], UNSURE, False, NOW))


def ending(left: float, **more: Any) -> Object:
    return running(deletionTimestamp=instants.text(NOW + left), deletionGracePeriodSeconds=30, **more)


def test_a_gone_nodes_pod_is_removed_after_its_grace_and_that_is_told() -> None:
    plan = eviction.decide(ending(12), [], GONE, False, NOW)
    assert (plan.actions, plan.again_after) == ((), 12.0)
    note, mark, delete = eviction.decide(ending(-1), [], GONE, False, NOW).actions
    assert (note.reason, note.type) == ("NodeGone", "Warning")
    assert mark.body["status"]["phase"] == "Failed"
    assert (delete.grace, delete.uid) == (0, "web")


@pytest.mark.parametrize(("judgement", "all_gone"), [(UNSURE, False), (ALIVE, False), (GONE, True)])
def test_no_pod_is_removed_unconfirmed_while_its_node_may_confirm(judgement: Judgement, all_gone: bool) -> None:
    assert eviction.decide(ending(-100), [], judgement, all_gone, NOW).actions == ()


def test_a_pod_that_only_waits_for_finalizers_is_not_removed_again() -> None:
    held = ending(-1, finalizers=["batch.kubernetes.io/job-tracking"])
    held["metadata"]["deletionGracePeriodSeconds"] = 0
    assert eviction.decide(held, [], GONE, False, NOW).actions == ()


def registered(number: int, pod_range: str | None = None) -> Object:
    found = node(f"node-{number}")
    found["metadata"] |= {"uid": f"n{number}", "resourceVersion": str(number)}
    if pod_range:
        found["spec"] = {"podCIDR": pod_range, "podCIDRs": [pod_range]}
    return found


CLUSTER = IPv4Network("10.244.0.0/16")


def allocated(nodes: list[Object], cluster: IPv4Network = CLUSTER) -> dict[str, str]:
    actions = cidrs.decide(nodes, cluster).actions
    return {action.ref.name: action.body["spec"]["podCIDR"] for action in actions if isinstance(action, Patch)}


def test_nodes_get_the_lowest_free_ranges() -> None:
    nodes = [registered(1), registered(2, "10.244.0.0/24"), registered(3)]
    assert allocated(nodes) == {"node-1": "10.244.1.0/24", "node-3": "10.244.2.0/24"}


def test_a_range_is_never_taken_away() -> None:
    assert allocated([registered(1, "10.244.7.0/24")]) == {}


def test_a_range_of_another_size_keeps_every_range_that_it_overlaps() -> None:
    assert allocated([registered(1, "10.244.0.0/23"), registered(2, "10.244.2.128/25"), registered(3)]) == {
        "node-3": "10.244.3.0/24"
    }


def test_exhaustion_is_told() -> None:
    plan = cidrs.decide([registered(1, "10.0.0.0/24"), registered(2)], IPv4Network("10.0.0.0/24"))
    (note,) = plan.actions
    assert note.reason == "CIDRNotAvailable"


@given(st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=40))
def test_no_two_nodes_ever_share_a_range(present: list[int | None]) -> None:
    taken = set()
    nodes = []
    for number, third in enumerate(present):
        free = third is not None and third not in taken
        taken |= {third} if free else set()
        nodes.append(registered(number, f"10.244.{third}.0/24" if free else None))
    found = allocated(nodes)
    every = [*found.values(), *(one for obj in nodes for one in cidrs.ranges(obj))]
    assert len(every) == len(set(every)) == len(nodes)


def test_pods_of_a_vanished_node_are_removed_and_that_is_told() -> None:
    plan = podgarbage.of_vanished("node-9", [running()], NOW)
    assert [type(action) for action in plan.actions] == [Note, Patch, Delete]


def test_a_vanished_node_is_looked_at_until_none_of_its_pods_is_left() -> None:
    assert podgarbage.of_vanished("node-9", [running()] * 2000, NOW).again_after is not None


def test_only_the_oldest_finished_pods_beyond_the_threshold_go() -> None:
    finished = [running(f"p{n}", creationTimestamp=instants.text(NOW - n)) for n in range(5)]
    assert [one["metadata"]["name"] for one in podgarbage.surplus(finished, 3)] == ["p4", "p3"]


def test_after_a_sleep_of_the_machine_every_node_gets_a_fresh_period() -> None:
    clocks = {"wall": 1000.0, "monotonic": 500.0}
    leases = Leases({"node-1": Lease(False)}, up_since=0.0)
    presence = Presence(leases, 40.0, lambda: clocks["wall"], lambda: clocks["monotonic"])
    assert presence.of(node()) == GONE
    clocks["wall"] += 3601
    clocks["monotonic"] += 1
    assert presence.of(node()) == Judgement("unsure", 40.0)
    clocks["wall"] += 41
    clocks["monotonic"] += 41
    assert presence.of(node()) == GONE
