"""When a Job is over, and why: what the counts of its pods amount to."""

from __future__ import annotations

from collections.abc import Sequence

from services.controllers import instants, pods
from services.controllers.actions import Object
from services.controllers.jobs import retries, success, tracking, verdict
from services.controllers.jobs.counting import Tally
from services.controllers.jobs.verdict import Verdict
from shared.objects import meta


def judge(job: Object, owned: Sequence[Object], counted: Tally, now: float) -> Verdict | None:
    """The verdict that the counts amount to, None while the Job goes on."""
    known = verdict.earlier(job)
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
    spoiled = _spoiled(job, counted)
    if spoiled is not None:
        return spoiled
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


def _spoiled(job: Object, counted: Tally) -> Verdict | None:
    """Too many failed indexes, or none left to wait for (KEP-3850)."""
    failed, most = len(counted.failed_indexes), job["spec"].get("maxFailedIndexes")
    if retries.limit(job) is None or failed == 0:
        return None
    if most is not None and failed > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Verdict("FailureTarget", "MaxFailedIndexesExceeded", message)
    if failed + counted.total_succeeded >= tracking.completions(job):
        return Verdict("FailureTarget", "FailedIndexes", "Job has failed indexes")
    return None


def _restarts_exceed(job: Object, owned: Sequence[Object], limit: int) -> bool:
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    running = [pod for pod in owned if meta.pod_phase(pod) in ("Running", "Pending")]
    restarts = sum(pods.restarts(pod) + _init_restarts(pod) for pod in running)
    return restarts > 0 if limit == 0 else restarts >= limit


def _init_restarts(pod: Object) -> int:
    return sum(entry.get("restartCount", 0) for entry in pod.get("status", {}).get("initContainerStatuses") or ())
