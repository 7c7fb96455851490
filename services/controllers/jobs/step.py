"""One step of a Job: count, judge, then make or remove pods; the status always goes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.controllers import conditions, instants, pods, ranking
from services.controllers.actions import Action, Delete, Note, Object, Plan, Together, Update, soonest
from services.controllers.claims import ref_of
from services.controllers.jobs import counting, failures, indexes, judgement, retries, tracking, verdict
from services.controllers.jobs.counting import Tally
from services.controllers.jobs.tracking import is_indexed
from services.controllers.jobs.verdict import INTERIM, Verdict
from services.controllers.replicasets import BURST, deletion
from shared.objects import meta

JOBS = ("batch", "jobs")


@dataclass(frozen=True, slots=True)
class Situation:
    """A Job with its pods."""

    job: Object
    pods: Sequence[Object]
    now: float

    @property
    def active(self) -> list[Object]:
        """Pods that run or may still run."""
        return [pod for pod in self.pods if meta.pod_active(pod)]

    @property
    def terminating(self) -> int:
        """Pods that are being deleted but not over."""
        return sum(1 for pod in self.pods if pods.is_terminating(pod))


@dataclass(frozen=True, slots=True)
class Need:
    """How many pods to make (with these indexes and annotations if the Job is Indexed), and which to remove."""

    create: int = 0
    indexes: tuple[int, ...] = ()
    annotations: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    delete: tuple[Object, ...] = ()
    again_after: float | None = None


def decide(situation: Situation) -> tuple[Plan, Need]:
    """The actions of this step without the creations, and what is needed beyond them."""
    job, now = situation.job, situation.now
    counted = counting.tally(job, situation.pods)
    found = None if verdict.is_finished(job) else judgement.judge(job, situation.pods, counted, now)
    status, notes = status_of(situation, counted, found)
    actions: list[Action] = []
    if status != job.get("status", {}):
        actions.append(Update(ref_of(*JOBS, job), {**job, "status": status}, "status"))
    actions += notes
    need = need_of(situation, counted, found)
    released = list(counted.released)
    if found is None and not verdict.is_finished(job):
        # what goes while the Job goes on (it is suspended, or asks for fewer) has not failed, so it is never counted
        released += [pod for pod in need.delete if tracking.has_finalizer(pod)]
    if released:
        actions.append(Together(tuple(tracking.release(pod) for pod in released)))
    if need.delete:
        actions.append(Together(tuple(deletion(pod, job) for pod in need.delete)))
    expiry = expire(job, now)
    again_after = soonest(need.again_after, judgement.deadline_in(job, now) if found is None else None)
    if isinstance(expiry, Delete):
        actions.append(expiry)
    else:
        again_after = soonest(again_after, expiry)
    return Plan(tuple(actions), again_after), need


def need_of(situation: Situation, counted: Tally, found: Verdict | None) -> Need:
    """Pods to make and remove."""
    job, active = situation.job, situation.active
    if meta.is_deleting(job):
        return Need()
    if found is not None or verdict.is_finished(job) or job["spec"].get("suspend"):
        return Need(delete=tuple(active[:BURST]))
    wanted = _wanted(job, counted, len(active))
    doubles = _doubles(job, counted, active)
    surplus = len(active) - len(doubles) - wanted
    if doubles or surplus > 0:
        rest = [pod for pod in active if pod not in doubles]
        going = [*doubles, *ranking.first(rest, rest, max(0, surplus), situation.now)]
        return Need(delete=tuple(going[:BURST]))
    places = len(active) + (situation.terminating if tracking.replaces_only_failed(job) else 0)
    create = min(BURST, wanted - places)
    if create <= 0:
        return Need()
    if retries.limit(job) is None:
        wait = failures.pause(situation.pods, situation.now)
        if wait > 0:
            return Need(again_after=wait)
    if not is_indexed(job):
        return Need(create=create)
    return _need_indexes(situation, counted, create)


def _need_indexes(situation: Situation, counted: Tally, create: int) -> Need:
    """The first `create` indexes that are missing, but for those that have to wait after a failure of their own."""
    job = situation.job
    holding = [pod for pod in situation.pods if _holds_index(job, pod)]
    taken = {index for pod in holding if (index := indexes.of_pod(pod)) is not None}
    taken |= counted.completed_indexes | counted.failed_indexes
    free = indexes.missing(tracking.completions(job), taken, create)
    ready, wait = retries.due(free, counted.replaced, situation.now)
    notes = {index: retries.next_annotations(job, counted.replaced.get(index)) for index in ready}
    return Need(create=len(ready), indexes=tuple(ready), annotations=notes, again_after=wait)


def status_of(situation: Situation, counted: Tally, found: Verdict | None) -> tuple[Object, list[Action]]:
    """The status after this step and the events that go with it."""
    job, now = situation.job, situation.now
    old = job.get("status", {})
    current = list(old.get("conditions") or ())
    notes: list[Action] = []
    status: Object = {}
    if verdict.is_finished(job):
        status |= {name: old[name] for name in ("startTime", "completionTime") if old.get(name)}
    elif job["spec"].get("suspend") and found is None:
        if not conditions.is_true(current, "Suspended"):
            new = conditions.make("Suspended", "True", "JobSuspended", "Job suspended", now, **_probed(now))
            current = conditions.put(current, new)
            notes.append(Note(job, "Suspended", "Job suspended"))
    else:
        status["startTime"] = old.get("startTime") or instants.text(now)
        if conditions.is_true(current, "Suspended"):
            new = conditions.make("Suspended", "False", "JobResumed", "Job resumed", now, **_probed(now))
            current = conditions.put(current, new)
            notes.append(Note(job, "Resumed", "Job resumed"))
    if found is not None:
        current, ended = _conclude(situation, counted, found, current)
        notes += ended
        if ended and found.kind == "SuccessCriteriaMet":
            status["completionTime"] = instants.text(now)
    active = situation.active
    numbers = {"active": len(active), "succeeded": counted.succeeded, "failed": counted.failed}
    status |= {name: number for name, number in numbers.items() if number}
    status["terminating"] = situation.terminating
    status["ready"] = sum(1 for pod in active if meta.pod_ready(pod))
    status["uncountedTerminatedPods"] = counted.uncounted()
    if counted.completed_indexes:
        status["completedIndexes"] = indexes.render(counted.completed_indexes)
    if retries.limit(job) is not None:
        status["failedIndexes"] = indexes.render(counted.failed_indexes)
    if current:
        status["conditions"] = current
    return status, notes


def expire(job: Object, now: float) -> Delete | float | None:
    """Delete a finished Job whose ttlSecondsAfterFinished is over; before that, in how many seconds it will be."""
    ttl, end = job["spec"].get("ttlSecondsAfterFinished"), verdict.finished_at(job)
    if ttl is None or end is None or meta.is_deleting(job):
        return None
    left: float = end + ttl - now
    if left > 0:
        return left
    metadata = job["metadata"]
    return Delete(ref_of(*JOBS, job), metadata["uid"], metadata["resourceVersion"], "Foreground")


def _conclude(
    situation: Situation, counted: Tally, found: Verdict, current: list[Object]
) -> tuple[list[Object], list[Action]]:
    now = situation.now
    interim = conditions.make(found.kind, "True", found.reason, found.message, now, **_probed(now))
    current = conditions.put(current, interim)
    if situation.active or situation.terminating or not counted.settled or counted.released:
        return current, []
    final = INTERIM[found.kind]
    current = conditions.put(current, conditions.make(final, "True", found.reason, found.message, now, **_probed(now)))
    if final == "Complete":
        return current, [Note(situation.job, "Completed", "Job completed")]
    return current, [Note(situation.job, found.reason, found.message, "Warning")]


def _wanted(job: Object, counted: Tally, active: int) -> int:
    parallelism = int(job["spec"].get("parallelism", 1))
    completions = job["spec"].get("completions")
    if completions is None:
        return active if counted.total_succeeded > 0 else parallelism
    return max(0, min(int(completions) - counted.total_succeeded, parallelism))


def _doubles(job: Object, counted: Tally, active: list[Object]) -> list[Object]:
    """Active pods of an Indexed Job whose index is out of range, done, or already taken by an older pod."""
    if not is_indexed(job):
        return []
    seen = set(counted.completed_indexes)
    found: list[Object] = []
    total = tracking.completions(job)
    for pod in sorted(active, key=lambda one: (one["metadata"].get("creationTimestamp", ""), one["metadata"]["name"])):
        index = indexes.of_pod(pod)
        if index is None or index >= total or index in seen:
            found.append(pod)
        else:
            seen.add(index)
    return found


def _holds_index(job: Object, pod: Object) -> bool:
    return meta.pod_active(pod) or (tracking.replaces_only_failed(job) and pods.is_terminating(pod))


def _probed(now: float) -> dict[str, str]:
    return {"lastProbeTime": instants.text(now)}
