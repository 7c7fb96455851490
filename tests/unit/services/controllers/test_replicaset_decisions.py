"""ReplicaSets: how many pods to make, and which to take away."""

from __future__ import annotations

from typing import Any

import pytest

from services.controllers import instants, ranking, replicasets
from services.controllers.actions import Create, Delete, Failure, Together, Update
from services.controllers.replicasets import BURST, Situation, decide
from shared.objects import meta
from tests.unit.services.controllers.objects import pod, replicaset

NOW = 1_800_000_000.0


def stored(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    found = replicaset(replicas=replicas, **spec)
    found["metadata"] |= {"uid": "rs", "generation": 2, "resourceVersion": "7"}
    return found


def member(
    name: str,
    *,
    node: str = "node-1",
    phase: str = "Running",
    ready_for: float | None = 100,
    age: float = 100,
    **annotations: str,
) -> dict[str, Any]:
    found = pod(name, uid=name, annotations=annotations, creationTimestamp=instants.text(NOW - age))
    found["spec"]["nodeName"] = node
    found["status"] = {"phase": phase}
    if ready_for is not None:
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": instants.text(NOW - ready_for)}
        found["status"]["conditions"] = [condition]
    return found


def situation(rs: dict[str, Any], pods: list[dict[str, Any]], failure: Failure | None = None) -> Situation:
    return Situation(rs, pods, pods, [f"web-{number}" for number in range(BURST)], NOW, failure)


def changes(rs: dict[str, Any], pods: list[dict[str, Any]]) -> list[Create | Delete]:
    plan = decide(situation(rs, pods))
    return [one for action in plan.actions if isinstance(action, Together) for one in action.actions]


def status(rs: dict[str, Any], pods: list[dict[str, Any]], failure: Failure | None = None) -> dict[str, Any]:
    return replicasets.status_of(situation(rs, pods, failure))[0]


def test_missing_pods_are_created_slowly_at_first() -> None:
    plan = decide(situation(stored(), [member("a")]))
    (together,) = [action for action in plan.actions if isinstance(action, Together)]
    assert together.slow_start
    assert [action.ref.name for action in together.actions] == ["web-0", "web-1"]


def test_a_new_pod_carries_the_template_and_its_owner() -> None:
    (create,) = changes(stored(1), [])
    assert isinstance(create, Create)
    assert create.obj["metadata"]["labels"] == {"app": "web"}
    assert create.obj["metadata"]["generateName"] == "web-"
    (owner,) = create.obj["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("rs", True, True)


def test_no_more_than_a_burst_is_created_at_once() -> None:
    assert len(changes(stored(2000), [])) == BURST


def test_finished_and_ending_pods_are_replaced() -> None:
    ending = member("b")
    ending["metadata"]["deletionTimestamp"] = instants.text(NOW)
    pods = [member("a", phase="Failed"), ending, member("c")]
    assert [type(action) for action in changes(stored(3), pods)] == [Create, Create]


def test_a_replicaset_that_goes_creates_nothing() -> None:
    rs = stored(3)
    rs["metadata"]["deletionTimestamp"] = instants.text(NOW)
    assert changes(rs, []) == []


def test_surplus_pods_are_deleted_by_uid() -> None:
    (delete,) = changes(stored(1), [member("a"), member("b", node="", phase="Pending", ready_for=None)])
    assert isinstance(delete, Delete)
    assert (delete.ref.name, delete.uid) == ("b", "b")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"node": "", "phase": "Pending", "ready_for": None}, {"phase": "Pending", "ready_for": None}),
        ({"phase": "Pending", "ready_for": None}, {"ready_for": None}),
        ({"ready_for": None}, {}),
        ({ranking.DELETION_COST: "-5"}, {ranking.DELETION_COST: "5"}),
        ({"ready_for": 10}, {"ready_for": 1000}),
        ({"age": 10}, {"age": 1000}),
    ],
    ids=["unbound", "pending", "not ready", "cheaper", "ready for less time", "younger"],
)
def test_the_pod_that_costs_least_goes_first(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, other = member("z", **first), member("a", **second)
    assert ranking.expendable_first([other, one], [], NOW) == [one, other]


def test_more_restarts_go_first() -> None:
    one, other = member("z"), member("a")
    one["status"]["containerStatuses"] = [{"name": "main", "restartCount": 4}]
    assert ranking.expendable_first([other, one], [], NOW) == [one, other]


def test_pods_on_a_crowded_node_go_first() -> None:
    crowded, alone = member("z", node="node-1"), member("a", node="node-2")
    related = [crowded, alone, member("other", node="node-1")]
    assert ranking.expendable_first([alone, crowded], related, NOW) == [crowded, alone]


def test_a_malformed_deletion_cost_counts_as_zero() -> None:
    assert ranking.deletion_cost(member("a", **{ranking.DELETION_COST: "cheap"})) == 0
    assert ranking.deletion_cost(member("a", **{ranking.DELETION_COST: str(2**40)})) == 0


def test_status_counts_ready_and_available_apart() -> None:
    pods = [member("a", ready_for=100), member("b", ready_for=5), member("c", ready_for=None)]
    found = status(stored(3, minReadySeconds=30), pods)
    assert (found["replicas"], found["readyReplicas"], found["availableReplicas"]) == (3, 2, 1)
    assert found["fullyLabeledReplicas"] == 3
    assert found["observedGeneration"] == 2


def test_it_looks_again_when_a_ready_pod_becomes_available() -> None:
    plan = decide(situation(stored(1, minReadySeconds=30), [member("a", ready_for=5)]))
    assert plan.again_after == 25


def test_an_unchanged_status_is_not_written() -> None:
    rs = stored(1)
    rs["status"] = status(rs, [member("a")])
    assert decide(situation(rs, [member("a")])).actions == ()


def test_a_failure_shows_as_condition_until_it_is_over() -> None:
    failure = Failure("FailedCreate", "quota")
    rs = stored(1)
    rs["status"] = status(rs, [], failure)
    condition = meta.condition(rs, "ReplicaFailure")
    assert (condition["status"], condition["reason"], condition["message"]) == ("True", "FailedCreate", "quota")
    assert "conditions" not in status(rs, [])


def test_the_status_is_written_before_pods_are_made() -> None:
    plan = decide(situation(stored(1), []))
    assert [type(action) for action in plan.actions] == [Update, Together]
