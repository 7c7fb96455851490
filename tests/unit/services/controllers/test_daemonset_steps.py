"""Which nodes get a daemon pod, and how outdated ones are replaced."""

from __future__ import annotations

from typing import Any

import pytest

from services.controllers import history, instants
from services.controllers.actions import Create, Patch
from services.controllers.daemonsets import nodes, rollout
from services.controllers.daemonsets.nodes import Place
from services.controllers.daemonsets.rollout import Situation, Step
from shared.objects import meta, placement
from tests.unit.services.controllers.objects import daemonset, node, pod

NOW = 1_800_000_000.0
Object = dict[str, Any]
DAEMONSETS = ("apps", "daemonsets")
EVERYWHERE = Place(True, True)


def stored(**spec: Any) -> Object:
    found = daemonset(**spec)
    found["metadata"] |= {"uid": "ds", "generation": 1}
    return found


def daemon(
    node_name: str, *, current: bool = True, ready: bool = True, phase: str = "Running", age: float = 100
) -> Object:
    labels = {"app": "web", history.HASH_LABEL: "new" if current else "old"}
    name = f"{node_name}-{'new' if current else 'old'}"
    found = pod(name, uid=name, labels=labels, creationTimestamp=instants.text(NOW - age))
    found["spec"]["nodeName"] = node_name
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": instants.text(NOW - 50)}
    found["status"] = {"phase": phase, "conditions": [condition]}
    return found


def situation(obj: Object, on_node: dict[str, list[Object]], places: dict[str, Place] | None = None) -> Situation:
    return Situation(obj, places or dict.fromkeys(on_node, EVERYWHERE), on_node, "new", NOW)


def step(found: Situation) -> Step:
    result = rollout.place_pods(found)
    rollout.update(found, result)
    return result


def names(pods: list[Object]) -> list[str]:
    return sorted(meta.name(one) for one in pods)


def test_every_wanted_node_without_a_pod_gets_one() -> None:
    assert step(situation(stored(), {"node-1": [], "node-2": [daemon("node-2")]})).create_on == ["node-1"]


def test_a_node_whose_pod_is_ending_waits_for_its_end() -> None:
    ending = daemon("node-1")
    ending["metadata"]["deletionTimestamp"] = instants.text(NOW)
    assert step(situation(stored(), {"node-1": [ending]})).create_on == []


def test_pods_leave_nodes_they_may_not_be_on() -> None:
    found = step(situation(stored(), {"node-1": [daemon("node-1")]}, {"node-1": Place(False, False)}))
    assert names(found.delete) == ["node-1-new"]


def test_a_pod_may_stay_where_a_new_one_would_not_be_made() -> None:
    found = step(situation(stored(), {"node-1": [daemon("node-1")]}, {"node-1": Place(False, True)}))
    assert found.delete == []


def test_of_two_pods_on_a_node_the_older_stays() -> None:
    old, young = daemon("node-1", age=100), daemon("node-1", age=10)
    young["metadata"]["uid"] = "young"
    assert step(situation(stored(), {"node-1": [young, old]})).delete == [young]


def test_a_failed_pod_is_replaced_after_a_pause() -> None:
    fresh = step(situation(stored(), {"node-1": [daemon("node-1", phase="Failed", age=2)]}))
    assert (fresh.delete, fresh.again_after) == ([], 8)
    settled = step(situation(stored(), {"node-1": [daemon("node-1", phase="Failed", age=60)]}))
    assert names(settled.delete) == ["node-1-new"]
    assert settled.notes


def test_outdated_pods_go_one_at_a_time() -> None:
    pods = {name: [daemon(name, current=False)] for name in ("node-1", "node-2", "node-3")}
    assert names(step(situation(stored(), pods)).delete) == ["node-1-old"]


def test_a_node_that_is_down_uses_up_the_budget() -> None:
    pods = {"node-1": [daemon("node-1", ready=False)], "node-2": [daemon("node-2", current=False)]}
    assert step(situation(stored(), pods)).delete == []


def test_outdated_pods_that_do_not_work_go_at_once() -> None:
    pods = {name: [daemon(name, current=False, ready=False)] for name in ("node-1", "node-2")}
    assert names(step(situation(stored(), pods)).delete) == ["node-1-old", "node-2-old"]


def test_on_delete_replaces_nothing() -> None:
    pods = {"node-1": [daemon("node-1", current=False)]}
    assert step(situation(stored(updateStrategy={"type": "OnDelete"}), pods)).delete == []


def surging() -> Object:
    return stored(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})


def test_with_surge_the_new_pod_comes_before_the_old_one_goes() -> None:
    pods = {name: [daemon(name, current=False)] for name in ("node-1", "node-2")}
    found = step(situation(surging(), pods))
    assert (found.create_on, found.delete) == (["node-1"], [])
    both = {"node-1": [daemon("node-1", current=False), daemon("node-1")], "node-2": pods["node-2"]}
    found = step(situation(surging(), both))
    assert (found.create_on, names(found.delete)) == (["node-2"], ["node-1-old"])


@pytest.mark.parametrize(
    ("rolling", "expected"),
    [({}, (0, 1)), ({"maxUnavailable": "50%"}, (0, 5)), ({"maxSurge": 2, "maxUnavailable": 0}, (2, 0))],
)
def test_the_budget_is_rounded_up_and_never_nothing(rolling: Object, expected: tuple[int, int]) -> None:
    obj = stored(updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    assert rollout.budget(obj, 10) == expected


def test_a_pod_that_may_stay_where_none_is_wanted_counts_as_misscheduled() -> None:
    places = {"node-1": Place(wanted=False, may_stay=True), "node-2": Place(wanted=False, may_stay=False)}
    found, _ = rollout.status_of(situation(stored(), {"node-1": [daemon("node-1")], "node-2": []}, places))
    assert (found["numberMisscheduled"], found["desiredNumberScheduled"]) == (1, 0)


def test_status_counts_by_node() -> None:
    pods = {"node-1": [daemon("node-1")], "node-2": [daemon("node-2", current=False, ready=False)], "node-3": []}
    found, _ = rollout.status_of(situation(stored(), pods))
    assert found == {
        "currentNumberScheduled": 2,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 3,
        "numberReady": 1,
        "observedGeneration": 1,
        "updatedNumberScheduled": 1,
        "numberAvailable": 1,
        "numberUnavailable": 2,
    }


def test_daemon_pods_are_pinned_and_tolerate_what_daemons_must() -> None:
    made = nodes.build(stored(), "node-7", "agent-x", "hash")
    assert nodes.node_of(made) == "node-7"
    assert made["metadata"]["labels"][history.HASH_LABEL] == "hash"
    keys = {(one["key"], one["effect"]) for one in made["spec"]["tolerations"]}
    assert ("node.kubernetes.io/unschedulable", "NoSchedule") in keys
    assert ("node.kubernetes.io/unreachable", "NoExecute") in keys
    assert ("node.kubernetes.io/network-unavailable", "NoSchedule") not in keys


def test_pinning_keeps_the_terms_of_the_template() -> None:
    term = {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    pinned = nodes.pinned({"affinity": {"nodeAffinity": required}}, "node-1")
    assert placement.selects(pinned, node("node-1", disk="ssd"))
    assert not placement.selects(pinned, node("node-1"))
    assert not placement.selects(pinned, node("node-2", disk="ssd"))


def test_taints_decide_between_staying_and_being_made() -> None:
    spec = nodes.daemon_spec({})
    no_schedule, no_execute = {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}
    assert nodes.place(spec, node(taints=[no_schedule])) == Place(False, True)
    assert nodes.place(spec, node(taints=[no_execute])) == Place(False, False)
    cordoned = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    assert nodes.place(spec, node(taints=[cordoned])) == EVERYWHERE


@pytest.mark.parametrize(
    ("operator", "values", "matches"),
    [
        ("In", ["5"], True),
        ("NotIn", ["5"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Gt", ["4"], True),
        ("Lt", ["4"], False),
        ("Gt", ["x"], False),
    ],
)
def test_node_affinity_operators(operator: str, values: list[str], matches: bool) -> None:
    requirement = {"key": "size", "operator": operator, "values": values}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    assert placement.selects(spec, node(size="5")) is matches


def revision(obj: Object, number: int) -> Object:
    found = history.build(obj, number)
    found["metadata"]["uid"] = f"cr-{number}"
    return found


def test_a_new_template_becomes_the_next_revision() -> None:
    obj = stored()
    first = history.decide(obj, DAEMONSETS, [], None)
    (create,) = first.actions
    assert isinstance(create, Create)
    assert create.obj["revision"] == 1
    assert create.obj["data"]["spec"]["template"]["$patch"] == "replace"
    assert history.decide(obj, DAEMONSETS, [revision(obj, 1)], None).current_hash == history.template_hash(obj)


def test_a_template_that_returns_moves_to_the_top() -> None:
    obj, other = stored(), stored(image="agent:2")
    found = history.decide(obj, DAEMONSETS, [revision(obj, 1), revision(other, 2)], None)
    (patch,) = found.actions
    assert isinstance(patch, Patch)
    assert (patch.ref.name, patch.body["revision"]) == (revision(obj, 1)["metadata"]["name"], 3)


def test_history_beyond_the_limit_goes_unless_pods_use_it() -> None:
    obj = stored(revisionHistoryLimit=0)
    old = [revision(stored(image=f"agent:{n}"), n) for n in (1, 2)]
    used = pod("p", labels={history.HASH_LABEL: old[0]["metadata"]["labels"][history.HASH_LABEL]})
    doomed = history.expired(obj, [*old, revision(obj, 3)], lambda one: meta.labels(one) == meta.labels(used))
    assert [one.ref.name for one in doomed] == [old[1]["metadata"]["name"]]
