"""Jobs that succeed by their successPolicy (KEP-3998)."""

from __future__ import annotations

import pytest

from services.controllers import instants
from shared.objects import meta
from tests.unit.services.controllers.jobs import NOW, Object, condition, indexed, member, status, step


def by(*rules: Object, completed: str = "", **more: object) -> Object:
    return indexed(successPolicy={"rules": list(rules)}, status={"completedIndexes": completed}, **more)


@pytest.mark.parametrize(
    ("rule", "completed", "expected"),
    [
        ({"succeededIndexes": "0,2-3"}, "0,2,3", True),
        ({"succeededIndexes": "0,2-3"}, "0-2", False),
        ({"succeededIndexes": "1-3", "succeededCount": 2}, "0,2,3", True),
        ({"succeededIndexes": "1-3", "succeededCount": 2}, "0,3", False),
        ({"succeededCount": 2}, "1,3", True),
        ({"succeededCount": 2}, "1", False),
        ({"succeededIndexes": "2-2000000000"}, "2,3", True),
        ({"succeededIndexes": ""}, "0", False),
    ],
)
def test_which_completed_indexes_satisfy_a_rule(rule: Object, completed: str, expected: bool) -> None:
    found = condition(status(by(rule, completed=completed)), "SuccessCriteriaMet")
    assert (found is not None) == expected


def test_the_condition_names_the_first_rule_that_matches() -> None:
    job = by({"succeededIndexes": "3"}, {"succeededIndexes": "1"}, {"succeededCount": 1}, completed="1")
    found = condition(status(job), "SuccessCriteriaMet")
    assert (found["reason"], found["message"]) == ("SuccessPolicy", "Matched rules at index 1")


def test_the_leader_s_success_ends_the_other_pods_before_the_job_is_complete() -> None:
    job = by({"succeededIndexes": "0"})
    pods = (member("leader", "Succeeded", index=0), member("worker", index=1))
    _, need = step(job, *pods)
    first = status(job, *pods)
    assert [meta.name(pod) for pod in need.delete] == ["worker"]
    assert need.create == 0
    assert condition(first, "SuccessCriteriaMet") is not None
    assert condition(first, "Complete") is None
    job["status"] = first
    ending = member("worker", index=1)
    ending["metadata"]["deletionTimestamp"] = instants.text(NOW)
    assert condition(status(job, ending), "Complete") is None
    last = status(job)
    found = condition(last, "Complete")
    assert (found["reason"], found["message"]) == ("SuccessPolicy", "Matched rules at index 0")
    assert last["completionTime"] == instants.text(NOW)
    assert last["completedIndexes"] == "0"


def test_a_policy_that_was_met_outweighs_later_failures() -> None:
    met = {"type": "SuccessCriteriaMet", "status": "True", "reason": "SuccessPolicy", "message": "Matched"}
    job = by({"succeededIndexes": "0"}, completed="0", backoffLimit=0)
    job["status"] |= {"conditions": [met], "failed": 3}
    found = status(job, member("worker", "Failed", index=1))
    assert condition(found, "FailureTarget") is None


def test_a_job_that_failed_first_does_not_succeed_by_its_policy() -> None:
    job = by({"succeededIndexes": "0"}, completed="0", backoffLimit=0)
    found = status(job, member("worker", "Failed", index=1))
    assert condition(found, "FailureTarget")["reason"] == "BackoffLimitExceeded"
    assert condition(found, "SuccessCriteriaMet") is None
