"""Counting each finished pod of a Job exactly once, whatever crashes when (KEP-2307).

A pod carries a finalizer until it is counted. Its uid goes into status.uncountedTerminatedPods, then the finalizer
comes off, then the uid is turned into a number. Every step is repeatable from what the API shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.controllers.actions import Object
from services.controllers.jobs import failures, indexes, retries, verdict
from services.controllers.jobs.tracking import completions, has_finalizer, is_failed, is_indexed
from shared.objects import meta

LIMIT = 500
"""Most uids that wait in the status at the same time."""


@dataclass(slots=True)
class Tally:
    """The counters after this step, the uids that still wait, and the pods whose finalizer comes off.

    `total_failed` and `total_succeeded` include the uids that wait; `verdict` is a FailJob message, "" if none.
    `replaced` are failed pods by index that stay until their replacement is there, `held_failed` how many of them are
    to be counted as failed then.
    """

    succeeded: int
    failed: int
    waiting_succeeded: list[str] = field(default_factory=list)
    waiting_failed: list[str] = field(default_factory=list)
    completed_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    replaced: dict[int, Object] = field(default_factory=dict)
    held_failed: int = 0
    released: list[Object] = field(default_factory=list)
    verdict: str = ""

    @property
    def total_succeeded(self) -> int:
        """Succeeded pods, counted or waiting."""
        return self.succeeded + len(self.waiting_succeeded)

    @property
    def total_failed(self) -> int:
        """Failed pods, counted, waiting or held."""
        return self.failed + len(self.waiting_failed) + self.held_failed

    @property
    def settled(self) -> bool:
        """Whether nothing waits to be counted."""
        return not (self.waiting_succeeded or self.waiting_failed or self.held_failed)

    def uncounted(self) -> Object:
        """status.uncountedTerminatedPods."""
        waiting = {"succeeded": self.waiting_succeeded, "failed": self.waiting_failed}
        return {name: uids for name, uids in waiting.items() if uids}


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    """Take the next counting step."""
    status = job.get("status", {})
    result = Tally(int(status.get("succeeded", 0)), int(status.get("failed", 0)))
    result.completed_indexes = indexes.parse(status.get("completedIndexes"), completions(job))
    result.failed_indexes = indexes.parse(status.get("failedIndexes"), completions(job))
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
    _note_indexes(job, pods, result)
    for pod in sorted(pods, key=lambda one: one["metadata"]["name"]):
        if has_finalizer(pod):
            _take(job, pod, known, result)
    if is_indexed(job):
        result.succeeded = len(result.completed_indexes)
    return result


def _note_indexes(job: Object, pods: Sequence[Object], result: Tally) -> None:
    """Which indexes failed for good, and which failed pods stay because their index is to be tried again."""
    succeeded = {indexes.of_pod(pod) for pod in pods if has_finalizer(pod) and meta.pod_phase(pod) == "Succeeded"}
    done = result.completed_indexes | {index for index in succeeded if index is not None}
    result.failed_indexes |= retries.failed_for_good(job, pods) - done
    if not meta.is_deleting(job) and not verdict.is_finished(job) and verdict.earlier(job) is None:
        result.replaced = retries.to_replace(job, pods, done | result.failed_indexes)


def _take(job: Object, pod: Object, known: set[str], result: Tally) -> None:
    uid, index = pod["metadata"]["uid"], indexes.of_pod(pod)
    if index is not None and result.replaced.get(index) is pod:
        action, message = failures.action_for(job, pod)
        if action == "FailJob":
            result.verdict = result.verdict or message
        if action != "Ignore" and uid not in known:
            result.held_failed += 1
        return
    if uid in known:
        result.released.append(pod)
        return
    if len(result.waiting_succeeded) + len(result.waiting_failed) >= LIMIT:
        return
    if meta.pod_phase(pod) == "Succeeded":
        if not is_indexed(job):
            result.waiting_succeeded.append(uid)
        elif index is not None and index < completions(job) and index not in result.failed_indexes:
            result.completed_indexes.add(index)
        result.released.append(pod)
    elif is_failed(job, pod):
        action, message = failures.action_for(job, pod)
        if action == "FailJob":
            result.verdict = result.verdict or message
        if action != "Ignore":
            result.waiting_failed.append(uid)
        result.released.append(pod)
