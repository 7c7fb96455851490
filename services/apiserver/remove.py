"""Deletion: what a DELETE does to an object, as a pure decision, and the collection of them.

An object goes at once unless something holds it: finalizers, the `kubernetes` finalizer of a namespace's spec, or the
grace period of a pod on a node. A held object is marked with deletionTimestamp and goes with the last hold.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.apiserver import definitions, strategies
from services.apiserver.failures import conflict_on
from services.apiserver.protocol import Object
from shared.objects import times
from shared.objects.registry import Resource

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
DEFAULT_GRACE_SECONDS = 30
JOBS = ("batch", "jobs")
ORPHANING = frozenset({JOBS, ("", "replicationcontrollers")})
"""Whose dependents stay unless the client says otherwise, as they did before there was garbage collection."""
ORPHANED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


@dataclass(frozen=True, slots=True)
class Removal:
    """`object` as it is to be stored, or as it was when it goes; `changed` is False if it stays as it is."""

    object: Object
    gone: bool
    changed: bool = True


def warnings_of(resource: Resource, options: Object) -> list[str]:
    """What a client should know who does not say what becomes of dependents."""
    silent = options.get("propagationPolicy") is None and options.get("orphanDependents") is None
    return [ORPHANED] if silent and strategies.key(resource) == JOBS else []


def check_preconditions(resource: Resource, obj: Object, options: Object) -> None:
    """Conflict unless uid and resourceVersion are those the client expects."""
    preconditions = options.get("preconditions") or {}
    metadata = obj["metadata"]
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    if uid is not None and uid != metadata.get("uid"):
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({metadata.get('uid')}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict_on("", resource.kind, metadata["name"], why)
    if version is not None and version != metadata.get("resourceVersion"):
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata.get('resourceVersion')}). The object might have been modified"
        )
        raise conflict_on("", resource.kind, metadata["name"], why)


def decide(resource: Resource, stored: Object, options: Object, now: datetime) -> Removal:
    """What a DELETE makes of a stored object; `stored` is not changed."""
    # nothing deeper than this is changed, and what is not changed is shared
    obj = {**stored, "metadata": dict(stored["metadata"])}
    metadata = obj["metadata"]
    _set_propagation(resource, metadata, options)
    if strategies.key(resource) == ("", "pods"):
        return _remove_pod(resource, obj, stored, options, now)
    if strategies.key(resource) == definitions.KEY:
        definitions.hold(obj)
    if not strategies.is_held(resource, obj):
        return Removal(obj, gone=True)
    if "deletionTimestamp" in metadata:
        return Removal(obj, gone=False, changed=obj != stored)
    _mark(metadata, now, None if resource.plural == "namespaces" else 0)
    strategies.initial_deletion(resource, obj)
    return Removal(obj, gone=False)


def _remove_pod(resource: Resource, obj: Object, stored: Object, options: Object, now: datetime) -> Removal:
    metadata, spec = obj["metadata"], obj.get("spec", {})
    asked = options.get("gracePeriodSeconds")
    grace = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS) if asked is None else asked
    grace = 1 if grace < 0 else grace
    on_node = bool(spec.get("nodeName")) and obj.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    if not on_node:
        grace = 0
    if "deletionTimestamp" not in metadata:
        _mark(metadata, now, grace)
    elif (asked is not None or not on_node) and grace < metadata.get("deletionGracePeriodSeconds", 0):
        # a later DELETE may only shorten what was granted
        granted = timedelta(seconds=metadata["deletionGracePeriodSeconds"] - grace)
        metadata["deletionTimestamp"] = times.format_time(times.parse(metadata["deletionTimestamp"]) - granted)
        metadata["deletionGracePeriodSeconds"] = grace
    waits = metadata.get("deletionGracePeriodSeconds", 0) > 0
    if waits or strategies.is_held(resource, obj):
        return Removal(obj, gone=False, changed=obj != stored)
    return Removal(obj, gone=True)


def is_finished(resource: Resource, obj: Object) -> bool:
    """Whether an update took the last hold off an object that is being deleted."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("deletionGracePeriodSeconds"):
        return False
    return not strategies.is_held(resource, obj)


def _set_propagation(resource: Resource, metadata: Object, options: Object) -> None:
    policy = options.get("propagationPolicy")
    if policy is None:
        orphan = options.get("orphanDependents")
        if orphan is None:
            chosen = {ORPHAN, FOREGROUND}.intersection(metadata.get("finalizers") or ())
            if chosen or strategies.key(resource) not in ORPHANING:
                return
            orphan = True
        policy = "Orphan" if orphan else "Background"
    kept = [one for one in metadata.get("finalizers") or () if one not in (ORPHAN, FOREGROUND)]
    added = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(policy, [])
    finalizers = [*kept, *added]
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _mark(metadata: Object, now: datetime, grace: int | None) -> None:
    metadata["deletionTimestamp"] = times.format_time(now + timedelta(seconds=grace or 0))
    if grace is not None:
        metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation", 0) > 0:
        metadata["generation"] += 1
