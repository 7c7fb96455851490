"""The pod conditions that the API server itself sets."""

from services.apiserver.protocol import Object
from shared.objects import times


def gated() -> Object:
    """A pod with scheduling gates says so (KEP-3521)."""
    return _condition(
        "PodScheduled", "False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"
    )


def scheduled() -> Object:
    """A pod that was bound to a node."""
    return _condition("PodScheduled", "True")


def evicted() -> Object:
    """A pod that the eviction API is removing (KEP-3329)."""
    return _condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")


def migrating(kind: str, status: str, reason: str, message: str) -> Object:
    """A condition of a pod on its way between nodes."""
    return _condition(kind, status, reason, message)


def with_condition(status: Object, condition: Object) -> Object:
    """The status with the condition in place of an older one of its type."""
    kept = [one for one in status.get("conditions", ()) if one.get("type") != condition["type"]]
    return status | {"conditions": [*kept, condition]}


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> Object:
    condition: Object = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": times.now()}
    if reason:
        condition |= {"reason": reason, "message": message}
    return condition
