"""Jobs: gathers the pods of one, asks `step` what to do and makes the pods it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.controllers import pods
from services.controllers.actions import NOTHING, Create, Key, Moment, Object, Plan, Together
from services.controllers.claims import claim, ref_of
from services.controllers.jobs import indexes, step, tracking
from services.controllers.jobs.step import JOBS, Need
from services.controllers.replicasets import fresh_pod_names, owner_keys
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta, selectors

UID_LABEL = "batch.kubernetes.io/controller-uid"
NAME_LABEL = "batch.kubernetes.io/job-name"
MANAGER = "kubernetes.io/job-controller"


class Jobs:
    """Reconciles Jobs; woken by them and their pods."""

    name = "job"
    workers = 5

    def keys(self, view: View) -> Iterable[Key]:
        """Every Job."""
        return [meta.key(job) for job in view.every(*JOBS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The Job itself, or the Job that controls a pod."""
        if ref[:2] == JOBS:
            return [(ref.namespace, ref.name)]
        if ref[:2] == PODS:
            return owner_keys("Job", obj, previous, lambda: view.every(*JOBS, ref.namespace))
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Claim, then take the next step and make what it needs."""
        job = view.get(*JOBS, *key)
        if job is None:
            return NOTHING
        if job["spec"].get("managedBy", MANAGER) != MANAGER:
            return NOTHING
        claimed = claim(
            job,
            ref_of(*JOBS, job),
            selectors.from_label_selector(selector_of(job)),
            *PODS,
            view.controlled(job, *PODS),
            view.loose(*PODS, key[0]),
        )
        if claimed.actions:
            return Plan(claimed.actions)
        plan, need = step.decide(step.Situation(job, claimed.mine, moment.now))
        made = tuple(Create(ref_of(*PODS, pod), pod, regarding=job) for pod in _build(job, need, view))
        if not made:
            return plan
        return Plan((*plan.actions, Together(made, slow_start=True)), plan.again_after)


def selector_of(job: Object) -> Object:
    """spec.selector, which the API server makes from the uid unless manualSelector is set."""
    found: Object = job["spec"].get("selector") or {"matchLabels": {UID_LABEL: job["metadata"]["uid"]}}
    return found


def build(job: Object, name: str, index: int | None, annotations: Mapping[str, str] | None = None) -> Object:
    """A pod of the Job with these annotations; with an index its hostname, label and environment say which, too."""
    job_name = job["metadata"]["name"]
    prefix = f"{job_name}-" if index is None else f"{job_name}-{index}-"
    pod = pods.from_template(job["spec"]["template"], job, name, prefix)
    labels = pod["metadata"]["labels"]
    if not job["spec"].get("manualSelector"):
        uid = job["metadata"]["uid"]
        labels |= {UID_LABEL: uid, NAME_LABEL: job_name, "controller-uid": uid, "job-name": job_name}
    pod["metadata"]["annotations"] |= annotations or {}
    pod["metadata"].setdefault("finalizers", []).append(tracking.FINALIZER)
    if index is None:
        return pod
    labels[indexes.ANNOTATION] = str(index)
    pod["metadata"]["annotations"][indexes.ANNOTATION] = str(index)
    pod["spec"].setdefault("hostname", f"{job_name}-{index}")
    source = {"fieldRef": {"fieldPath": f"metadata.annotations['{indexes.ANNOTATION}']"}}
    for container in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())):
        names = {entry["name"] for entry in container.get("env") or ()}
        if "JOB_COMPLETION_INDEX" not in names:
            container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return pod


def _build(job: Object, need: Need, view: View) -> list[Object]:
    prefix = job["metadata"]["name"] + "-"
    if not need.indexes:
        return [build(job, name, None) for name in fresh_pod_names(job, prefix, need.create, view)]
    made = []
    for index in need.indexes:
        name = fresh_pod_names(job, f"{prefix}{index}-", 1, view, str(index))[0]
        made.append(build(job, name, index, need.annotations.get(index)))
    return made
