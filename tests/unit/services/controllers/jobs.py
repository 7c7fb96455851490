"""Jobs and their pods as the cluster shows them, and what a step makes of them."""

from __future__ import annotations

from typing import Any

from services.controllers import instants
from services.controllers.actions import Delete, Together, Update
from services.controllers.jobs import indexes
from services.controllers.jobs.step import Need, Situation, decide
from services.controllers.jobs.tracking import FINALIZER
from shared.objects import meta
from tests.unit.services.controllers.objects import job, pod

NOW = 1_800_000_000.0
Object = dict[str, Any]


def stored(status: Object | None = None, **spec: Any) -> Object:
    """A Job that started 100 s ago."""
    defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, **spec}
    found = job(**{name: value for name, value in defaults.items() if value is not None})
    found["metadata"] |= {"uid": "j", "generation": 1, "resourceVersion": "3"}
    found["status"] = {"startTime": instants.text(NOW - 100), **(status or {})}
    return found


def indexed(**more: Any) -> Object:
    """An Indexed Job of four."""
    return stored(more.pop("status", None), completionMode="Indexed", **{"completions": 4, "parallelism": 2, **more})


def member(
    name: str, phase: str = "Running", *, counted: bool = False, index: int | None = None, age: float = 50
) -> Object:
    """A pod of the Job; one that ended did so `age` seconds ago, a failed one with exit code 1."""
    annotations = {} if index is None else {indexes.ANNOTATION: str(index)}
    found = pod(name, uid=name, annotations=annotations, creationTimestamp=instants.text(NOW - age))
    if not counted:
        found["metadata"]["finalizers"] = [FINALIZER]
    ready = str(phase == "Running")
    found["status"] = {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
    if phase in ("Succeeded", "Failed"):
        ended = {"exitCode": int(phase == "Failed"), "finishedAt": instants.text(NOW - age)}
        found["status"]["containerStatuses"] = [{"name": "main", "state": {"terminated": ended}}]
    return found


def step(obj: Object, *pods: Object, now: float = NOW) -> tuple[Any, Need]:
    """What the controller does, and the pods it needs beyond that."""
    return decide(Situation(obj, pods, now))


def status(obj: Object, *pods: Object, now: float = NOW) -> Object:
    """The status after the step."""
    plan, _ = step(obj, *pods, now=now)
    updates = [action for action in plan.actions if isinstance(action, Update)]
    return updates[0].obj["status"] if updates else obj["status"]


def condition(found: Object, kind: str) -> Object | None:
    """A condition of a status."""
    return meta.condition({"status": found}, kind)


def released(obj: Object, *pods: Object) -> list[str]:
    """Names of the pods whose finalizer comes off in the step."""
    plan, _ = step(obj, *pods)
    return [
        action.ref.name
        for group in plan.actions
        if isinstance(group, Together)
        for action in group.actions
        if not isinstance(action, Delete)
    ]


def exit_policy(action: str) -> Object:
    """A podFailurePolicy with one rule, on exit code 1."""
    return {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [1]}}]}
