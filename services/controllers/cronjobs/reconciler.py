"""CronJobs: gathers the Jobs of one and asks `step` what to do; the next run is a timer, nothing is polled."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Key, Moment, Object, Plan
from services.controllers.cronjobs import step
from services.controllers.cronjobs.step import CRONJOBS
from services.controllers.jobs.step import JOBS
from services.controllers.replicasets import owner_keys
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta


class CronJobs:
    """Reconciles CronJobs; woken by them, their Jobs and the time."""

    name = "cronjob"
    workers = 5

    def keys(self, view: View) -> Iterable[Key]:
        """Every CronJob."""
        return [meta.key(cronjob) for cronjob in view.every(*CRONJOBS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The CronJob itself, or the CronJob that controls a Job; Jobs are not adopted."""
        if ref[:2] == CRONJOBS:
            return [(ref.namespace, ref.name)]
        if ref[:2] == JOBS:
            return owner_keys("CronJob", obj, previous, lambda: ())
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """The next step of one."""
        cronjob = view.get(*CRONJOBS, *key)
        if cronjob is None:
            return NOTHING
        jobs = view.controlled(cronjob, *JOBS)
        situation = step.Situation(cronjob, jobs, lambda name: view.used(Ref(*JOBS, key[0], name)), moment.now)
        return step.decide(situation)
