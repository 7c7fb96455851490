"""Resources: what a pod asks for, what the node has granted, and what its containers really have. Pure.

They differ while a resize (KEP-1287) is under way; the conditions PodResizePending and PodResizeInProgress tell why.
"""

from collections.abc import Mapping
from typing import Any

from services.nodeagent.pods import specs
from services.nodeagent.pods.records import Failure, PodRecord

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
_KINDS = ("initContainers", "containers")


def desired(spec: Mapping[str, Any]) -> dict[str, Any]:
    return dict(spec.get("resources") or {})


def granted(spec: Mapping[str, Any], record: PodRecord) -> dict[str, Any]:
    """A container's spec with the resources that the node has granted."""
    container = record.containers.get(spec["name"])
    held = container.allocated if container is not None else None
    return dict(spec) if held is None else {**spec, "resources": held}


def granted_pod(pod: Mapping[str, Any], record: PodRecord) -> dict[str, Any]:
    """A pod as the node has granted it."""
    changed = {kind: [granted(spec, record) for spec in pod["spec"].get(kind) or ()] for kind in _KINDS}
    return {**pod, "spec": {**pod["spec"], **{kind: found for kind, found in changed.items() if found}}}


def needs_restart(spec: Mapping[str, Any], present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether any resource that changes may only change with a restart."""
    policies = {one["resourceName"]: one.get("restartPolicy") for one in spec.get("resizePolicy") or ()}
    changed = {
        name
        for kind in ("requests", "limits")
        for name in {*(present.get(kind) or {}), *(wanted.get(kind) or {})}
        if (present.get(kind) or {}).get(name) != (wanted.get(kind) or {}).get(name)
    }
    return any(policies.get(name) == "RestartContainer" for name in changed)


def conditions(pod: Mapping[str, Any], record: PodRecord) -> list[dict[str, Any]]:
    """The pod's conditions of a resize that is under way; none without one."""
    found: list[dict[str, Any]] = []
    for spec in (*specs.init_containers(pod), *specs.app_containers(pod)):
        container = record.containers.get(spec["name"])
        if container is None or not container.running:
            continue
        failure = container.resize_failure
        if container.allocated is not None and container.allocated != desired(spec):
            if failure is not None and failure.reason in ("Deferred", "Infeasible"):
                found.append(_condition(PENDING, failure))
        elif container.resources != desired(spec):
            found.append(_condition(IN_PROGRESS, failure))
    return list({condition["type"]: condition for condition in found}.values())


def _condition(kind: str, failure: Failure | None) -> dict[str, Any]:
    condition = {"type": kind, "status": "True"}
    if failure is not None:
        condition |= {"reason": failure.reason, "message": failure.message}
    return condition
