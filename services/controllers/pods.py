"""What controllers need to know about a pod, and how they make one from a template."""

from __future__ import annotations

from services.controllers import conditions, instants
from services.controllers.actions import Object
from shared.objects import meta

FAILED_POD_PAUSE = 10.0
"""Seconds a failed pod whose place is fixed (by its node or its ordinal) stays before it is replaced, counted from its
creation, so that one that fails at once cannot turn into a storm of pods."""


def is_terminating(pod: Object) -> bool:
    """Whether the pod is being deleted but its containers may still run."""
    return meta.is_deleting(pod) and not meta.pod_finished(pod)


def ready_since(pod: Object) -> float | None:
    """When the pod became ready (seconds since the epoch), None if it is not."""
    condition = conditions.find(pod.get("status", {}).get("conditions"), "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    return instants.seconds(condition.get("lastTransitionTime"))


def available_after(pod: Object, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod counts as available, 0 if it is, None if it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    if min_ready_seconds <= 0:
        return 0.0
    return max(0.0, since + min_ready_seconds - now)


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    """Whether the pod has been ready for at least `min_ready_seconds`."""
    return available_after(pod, min_ready_seconds, now) == 0.0


def restarts(pod: Object) -> int:
    """The sum of its containers' restarts."""
    status = pod.get("status", {})
    return sum(entry.get("restartCount", 0) for entry in status.get("containerStatuses") or ())


def from_template(template: Object, owner: Object, name: str, prefix: str) -> Object:
    """A pod of `owner` made from a pod template; `prefix` is what a server-made name would have started with."""
    source = template.get("metadata") or {}
    metadata: Object = {
        "name": name,
        "generateName": prefix,
        "namespace": owner["metadata"]["namespace"],
        "labels": dict(source.get("labels") or {}),
        "annotations": dict(source.get("annotations") or {}),
        "ownerReferences": [meta.owner_reference(owner)],
    }
    if source.get("finalizers"):
        metadata["finalizers"] = list(source["finalizers"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": meta.copy(template["spec"]),
    }
