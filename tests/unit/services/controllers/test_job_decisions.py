"""Jobs: counting, judging, making and removing pods."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controllers import instants
from services.controllers.actions import Delete, Note, Together
from services.controllers.jobs import failures, indexes, reconciler, tracking
from services.controllers.jobs.tracking import FINALIZER
from shared.objects import meta
from tests.unit.services.controllers.jobs import (
    NOW,
    Object,
    condition,
    exit_policy,
    indexed,
    member,
    released,
    status,
    step,
    stored,
)


def test_a_new_job_starts_its_clock_and_needs_pods() -> None:
    obj = stored(parallelism=2, completions=5)
    obj["status"] = {}
    _, need = step(obj)
    assert need.create == 2
    assert status(obj)["startTime"] == instants.text(NOW)


@pytest.mark.parametrize(
    ("completions", "parallelism", "succeeded", "active", "expected"),
    [(5, 2, 0, 0, 2), (5, 2, 4, 0, 1), (5, 2, 3, 1, 1), (5, 0, 0, 0, 0), (None, 3, 0, 1, 2), (None, 3, 1, 1, 0)],
)
def test_how_many_pods_are_needed(
    completions: int | None, parallelism: int, succeeded: int, active: int, expected: int
) -> None:
    obj = stored({"succeeded": succeeded}, completions=completions, parallelism=parallelism)
    _, need = step(obj, *(member(f"p{number}") for number in range(active)))
    assert need.create == expected


def test_less_parallelism_removes_pods() -> None:
    _, need = step(stored(completions=5, parallelism=1), member("a"), member("b"))
    assert len(need.delete) == 1


def test_an_ended_pod_is_written_down_before_its_finalizer_goes() -> None:
    obj = stored(completions=2)
    plan, _ = step(obj, member("a", "Succeeded"))
    update, together = plan.actions[:2]
    assert update.obj["status"]["uncountedTerminatedPods"] == {"succeeded": ["a"]}
    assert update.obj["status"].get("succeeded", 0) == 0
    assert isinstance(together, Together)


def test_a_written_down_pod_is_counted_once_its_finalizer_is_gone() -> None:
    obj = stored({"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b"]}}, completions=3)
    found = status(obj, member("a", "Succeeded", counted=True))
    assert (found["succeeded"], found["failed"]) == (1, 1)
    assert found["uncountedTerminatedPods"] == {}
    again = stored({**found}, completions=3)
    assert status(again, member("a", "Succeeded", counted=True))["succeeded"] == 1


def test_a_pod_that_is_deleted_while_it_runs_counts_as_failed() -> None:
    ending = member("a")
    ending["metadata"]["deletionTimestamp"] = instants.text(NOW)
    assert status(stored(), ending)["uncountedTerminatedPods"] == {"failed": ["a"]}


def test_completion_waits_until_every_pod_is_counted() -> None:
    obj = stored()
    first = status(obj, member("a", "Succeeded"))
    assert condition(first, "SuccessCriteriaMet") is not None
    assert condition(first, "Complete") is None
    found = status(stored(first), member("a", "Succeeded", counted=True))
    assert condition(found, "Complete")["reason"] == "CompletionsReached"
    assert found["completionTime"] == instants.text(NOW)
    assert found["succeeded"] == 1


def test_a_work_queue_is_done_when_one_succeeded_and_none_runs() -> None:
    obj = stored(completions=None, parallelism=2)
    running = status(obj, member("a", "Succeeded"), member("b"))
    assert condition(running, "SuccessCriteriaMet") is None
    done = status(obj, member("a", "Succeeded"), member("b", "Succeeded"))
    assert condition(done, "SuccessCriteriaMet") is not None


def test_too_many_failures_end_the_job_and_its_pods() -> None:
    obj = stored({"failed": 1}, backoffLimit=1, parallelism=2, completions=5)
    plan, need = step(obj, member("a", "Failed"), member("b"))
    assert (
        condition(status(obj, member("a", "Failed"), member("b")), "FailureTarget")["reason"] == "BackoffLimitExceeded"
    )
    assert [meta.name(one) for one in need.delete] == ["b"]
    assert need.create == 0
    assert not any(isinstance(action, Note) for action in plan.actions)


def test_the_end_of_a_failed_job_is_told_once() -> None:
    target = {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded", "message": "limit"}
    obj = stored({"failed": 2, "conditions": [target]}, backoffLimit=1)
    plan, _ = step(obj, member("a", "Failed", counted=True))
    (note,) = [action for action in plan.actions if isinstance(action, Note)]
    assert (note.type, note.reason) == ("Warning", "BackoffLimitExceeded")
    found = status(obj, member("a", "Failed", counted=True))
    assert condition(found, "Failed")["status"] == "True"
    assert "completionTime" not in found
    finished = stored(found, backoffLimit=1)
    assert step(finished, member("a", "Failed", counted=True))[0].actions == ()


def test_restarts_in_place_count_against_the_limit() -> None:
    obj = stored(restartPolicy="OnFailure", backoffLimit=2)
    restarted = member("a")
    restarted["status"]["containerStatuses"] = [{"name": "main", "restartCount": 2}]
    assert condition(status(obj, restarted), "FailureTarget")["reason"] == "BackoffLimitExceeded"


def test_the_deadline_ends_the_job() -> None:
    obj = stored(activeDeadlineSeconds=150)
    plan, _ = step(obj, member("a"))
    assert plan.again_after == 50
    assert condition(status(obj, member("a"), now=NOW + 51), "FailureTarget")["reason"] == "DeadlineExceeded"


def test_the_next_attempt_waits_longer_after_each_failure() -> None:
    _, need = step(stored(), member("a", "Failed", age=4))
    assert (need.create, need.again_after) == (0, 6)
    _, need = step(stored({"failed": 1}), member("a", "Failed", counted=True, age=30), member("b", "Failed", age=15))
    assert (need.create, need.again_after) == (0, 5)
    _, need = step(stored(completions=9), member("a", "Failed", age=9), member("b", "Succeeded", age=3))
    assert need.create == 1


def test_suspension_takes_pods_and_clock_away_and_gives_them_back() -> None:
    obj = stored(suspend=True)
    plan, need = step(obj, member("a"))
    assert [meta.name(one) for one in need.delete] == ["a"]
    found = status(obj, member("a"))
    assert condition(found, "Suspended")["status"] == "True"
    assert "startTime" not in found
    obj = stored(found)
    del obj["status"]["startTime"]
    resumed = status(obj)
    assert condition(resumed, "Suspended")["status"] == "False"
    assert resumed["startTime"] == instants.text(NOW)
    assert any(isinstance(action, Note) for action in plan.actions)


def finished(ago: float, **spec: Any) -> Object:
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": instants.text(NOW - ago)}
    return stored({"conditions": [complete], "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}}, **spec)


def test_a_finished_job_goes_when_its_time_to_live_is_over() -> None:
    plan, _ = step(finished(10, ttlSecondsAfterFinished=60))
    assert plan.again_after == 50
    plan, _ = step(finished(61, ttlSecondsAfterFinished=60))
    (delete,) = [action for action in plan.actions if isinstance(action, Delete)]
    assert (delete.uid, delete.resource_version, delete.propagation) == ("j", "3", "Foreground")


def test_an_indexed_job_makes_the_first_missing_indexes() -> None:
    _, need = step(indexed(status={"completedIndexes": "0", "succeeded": 1}), member("a", index=1))
    assert need.indexes == (2,)


def test_an_index_is_noted_with_the_end_of_its_pod() -> None:
    found = status(indexed(), member("a", "Succeeded", index=2))
    assert (found["completedIndexes"], found["succeeded"]) == ("2", 1)
    assert released(indexed(), member("a", "Succeeded", index=2)) == ["a"]


def test_two_pods_of_one_index_are_one_too_many() -> None:
    _, need = step(indexed(), member("a", index=0, age=50), member("b", index=0, age=10), member("c", index=1))
    assert [meta.name(one) for one in need.delete] == ["b"]


def test_an_indexed_pod_knows_its_index() -> None:
    made = reconciler.build(indexed(), "sum-3-abcde", 3)
    assert made["metadata"]["annotations"][indexes.ANNOTATION] == "3"
    assert made["metadata"]["labels"][indexes.ANNOTATION] == "3"
    assert made["spec"]["hostname"] == "sum-3"
    assert made["metadata"]["generateName"] == "sum-3-"
    (variable,) = made["spec"]["containers"][0]["env"]
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    assert FINALIZER in made["metadata"]["finalizers"]


def test_a_pod_carries_the_labels_of_its_job() -> None:
    labels = reconciler.build(stored(), "sum-abcde", None)["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "sum"
    assert labels["batch.kubernetes.io/controller-uid"] == labels["controller-uid"] == "j"


def test_a_failure_policy_ends_the_job_or_looks_away() -> None:
    failing = stored(podFailurePolicy=exit_policy("FailJob"))
    found = condition(status(failing, member("a", "Failed")), "FailureTarget")
    assert found["reason"] == "PodFailurePolicy"
    assert "exit code 1" in found["message"]
    ignoring = stored(podFailurePolicy=exit_policy("Ignore"))
    assert status(ignoring, member("a", "Failed"))["uncountedTerminatedPods"] == {}
    assert released(ignoring, member("a", "Failed")) == ["a"]


def test_a_policy_can_look_at_conditions() -> None:
    disrupted = member("a", "Failed")
    disrupted["status"]["conditions"].append({"type": "DisruptionTarget", "status": "True"})
    rules = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}
    assert failures.action_for(stored(podFailurePolicy=rules), disrupted)[0] == "Ignore"
    assert failures.action_for(stored(podFailurePolicy=rules), member("b", "Failed"))[0] == "Count"


@given(st.sets(st.integers(0, 300)))
def test_compressed_indexes_come_back_as_they_were(found: set[int]) -> None:
    assert indexes.parse(indexes.render(found)) == found


def test_runs_of_indexes_are_compressed() -> None:
    assert indexes.render([0, 1, 3, 4, 5, 9]) == "0,1,3-5,9"
    assert indexes.parse(f"1,3-5,x,7-,{'9' * 5000},8-²,{'0' * 5000}7") == {1, 3, 4, 5, 7}
    assert indexes.parse("0,00,") == {0}


def test_indexes_beyond_the_completions_are_left_out() -> None:
    found = status(indexed(status={"completedIndexes": "0,2-2000000000"}))
    assert (found["completedIndexes"], found["succeeded"]) == ("0,2,3", 3)


def test_the_finalizer_comes_off_by_its_name_and_the_pods_uid() -> None:
    patch = tracking.release(member("a"))
    assert patch.body["metadata"] == {"uid": "a", "$deleteFromPrimitiveList/finalizers": [FINALIZER]}
