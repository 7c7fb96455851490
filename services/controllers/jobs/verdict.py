"""What the conditions of a Job say about its end.

A verdict comes in two steps, as in Kubernetes: FailureTarget or SuccessCriteriaMet as soon as it is known, which ends
the pods that still run, then Failed or Complete once no pod is left and all are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.controllers import conditions, instants
from services.controllers.actions import Object

INTERIM = {"FailureTarget": "Failed", "SuccessCriteriaMet": "Complete"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """An interim condition's type with its reason and message."""

    kind: str
    reason: str
    message: str


def is_finished(job: Object) -> bool:
    """Whether the Job is Complete or Failed for good."""
    found = job.get("status", {}).get("conditions")
    return any(conditions.is_true(found, kind) for kind in INTERIM.values())


def finished_at(job: Object) -> float | None:
    """When the Job finished (seconds since the epoch), None if it did not."""
    found = job.get("status", {}).get("conditions")
    for kind in INTERIM.values():
        condition = conditions.find(found, kind)
        if condition is not None and condition.get("status") == "True":
            return instants.seconds(condition.get("lastTransitionTime"))
    return None


def earlier(job: Object) -> Verdict | None:
    """The verdict that was already written down."""
    found = job.get("status", {}).get("conditions")
    for kind in INTERIM:
        condition = conditions.find(found, kind)
        if condition is not None and condition.get("status") == "True":
            return Verdict(kind, condition.get("reason", ""), condition.get("message", ""))
    return None
