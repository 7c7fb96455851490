"""Indexes that fail on their own account: backoffLimitPerIndex, maxFailedIndexes, FailIndex (KEP-3850)."""

from __future__ import annotations

from typing import Any

import pytest

from services.controllers import instants
from services.controllers.actions import Note
from services.controllers.jobs import reconciler, retries
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
)


def limited(allowed: int = 1, **more: Any) -> Object:
    return indexed(**{"backoffLimitPerIndex": allowed, "backoffLimit": 2**31 - 1, "parallelism": 4, **more})


def attempt(name: str, index: int, phase: str = "Running", *, failed: int = 0, ignored: int = 0, **more: Any) -> Object:
    found = member(name, phase, index=index, **more)
    found["metadata"]["annotations"] |= {retries.FAILURES: str(failed), retries.IGNORED: str(ignored)}
    return found


def running(*numbers: int) -> list[Object]:
    return [attempt(f"r{number}", number) for number in numbers]


def test_first_pods_carry_no_failures() -> None:
    _, need = step(limited())
    assert need.indexes == (0, 1, 2, 3)
    assert need.annotations[0] == {retries.FAILURES: "0"}
    made = reconciler.build(limited(), "sum-0-abcde", 0, need.annotations[0])
    assert made["metadata"]["annotations"][retries.FAILURES] == "0"


def test_jobs_without_the_limit_carry_no_count() -> None:
    _, need = step(indexed())
    assert need.annotations[0] == {}
    assert "failedIndexes" not in status(indexed())


def test_a_failed_pod_stays_uncounted_until_it_is_replaced() -> None:
    job, failed = limited(), attempt("a", 0, "Failed", failed=0)
    assert released(job, failed, *running(1, 2, 3)) == []
    found = status(job, failed, *running(1, 2, 3))
    assert (found["uncountedTerminatedPods"], found["failedIndexes"]) == ({}, "")
    again = (failed, attempt("b", 0, failed=1), *running(1, 2, 3))
    assert status(job, *again)["uncountedTerminatedPods"] == {"failed": ["a"]}
    assert released(job, *again) == ["a"]


def test_the_replacement_carries_one_failure_more() -> None:
    _, need = step(limited(3), attempt("a", 0, "Failed", failed=2), *running(1, 2, 3))
    assert need.indexes == (0,)
    assert need.annotations[0] == {retries.FAILURES: "3"}


def test_failures_that_the_policy_ignores_are_counted_apart() -> None:
    job = limited(podFailurePolicy=exit_policy("Ignore"))
    _, need = step(job, attempt("a", 0, "Failed", failed=1, ignored=1, age=100), *running(1, 2, 3))
    assert need.annotations[0] == {retries.FAILURES: "1", retries.IGNORED: "2"}
    assert status(job, attempt("a", 0, "Failed", failed=1, age=100))["failedIndexes"] == ""


def test_the_pod_that_failed_last_hands_its_count_on() -> None:
    failed = (attempt("b", 0, "Failed", failed=1, age=40), attempt("a", 0, "Failed", failed=0, age=90))
    job = limited(5)
    _, need = step(job, *failed, *running(1, 2, 3))
    assert need.annotations[0] == {retries.FAILURES: "2"}
    assert released(job, *failed, *running(1, 2, 3)) == ["a"]


def test_each_index_waits_for_itself() -> None:
    pods = (attempt("a", 0, "Failed", age=4), attempt("b", 1, "Failed", failed=1, age=15), *running(3))
    _, need = step(limited(5), *pods)
    assert (need.indexes, need.again_after) == ((2,), 5)
    _, need = step(limited(5), *pods, now=NOW + 6)
    assert need.indexes == (0, 1, 2)


def test_an_index_that_failed_too_often_is_not_tried_again() -> None:
    job, pods = limited(1), (attempt("a", 0, "Failed", failed=1), *running(1, 2))
    found = status(job, *pods)
    assert found["failedIndexes"] == "0"
    assert found["uncountedTerminatedPods"] == {"failed": ["a"]}
    assert condition(found, "FailureTarget") is None
    assert step(job, *pods)[1].indexes == (3,)
    job["status"] = {**found, "uncountedTerminatedPods": {}}
    assert step(job, *running(1, 2))[1].indexes == (3,)


def test_fail_index_ends_an_index_at_its_first_failure() -> None:
    job = limited(5, podFailurePolicy=exit_policy("FailIndex"))
    found = status(job, attempt("a", 2, "Failed"), *running(0, 1, 3))
    assert (found["failedIndexes"], found["uncountedTerminatedPods"]) == ("2", {"failed": ["a"]})


def test_fail_job_ends_the_job_although_the_index_may_try_again() -> None:
    job = limited(5, podFailurePolicy=exit_policy("FailJob"))
    pods = (attempt("a", 2, "Failed"), *running(0, 1, 3))
    found = status(job, *pods)
    assert condition(found, "FailureTarget")["reason"] == "PodFailurePolicy"
    job["status"] = found
    assert released(job, *pods) == ["a"]


def test_held_failures_count_against_the_limit_of_the_whole_job() -> None:
    job = limited(5, backoffLimit=0)
    found = status(job, attempt("a", 0, "Failed"), *running(1, 2, 3))
    assert condition(found, "FailureTarget")["reason"] == "BackoffLimitExceeded"
    assert condition(found, "Failed") is None


def test_too_many_failed_indexes_end_the_job() -> None:
    pods = (attempt("b", 1, "Failed", failed=1), *running(2, 3))
    at_limit = limited(maxFailedIndexes=2, status={"failedIndexes": "0"})
    assert condition(status(at_limit, *pods), "FailureTarget") is None
    beyond = limited(maxFailedIndexes=1, status={"failedIndexes": "0"})
    found = condition(status(beyond, *pods), "FailureTarget")
    assert found["reason"] == "MaxFailedIndexesExceeded"
    assert {meta.name(pod) for pod in step(beyond, *pods)[1].delete} == {"r2", "r3"}


def test_a_job_fails_once_every_index_is_over_and_one_failed() -> None:
    job = limited(0, status={"completedIndexes": "0,1,2", "succeeded": 3})
    first = status(job, attempt("d", 3, "Failed"))
    target = condition(first, "FailureTarget")
    assert (target["reason"], target["message"]) == ("FailedIndexes", "Job has failed indexes")
    assert condition(first, "Failed") is None
    job["status"] = first
    counted = attempt("d", 3, "Failed", counted=True)
    last = status(job, counted)
    assert condition(last, "Failed")["reason"] == "FailedIndexes"
    assert (last["failedIndexes"], last["completedIndexes"], last["failed"]) == ("3", "0-2", 1)
    (note,) = [action for action in step(job, counted)[0].actions if isinstance(action, Note)]
    assert (note.type, note.reason) == ("Warning", "FailedIndexes")


def test_an_index_is_never_both_completed_and_failed() -> None:
    both = (attempt("a", 0, "Failed", failed=1), attempt("b", 0, "Succeeded", failed=1))
    found = status(limited(), *both)
    assert (found["completedIndexes"], found["failedIndexes"]) == ("0", "")
    late = status(limited(status={"failedIndexes": "0"}), attempt("b", 0, "Succeeded"))
    assert (late.get("completedIndexes", ""), late["failedIndexes"]) == ("", "0")


def test_a_job_that_is_deleted_lets_go_of_failed_pods() -> None:
    job = limited(5)
    job["metadata"]["deletionTimestamp"] = instants.text(NOW)
    assert released(job, attempt("a", 0, "Failed")) == ["a"]


@pytest.mark.parametrize("text", ["", "x", "-1", "2147483648", "9" * 5000, "²"])
def test_a_count_that_somebody_spoiled_is_none(text: str) -> None:
    pod = attempt("a", 0, "Failed")
    pod["metadata"]["annotations"][retries.FAILURES] = text
    assert retries.attempts(pod) == 0
