"""When a pod that is going away is replaced and counted: podReplacementPolicy (KEP-3939), suspension, scaling down."""

from __future__ import annotations

import pytest

from services.controllers import instants
from services.controllers.actions import Delete, Patch, Together
from shared.objects import meta
from tests.unit.services.controllers.jobs import (
    NOW,
    Object,
    exit_policy,
    indexed,
    member,
    released,
    status,
    step,
    stored,
)


def ending(name: str, index: int | None = None, node: str = "n1") -> Object:
    found = member(name, index=index)
    found["metadata"]["deletionTimestamp"] = instants.text(NOW)
    found["spec"]["nodeName"] = node
    return found


@pytest.mark.parametrize("spec", [{"podReplacementPolicy": "Failed"}, {"podFailurePolicy": exit_policy("Count")}])
def test_a_pod_that_is_only_replaced_once_failed_holds_its_place_while_it_ends(spec: Object) -> None:
    job = stored(**spec)
    found = status(job, ending("a"))
    assert (found["terminating"], found["uncountedTerminatedPods"]) == (1, {})
    assert step(job, ending("a"))[1].create == 0


def test_an_index_is_not_given_away_while_its_pod_ends() -> None:
    _, need = step(indexed(podReplacementPolicy="Failed"), ending("a", index=0))
    assert need.indexes == (1,)


def test_a_pod_that_ends_is_replaced_at_once_if_the_policy_says_so() -> None:
    job = stored(parallelism=2, completions=2)
    job["status"]["uncountedTerminatedPods"] = {"failed": ["a"]}
    found = status(job, ending("a"), member("b", "Running"))
    assert (found["terminating"], found["active"]) == (1, 1)
    assert step(job, ending("a"), member("b", "Running"))[1].create == 1


def test_a_pod_that_is_deleted_before_it_has_a_node_counts_as_failed() -> None:
    job = stored(podReplacementPolicy="Failed")
    assert status(job, ending("a", node=""))["uncountedTerminatedPods"] == {"failed": ["a"]}


def test_pods_of_a_suspended_job_go_without_being_counted() -> None:
    job = stored(suspend=True, backoffLimit=0)
    plan, _ = step(job, member("a"))
    groups = [group.actions for group in plan.actions if isinstance(group, Together)]
    assert [type(action) for group in groups for action in group] == [Patch, Delete]
    assert status(job, member("a"))["uncountedTerminatedPods"] == {}


def test_surplus_pods_go_without_being_counted() -> None:
    job = stored(completions=5, parallelism=1)
    (gone,) = step(job, member("a"), member("b"))[1].delete
    assert released(job, member("a"), member("b")) == [meta.name(gone)]


def test_pods_that_a_failed_job_ends_are_still_counted() -> None:
    job = stored({"failed": 1}, backoffLimit=0)
    assert step(job, member("a"))[1].delete != ()
    assert released(job, member("a")) == []
