"""One step of a CronJob: what its status says, which run is due, and which old runs are forgotten.

A run is a Job whose name follows from the minute it is due in, so that a run is never started twice; the status
follows from the Jobs that exist, so that a crash between a Job and the status that mentions it is repaired by looking.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from services.controllers import conditions, instants
from services.controllers.actions import Action, Create, Delete, Note, Object, Plan, Together, Update
from services.controllers.claims import ref_of
from services.controllers.cronjobs import schedule
from services.controllers.cronjobs.schedule import Schedule
from services.controllers.jobs import verdict
from services.controllers.jobs.step import JOBS
from shared.objects import meta

CRONJOBS = ("batch", "cronjobs")
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""On a Job: when it was due. Jobs that a user makes from the CronJob lack it and are not counted as runs."""
MISSED_LIMIT = 100
"""More missed runs than this many are worth a warning: the clock, or the deadline, is probably not what was meant."""


@dataclass(frozen=True, slots=True)
class Situation:
    """A CronJob, its Jobs, and whether the name of a Job is or recently was in use."""

    cronjob: Object
    jobs: Sequence[Object]
    is_used: Callable[[str], bool]
    now: float


@dataclass(frozen=True, slots=True)
class Due:
    """The latest run that should have been started by now, and how many went by, at most one more than the limit."""

    at: float
    missed: int


def decide(situation: Situation) -> Plan:
    """Status first, then history, then the run that is due; again when the next one is."""
    cronjob = situation.cronjob
    status, notes = status_of(situation)
    timetable = _timetable(cronjob)
    resting = meta.is_deleting(cronjob) or bool(cronjob["spec"].get("suspend"))
    due = None
    if not resting and not isinstance(timetable, Note):
        due = latest(cronjob, status, *timetable, situation.now)
    if due is not None and situation.is_used(job_name(cronjob, due.at)):
        # the run was started, but its Job is gone, or somebody else's, before a status could mention it
        status["lastScheduleTime"] = instants.text(due.at)
        due = None
    actions: list[Action] = []
    if status != cronjob.get("status", {}):
        actions.append(Update(ref_of(*CRONJOBS, cronjob), {**cronjob, "status": status}, "status"))
        actions += notes
    doomed = [] if meta.is_deleting(cronjob) else forgotten(cronjob, situation.jobs)
    if doomed:
        actions.append(Together(tuple(_deletion(job, cronjob) for job in doomed)))
    if resting:
        return Plan(tuple(actions))
    if isinstance(timetable, Note):
        return Plan((*actions, timetable))
    when, zone = timetable
    if due is not None:
        actions += _start(situation, due, zone)
    coming = when.after(situation.now, zone)
    return Plan(tuple(actions), None if coming is None else coming - situation.now)


def status_of(situation: Situation) -> tuple[Object, list[Note]]:
    """The status that the Jobs amount to, and what there is to say about the difference."""
    cronjob = situation.cronjob
    old = cronjob.get("status", {})
    runs = {job["metadata"]["uid"]: job for job in situation.jobs}
    notes: list[Note] = []
    for reference in old.get("active") or ():
        job = runs.get(reference.get("uid", ""))
        if job is None:
            notes.append(Note(cronjob, "MissingJob", f"Active job went missing: {reference.get('name')}"))
        elif verdict.is_finished(job):
            kind = "Complete" if _succeeded(job) else "Failed"
            text = f"Saw completed job: {job['metadata']['name']}, condition: {kind}"
            notes.append(Note(cronjob, "SawCompletedJob", text))
    ours = sorted((job for job in situation.jobs if scheduled_at(job) is not None), key=_age)
    active = [_reference(job) for job in ours if not verdict.is_finished(job)]
    started = [at for job in ours if (at := scheduled_at(job)) is not None]
    ended = [instants.seconds(job["status"].get("completionTime")) for job in situation.jobs if _succeeded(job)]
    status = {name: value for name, value in old.items() if name != "active"}
    if active:
        status["active"] = active
    _raise(status, "lastScheduleTime", started)
    _raise(status, "lastSuccessfulTime", ended)
    return status, notes


def scheduled_at(job: Object) -> float | None:
    """When a Job was due (seconds since the epoch), None if it is no run of a schedule."""
    text = meta.annotations(job).get(SCHEDULED)
    return instants.seconds(text) if text else None


def latest(cronjob: Object, status: Object, when: Schedule, zone: tzinfo, now: float) -> Due | None:
    """The run to start now: the latest since the last one, or since the CronJob exists, within its deadline."""
    since = instants.seconds(status.get("lastScheduleTime") or cronjob["metadata"].get("creationTimestamp"))
    deadline = cronjob["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        since = max(since, now - deadline)
    first = when.after(since, zone)
    if first is None or first > now:
        return None
    missed, found = 1, first
    while missed <= MISSED_LIMIT and (following := when.after(found, zone)) is not None and following <= now:
        missed, found = missed + 1, following
    if missed <= MISSED_LIMIT:
        return Due(found, missed)
    return Due(_last_before(when, zone, found, now), missed)


def forgotten(cronjob: Object, jobs: Iterable[Object]) -> list[Object]:
    """The oldest finished Jobs beyond successfulJobsHistoryLimit and failedJobsHistoryLimit."""
    spec = cronjob["spec"]
    finished = [job for job in sorted(jobs, key=_age) if verdict.is_finished(job) and not meta.is_deleting(job)]
    succeeded = [job for job in finished if _succeeded(job)]
    failed = [job for job in finished if not _succeeded(job)]
    return [
        *_surplus(succeeded, spec.get("successfulJobsHistoryLimit", 3)),
        *_surplus(failed, spec.get("failedJobsHistoryLimit", 1)),
    ]


def build(cronjob: Object, at: float, zone: tzinfo) -> Object:
    """The Job of the run that is due at an instant."""
    template = cronjob["spec"]["jobTemplate"]
    source = template.get("metadata") or {}
    shown = datetime.fromtimestamp(at, zone).isoformat().replace("+00:00", "Z")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cronjob, at),
            "namespace": cronjob["metadata"]["namespace"],
            "labels": dict(source.get("labels") or {}),
            "annotations": {**(source.get("annotations") or {}), SCHEDULED: shown},
            "ownerReferences": [meta.owner_reference(cronjob)],
        },
        "spec": meta.copy(template["spec"]),
    }


def job_name(cronjob: Object, at: float) -> str:
    """The CronJob's name and the minutes since the epoch."""
    return f"{cronjob['metadata']['name']}-{int(at) // 60}"


def _timetable(cronjob: Object) -> tuple[Schedule, tzinfo] | Note:
    """The schedule and its time zone, or what is not understood about them."""
    name, text = cronjob["spec"].get("timeZone"), cronjob["spec"]["schedule"]
    try:
        zone: tzinfo = zoneinfo.ZoneInfo(name) if name else UTC
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        return Note(cronjob, "UnknownTimeZone", f'invalid timeZone: "{name}": {error}', "Warning")
    try:
        return schedule.parse(text), zone
    except ValueError as error:
        return Note(cronjob, "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}', "Warning")


def _start(situation: Situation, due: Due, zone: tzinfo) -> list[Action]:
    cronjob = situation.cronjob
    actions: list[Action] = []
    running = [job for job in situation.jobs if scheduled_at(job) is not None and not verdict.is_finished(job)]
    policy = cronjob["spec"].get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and running:
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return [Note(cronjob, "JobAlreadyActive", text)]
    if due.missed > MISSED_LIMIT:
        text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        actions.append(Note(cronjob, "TooManyMissedTimes", text, "Warning"))
    if policy == "Replace":
        stopped = tuple(_deletion(job, cronjob) for job in running if not meta.is_deleting(job))
        actions += [Together(stopped)] if stopped else []
    job = build(cronjob, due.at, zone)
    return [*actions, Create(ref_of(*JOBS, job), job, regarding=cronjob)]


def _last_before(when: Schedule, zone: tzinfo, since: float, now: float) -> float:
    """The last instant up to `now`; `since` is one. Looks back in growing steps, for there may be very many."""
    width = 3600.0
    while now - width > since:
        found = _walk(when, zone, now - width, now)
        if found is not None:
            return found
        width *= 2
    return _walk(when, zone, since, now) or since


def _walk(when: Schedule, zone: tzinfo, start: float, now: float) -> float | None:
    found = None
    following = when.after(start, zone)
    while following is not None and following <= now:
        found, following = following, when.after(following, zone)
    return found


def _raise(status: Object, name: str, times: list[float]) -> None:
    newest = max(times, default=0.0)
    if newest > instants.seconds(status.get(name)):
        status[name] = instants.text(newest)


def _succeeded(job: Object) -> bool:
    return conditions.is_true(job.get("status", {}).get("conditions"), "Complete")


def _age(job: Object) -> tuple[str, str]:
    metadata = job["metadata"]
    return job.get("status", {}).get("startTime") or metadata.get("creationTimestamp", ""), metadata["name"]


def _surplus(jobs: list[Object], limit: int) -> list[Object]:
    return jobs[: max(0, len(jobs) - limit)]


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _deletion(job: Object, cronjob: Object) -> Delete:
    return Delete(ref_of(*JOBS, job), uid=job["metadata"]["uid"], regarding=cronjob)
