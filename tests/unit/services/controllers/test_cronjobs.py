"""CronJobs: which run is due, what policies make of it, and that a crash never starts one twice."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from services.controllers import instants
from services.controllers.actions import Create, Delete, Note, Plan, Together, Update
from services.controllers.cronjobs import schedule, step
from shared.objects import meta
from tests.unit.services.controllers.cluster import controllers, settled, until
from tests.unit.services.controllers.objects import cronjob, job
from tests.unit.services.controllers.world import World

NOW = 1_800_000_000.0
"""On a full minute."""
Object = dict[str, Any]


def stored(created: float = NOW - 30, **spec: Any) -> Object:
    status = spec.pop("status", {})
    found = cronjob(**spec)
    found["metadata"] |= {"uid": "cj", "creationTimestamp": instants.text(created)}
    return {**found, "status": status}


def run(at: float, *, done: str = "", cron: Object | None = None) -> Object:
    """The Job of a run; `done` is Complete or Failed."""
    made = step.build(cron or stored(), at, UTC)
    made["metadata"] |= {"uid": f"job-{at}", "creationTimestamp": instants.text(at)}
    made["status"] = {"startTime": instants.text(at)}
    if done:
        made["status"]["conditions"] = [{"type": done, "status": "True"}]
        made["status"]["completionTime"] = instants.text(at + 5)
    return made


def decide(cron: Object, *jobs: Object, now: float = NOW, used: tuple[str, ...] = ()) -> Plan:
    return step.decide(step.Situation(cron, jobs, lambda name: name in used, now))


def created(plan: Plan) -> list[str]:
    return [action.ref.name for action in plan.actions if isinstance(action, Create)]


def reasons(plan: Plan) -> list[str]:
    return [action.reason for action in plan.actions if isinstance(action, Note)]


def status_in(plan: Plan) -> Object:
    return next(action.obj["status"] for action in plan.actions if isinstance(action, Update))


def test_a_due_run_is_a_job_named_for_its_minute() -> None:
    plan = decide(stored())
    (create,) = plan.actions
    assert isinstance(create, Create)
    assert create.ref.name == f"backup-{int(NOW) // 60}"
    assert create.obj["metadata"]["annotations"] == {step.SCHEDULED: instants.text(NOW)}
    assert meta.controller_of(create.obj)["uid"] == "cj"
    assert plan.again_after == 60


def test_nothing_is_due_before_the_first_minute() -> None:
    plan = decide(stored(), now=NOW - 10)
    assert (plan.actions, plan.again_after) == ((), 10)


def test_the_status_follows_from_the_jobs() -> None:
    status = status_in(decide(stored(), run(NOW - 120, done="Complete"), run(NOW)))
    assert [one["name"] for one in status["active"]] == [step.job_name(stored(), NOW)]
    assert status["lastScheduleTime"] == instants.text(NOW)
    assert status["lastSuccessfulTime"] == instants.text(NOW - 115)


def test_a_job_made_by_hand_is_not_a_run() -> None:
    by_hand = run(NOW)
    del by_hand["metadata"]["annotations"]
    assert created(decide(stored(), by_hand)) == [step.job_name(stored(), NOW)]


def test_only_the_latest_of_missed_runs_is_started() -> None:
    plan = decide(stored(created=NOW - 600))
    assert created(plan) == [step.job_name(stored(), NOW)]
    assert reasons(plan) == []


def test_more_than_a_hundred_missed_runs_are_worth_a_warning() -> None:
    plan = decide(stored(created=NOW - 86400 * 400, schedule="*/2 3 * * *"))
    assert reasons(plan) == ["TooManyMissedTimes"]
    today = NOW - NOW % 86400
    last = today + 3 * 3600 + 58 * 60
    assert created(plan) == [step.job_name(stored(), last if last <= NOW else last - 86400)]


def test_a_run_older_than_its_deadline_is_not_made_up_for() -> None:
    spec = {"schedule": "0 * * * *", "startingDeadlineSeconds": 60}
    hour = NOW - NOW % 3600
    assert created(decide(stored(created=hour - 86400, **spec), now=hour + 59)) == [step.job_name(stored(), hour)]
    assert created(decide(stored(created=hour - 86400, **spec), now=hour + 61)) == []


def test_forbid_waits_for_the_run_before() -> None:
    before = run(NOW - 60)
    plan = decide(stored(created=NOW - 90, concurrencyPolicy="Forbid"), before)
    assert created(plan) == []
    assert "JobAlreadyActive" in reasons(plan)
    assert created(decide(stored(created=NOW - 90, concurrencyPolicy="Forbid"), run(NOW - 60, done="Complete")))


def test_replace_deletes_the_run_before() -> None:
    plan = decide(stored(created=NOW - 90, concurrencyPolicy="Replace"), run(NOW - 60))
    together, create = plan.actions[-2:]
    assert isinstance(together, Together)
    (deletion,) = together.actions
    assert isinstance(deletion, Delete)
    assert deletion.uid == f"job-{NOW - 60}"
    assert isinstance(create, Create)


def test_a_suspended_cronjob_neither_starts_nor_waits() -> None:
    plan = decide(stored(suspend=True))
    assert (plan.actions, plan.again_after) == ((), None)


def test_the_oldest_finished_jobs_beyond_the_limits_go() -> None:
    jobs = [run(NOW - 60 * number, done="Complete" if number % 2 else "Failed") for number in range(1, 9)]
    plan = decide(stored(created=NOW - 3600, successfulJobsHistoryLimit=2), *jobs)
    together = next(action for action in plan.actions if isinstance(action, Together))
    gone = {int(action.ref.name.rpartition("-")[2]) - int(NOW) // 60 for action in together.actions}
    assert gone == {-7, -5, -8, -6, -4}


def test_what_became_of_active_jobs_is_told() -> None:
    references = [{"uid": f"job-{NOW - 60}", "name": "a"}, {"uid": "gone", "name": "b"}]
    plan = decide(stored(created=NOW - 90, status={"active": references}), run(NOW - 60, done="Failed"))
    assert reasons(plan)[:2] == ["SawCompletedJob", "MissingJob"]


def test_a_run_whose_job_is_gone_already_is_not_repeated() -> None:
    plan = decide(stored(), used=(step.job_name(stored(), NOW),))
    assert created(plan) == []
    assert status_in(plan)["lastScheduleTime"] == instants.text(NOW)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [({"schedule": "0 0 * *"}, "UnparseableSchedule"), ({"timeZone": "Nowhere/Land"}, "UnknownTimeZone")],
)
def test_what_is_not_understood_is_told(spec: Object, reason: str) -> None:
    plan = decide(stored(**spec))
    assert (reasons(plan), plan.again_after) == ([reason], None)


def test_the_scheduled_time_is_written_in_the_zone() -> None:
    made = decide(stored(timeZone="Europe/Berlin")).actions[0]
    assert isinstance(made, Create)
    text = made.obj["metadata"]["annotations"][step.SCHEDULED]
    assert text.endswith("+01:00")
    assert instants.seconds(text) == NOW


def test_the_last_of_very_many_missed_runs_is_found() -> None:
    due = step.latest(stored(created=NOW - 86400 * 365), {}, schedule.parse("* * * * *"), UTC, NOW + 30)
    assert due == step.Due(NOW, 101)


async def test_runs_follow_the_clock_without_being_asked() -> None:
    world = World()
    world.now = NOW - 0.05
    world.put(cronjob())
    async with controllers(world):
        await settled(world)
        assert world.every("batch", "jobs") == []
        world.now = NOW
        await until(lambda: world.every("batch", "jobs"), "the run")
        await settled(world)
    (made,) = world.every("batch", "jobs")
    status = world.every("batch", "cronjobs")[0]["status"]
    assert [one["uid"] for one in status["active"]] == [made["metadata"]["uid"]]
    assert status["lastScheduleTime"] == instants.text(NOW)


async def test_deleting_a_cronjob_takes_its_jobs_and_their_pods() -> None:
    world = World()
    found = world.put(cronjob())
    world.now += 60
    async with controllers(world):
        await settled(world)
        assert len(world.every("", "pods")) == 1
        world.remove(found, propagationPolicy="Background")
        await settled(world)
    assert world.every("batch", "jobs") == world.every("", "pods") == []


@pytest.mark.parametrize("writes", range(8))
async def test_a_crash_after_any_write_starts_a_run_once(writes: int) -> None:
    world = World()
    world.put(cronjob(concurrencyPolicy="Replace"))
    world.now += 60
    world.lag = 0.003
    async with controllers(world):
        await settled(world)
    world.now += 60
    world.writes_left = writes
    async with controllers(world):
        await settled(world)
    world.writes_left = None
    async with controllers(world):
        await settled(world)
    assert len([ref for ref in world.created if ref.resource == "jobs"]) == 2
    (left,) = world.every("batch", "jobs")
    assert left["metadata"]["name"] == f"backup-{int(world.now) // 60}"
    (reference,) = world.every("batch", "cronjobs")[0]["status"]["active"]
    assert reference["uid"] == left["metadata"]["uid"]


def test_jobs_of_others_are_left_alone() -> None:
    other = job()
    other["metadata"] |= {"uid": "other", "creationTimestamp": instants.text(NOW)}
    assert created(decide(stored(), other)) == [step.job_name(stored(), NOW)]
