"""Rows of the kinds that make pods."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.objects import meta, times
from shared.objects.tables.cells import (
    NONE,
    UNSET,
    Object,
    age,
    containers_and_images,
    labels_text,
    name,
    selector_text,
)


def deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now),
        *containers_and_images(spec["template"]),
        selector_text(spec.get("selector")),
    ]


def replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        name(obj),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj, now),
        *containers_and_images(spec.get("template") or {}),
        selector_text(spec.get("selector")),
    ]


def daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        name(obj),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        labels_text((spec["template"].get("spec") or {}).get("nodeSelector")),
        age(obj, now),
        *containers_and_images(spec["template"]),
        selector_text(spec.get("selector")),
    ]


def job(obj: Object, now: datetime) -> list[Any]:
    spec = obj["spec"]
    return [
        name(obj),
        _job_status(obj),
        _completions(obj),
        _duration(obj, now),
        age(obj, now),
        *containers_and_images(spec["template"]),
        selector_text(spec.get("selector")),
    ]


def _job_status(obj: Object) -> str:
    for condition, text in (("Complete", "Complete"), ("Failed", "Failed")):
        if meta.condition_true(obj, condition):
            return text
    if meta.is_deleting(obj):
        return "Terminating"
    for condition in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if meta.condition_true(obj, condition):
            return condition
    return "Running"


def _completions(obj: Object) -> str:
    spec = obj["spec"]
    succeeded = (obj.get("status") or {}).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism", 0)
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(obj: Object, now: datetime) -> str:
    status = obj.get("status") or {}
    started = status.get("startTime")
    if not started:
        return ""
    completed = status.get("completionTime")
    end = times.parse(completed) if completed else now
    return times.duration(end - times.parse(started))


def controller_revision(obj: Object, now: datetime) -> list[Any]:
    owner = meta.controller_of(obj)
    controller = NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = ".".join(filter(None, (owner["kind"], group))).lower()
        controller = f"{kind}/{owner['name']}"
    return [name(obj), controller, obj.get("revision", 0), age(obj, now)]


def stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [name(obj), ready, age(obj, now), *containers_and_images(spec["template"])]


def replication_controller(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        name(obj),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj, now),
        *containers_and_images(spec.get("template") or {}),
        labels_text(spec.get("selector")),
    ]


def pod_template(obj: Object, now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    return [name(obj), *containers_and_images(template), labels_text((template.get("metadata") or {}).get("labels"))]


def cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    suspended = spec.get("suspend")
    last = status.get("lastScheduleTime")
    made = spec["jobTemplate"].get("spec") or {}
    return [
        name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        UNSET if suspended is None else str(suspended),
        len(status.get("active") or ()),
        times.age(last, now) if last else NONE,
        age(obj, now),
        *containers_and_images(made.get("template") or {}),
        selector_text(made.get("selector")),
    ]
