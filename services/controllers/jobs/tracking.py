"""Counting each finished pod of a Job exactly once, whatever crashes when (KEP-2307).

A pod carries a finalizer until it is counted. Its uid goes into status.uncountedTerminatedPods, then the finalizer
comes off, then the uid is turned into a number. Every step is repeatable from what the API shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.controllers.actions import Object, Patch
from services.controllers.claims import ref_of
from services.controllers.jobs import failures, indexes
from services.controllers.view import PODS
from shared.objects import meta

FINALIZER = "batch.kubernetes.io/job-tracking"
LIMIT = 500
"""Most uids that wait in the status at the same time."""


@dataclass(slots=True)
class Tally:
    """The counters after this step, the uids that still wait, and the pods whose finalizer comes off.

    `total_failed` and `total_succeeded` include the uids that wait; `verdict` is a FailJob message, "" if none.
    """

    succeeded: int
    failed: int
    waiting_succeeded: list[str] = field(default_factory=list)
    waiting_failed: list[str] = field(default_factory=list)
    completed_indexes: set[int] = field(default_factory=set)
    released: list[Object] = field(default_factory=list)
    verdict: str = ""

    @property
    def total_succeeded(self) -> int:
        """Succeeded pods, counted or waiting."""
        return self.succeeded + len(self.waiting_succeeded)

    @property
    def total_failed(self) -> int:
        """Failed pods, counted or waiting."""
        return self.failed + len(self.waiting_failed)

    @property
    def settled(self) -> bool:
        """Whether nothing waits to be counted."""
        return not self.waiting_succeeded and not self.waiting_failed

    def uncounted(self) -> Object:
        """status.uncountedTerminatedPods."""
        waiting = {"succeeded": self.waiting_succeeded, "failed": self.waiting_failed}
        return {name: uids for name, uids in waiting.items() if uids}


def has_finalizer(pod: Object) -> bool:
    """Whether the pod is not counted for good yet."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_failed(job: Object, pod: Object) -> bool:
    """Whether the pod counts as failed; one that is being deleted does unless podReplacementPolicy is Failed."""
    phase = meta.pod_phase(pod)
    if phase == "Failed":
        return True
    return meta.is_deleting(pod) and phase != "Succeeded" and not replaces_only_failed(job)


def replaces_only_failed(job: Object) -> bool:
    """Whether a terminating pod holds its place until it is really over (KEP-3939)."""
    default = "Failed" if job["spec"].get("podFailurePolicy") else "TerminatingOrFailed"
    return bool(job["spec"].get("podReplacementPolicy", default) == "Failed")


def is_indexed(job: Object) -> bool:
    """Whether pods have completion indexes."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    """Take the next counting step."""
    status = job.get("status", {})
    result = Tally(int(status.get("succeeded", 0)), int(status.get("failed", 0)))
    result.completed_indexes = indexes.parse(status.get("completedIndexes"))
    stored = status.get("uncountedTerminatedPods") or {}
    held = {pod["metadata"]["uid"] for pod in pods if has_finalizer(pod)}
    for uid in stored.get("succeeded") or ():
        if uid in held:
            result.waiting_succeeded.append(uid)
        elif not is_indexed(job):
            result.succeeded += 1
    for uid in stored.get("failed") or ():
        if uid in held:
            result.waiting_failed.append(uid)
        else:
            result.failed += 1
    known = {*result.waiting_succeeded, *result.waiting_failed}
    for pod in sorted(pods, key=lambda one: one["metadata"]["name"]):
        if has_finalizer(pod):
            _take(job, pod, known, result)
    if is_indexed(job):
        result.succeeded = len(result.completed_indexes)
    return result


def _take(job: Object, pod: Object, known: set[str], result: Tally) -> None:
    uid = pod["metadata"]["uid"]
    if uid in known:
        result.released.append(pod)
        return
    if len(result.waiting_succeeded) + len(result.waiting_failed) >= LIMIT:
        return
    if meta.pod_phase(pod) == "Succeeded":
        index = indexes.of_pod(pod)
        if not is_indexed(job):
            result.waiting_succeeded.append(uid)
        elif index is not None and index < int(job["spec"].get("completions", 0)):
            result.completed_indexes.add(index)
        result.released.append(pod)
    elif is_failed(job, pod):
        action, message = failures.action_for(job, pod)
        if action == "FailJob":
            result.verdict = result.verdict or message
        if action != "Ignore":
            result.waiting_failed.append(uid)
        result.released.append(pod)


def release(pod: Object) -> Patch:
    """Take the finalizer off a pod."""
    body = {"metadata": {"uid": pod["metadata"]["uid"], "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    return Patch(ref_of(*PODS, pod), body, "strategic")
