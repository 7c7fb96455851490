"""When a Job is over, and what its conditions say about that.

A verdict comes in two steps, as in Kubernetes: FailureTarget or SuccessCriteriaMet as soon as it is known, which ends
the pods that still run, then Failed or Complete once no pod is left and all are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.controllers import conditions, instants, pods
from services.controllers.actions import Object
from services.controllers.jobs import success
from services.controllers.jobs.tracking import Tally
from shared.objects import meta

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


def judge(job: Object, owned: Sequence[Object], counted: Tally, now: float) -> Verdict | None:
    """The verdict that the counts amount to, None while the Job goes on."""
    known = earlier(job)
    if known is not None:
        return known
    if counted.verdict:
        return Verdict("FailureTarget", "PodFailurePolicy", counted.verdict)
    limit = int(job["spec"].get("backoffLimit", 6))
    if counted.total_failed > limit or _restarts_exceed(job, owned, limit):
        return Verdict("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = deadline_in(job, now)
    if left is not None and left <= 0:
        return Verdict("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")
    matched = success.matched(job, counted.completed_indexes)
    if matched:
        return Verdict("SuccessCriteriaMet", "SuccessPolicy", matched)
    completions = job["spec"].get("completions")
    active = any(meta.pod_active(pod) for pod in owned)
    if completions is None:
        enough = counted.total_succeeded > 0 and not active
    else:
        enough = counted.total_succeeded >= completions
    if enough:
        message = "Reached expected number of succeeded pods"
        return Verdict("SuccessCriteriaMet", "CompletionsReached", message)
    return None


def deadline_in(job: Object, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds is over, None if there is none or the clock does not run."""
    limit, start = job["spec"].get("activeDeadlineSeconds"), job.get("status", {}).get("startTime")
    if limit is None or not start or job["spec"].get("suspend"):
        return None
    return instants.remaining(start, limit, now)


def _restarts_exceed(job: Object, owned: Sequence[Object], limit: int) -> bool:
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    running = [pod for pod in owned if meta.pod_phase(pod) in ("Running", "Pending")]
    restarts = sum(pods.restarts(pod) + _init_restarts(pod) for pod in running)
    return restarts > 0 if limit == 0 else restarts >= limit


def _init_restarts(pod: Object) -> int:
    return sum(entry.get("restartCount", 0) for entry in pod.get("status", {}).get("initContainerStatuses") or ())
