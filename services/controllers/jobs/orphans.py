"""Frees pods that wait to be counted by a Job that no longer exists: nobody else would take their finalizer off."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Key, Moment, Object, Plan
from services.controllers.jobs import tracking
from services.controllers.jobs.step import JOBS
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta


class JobOrphans:
    """Reconciles single pods; woken by pods and by the deletion of Jobs."""

    name = "job_orphan_pod"
    workers = 2

    def keys(self, view: View) -> Iterable[Key]:
        """Pods that wait for a Job that is not there."""
        return [meta.key(pod) for pod in view.every(*PODS) if is_orphan(pod, view)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The pod itself, or the pods of a Job that is gone."""
        if ref[:2] == PODS:
            return [(ref.namespace, ref.name)] if obj is not None and is_orphan(obj, view) else []
        if ref[:2] == JOBS and previous is not None and (obj is None or meta.uid(obj) != meta.uid(previous)):
            return [(pod.namespace, pod.name) for pod in view.dependents(meta.uid(previous)) if pod[:2] == PODS]
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Take the finalizer off."""
        pod = view.get(*PODS, *key)
        if pod is None or not is_orphan(pod, view):
            return NOTHING
        return Plan((tracking.release(pod),))


def is_orphan(pod: Object, view: View) -> bool:
    """Whether the pod waits to be counted but its Job does not exist."""
    if not tracking.has_finalizer(pod):
        return False
    owner = meta.controller_of(pod)
    return owner is None or view.by_uid(owner["uid"]) is None
