"""A Deployment's status and conditions: what `kubectl rollout status` and `kubectl wait` read.

Reasons and messages are Kubernetes' own. Progress is measured against progressDeadlineSeconds from the last update of
the Progressing condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.controllers import conditions, instants
from services.controllers.actions import Failure, Object
from services.controllers.deployments.shares import actual, available, desired, fenceposts

NO_DEADLINE = 2**31 - 1
AVAILABLE_REASON = "NewReplicaSetAvailable"
TIMED_OUT_REASON = "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Rollout:
    """A Deployment with its ReplicaSets; `newest` has the current template."""

    deployment: Object
    newest: Object | None
    old: Sequence[Object]

    @property
    def everything(self) -> list[Object]:
        """All ReplicaSets, old ones first."""
        return [*self.old, *([self.newest] if self.newest is not None else [])]


def counts(rollout: Rollout) -> Object:
    """The status without conditions."""
    old_status = rollout.deployment.get("status", {})
    total = sum(actual(replicaset) for replicaset in rollout.everything)
    working = sum(available(replicaset) for replicaset in rollout.everything)
    statuses = [replicaset.get("status", {}) for replicaset in rollout.everything]
    numbers = {
        "replicas": total,
        "updatedReplicas": actual(rollout.newest) if rollout.newest is not None else 0,
        "readyReplicas": sum(status.get("readyReplicas", 0) for status in statuses),
        "availableReplicas": working,
        "unavailableReplicas": max(0, total - working),
    }
    status: Object = {"observedGeneration": rollout.deployment["metadata"].get("generation", 0)}
    status |= {name: number for name, number in numbers.items() if number}
    status["terminatingReplicas"] = sum(status.get("terminatingReplicas", 0) for status in statuses)
    if old_status.get("collisionCount") is not None:
        status["collisionCount"] = old_status["collisionCount"]
    return status


def availability(rollout: Rollout, now: float) -> Object:
    """The Available condition."""
    minimum = desired(rollout.deployment) - fenceposts(rollout.deployment)[1]
    if sum(available(replicaset) for replicaset in rollout.everything) >= minimum:
        return progress("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    return progress(
        "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now
    )


def status_of(rollout: Rollout, current: list[Object], now: float, failure: Failure | None = None) -> Object:
    """The full status; `current` are the conditions so far, those made in this reconciliation included."""
    status = counts(rollout)
    found = conditions.put(list(current), availability(rollout, now))
    if not has_deadline(rollout.deployment):
        found = conditions.without(found, "Progressing")
    elif failure is not None and failure.reason == "ReplicaSetCreateError":
        found = conditions.put(found, progress("Progressing", "False", failure.reason, failure.message, now))
    else:
        found = _judge(rollout, status, found, now)
    broken = _replica_failure(rollout, now)
    found = conditions.put(found, broken) if broken else conditions.without(found, "ReplicaFailure")
    status["conditions"] = found
    return status


def _judge(rollout: Rollout, status: Object, found: list[Object], now: float) -> list[Object]:
    deployment = rollout.deployment
    current = conditions.find(found, "Progressing")
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and current is not None and current.get("reason") == AVAILABLE_REASON:
        return found
    subject = (
        f'ReplicaSet "{rollout.newest["metadata"]["name"]}"'
        if rollout.newest is not None
        else f'Deployment "{deployment["metadata"]["name"]}"'
    )
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        return conditions.put(found, progress("Progressing", "True", AVAILABLE_REASON, message, now))
    if _advanced(deployment.get("status", {}), status):
        new = progress("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        return conditions.replace(found, new)
    if timed_out(deployment, current, now):
        message = f"{subject} has timed out progressing."
        return conditions.put(found, progress("Progressing", "False", TIMED_OUT_REASON, message, now))
    return found


def is_complete(deployment: Object, status: Object) -> bool:
    """Whether all wanted pods, and only those, are of the current template and available."""
    replicas = desired(deployment)
    counted = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return bool(seen) and all(number == replicas for number in counted)


def timed_out(deployment: Object, current: Object | None, now: float) -> bool:
    """Whether a rollout that is under way made no progress for progressDeadlineSeconds."""
    if current is None or current.get("reason") == AVAILABLE_REASON:
        return False
    if current.get("reason") == TIMED_OUT_REASON:
        return True
    return instants.remaining(current.get("lastUpdateTime"), _deadline(deployment), now) < 0


def deadline_in(deployment: Object, status: Object, now: float) -> float | None:
    """Seconds until the rollout would time out, None if it cannot any more."""
    current = conditions.find(status.get("conditions"), "Progressing")
    if not has_deadline(deployment) or current is None or is_complete(deployment, status):
        return None
    if current.get("reason") in (AVAILABLE_REASON, TIMED_OUT_REASON, "DeploymentPaused"):
        return None
    return max(0.0, instants.remaining(current.get("lastUpdateTime"), _deadline(deployment), now)) + 1


def has_deadline(deployment: Object) -> bool:
    """Whether progressDeadlineSeconds is in force; the largest int32 switches it off."""
    return _deadline(deployment) != NO_DEADLINE


def progress(kind: str, status: str, reason: str, message: str, now: float) -> Object:
    """A Deployment condition; these carry lastUpdateTime as well."""
    return conditions.make(kind, status, reason, message, now, lastUpdateTime=instants.text(now))


def pause_condition(deployment: Object, current: list[Object], now: float) -> list[Object]:
    """Mark pause and resume, so that time spent paused does not count against the deadline."""
    if not has_deadline(deployment):
        return current
    found = conditions.find(current, "Progressing") or {}
    if found.get("reason") == TIMED_OUT_REASON:
        return current
    paused = bool(deployment["spec"].get("paused"))
    noted = found.get("reason") == "DeploymentPaused"
    if paused and not noted:
        new = progress("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
        return conditions.put(current, new)
    if noted and not paused:
        new = progress("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        return conditions.put(current, new)
    return current


def _deadline(deployment: Object) -> int:
    return int(deployment["spec"].get("progressDeadlineSeconds", NO_DEADLINE))


def _advanced(old: Object, new: Object) -> bool:
    def left(status: Object) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    return (
        new.get("updatedReplicas", 0) > old.get("updatedReplicas", 0)
        or left(new) < left(old)
        or new.get("readyReplicas", 0) > old.get("readyReplicas", 0)
        or new.get("availableReplicas", 0) > old.get("availableReplicas", 0)
    )


def _replica_failure(rollout: Rollout, now: float) -> Object | None:
    newest_first = [*([rollout.newest] if rollout.newest is not None else []), *rollout.old]
    for replicaset in newest_first:
        found = conditions.find(replicaset.get("status", {}).get("conditions"), "ReplicaFailure")
        if found is not None:
            return progress("ReplicaFailure", found["status"], found["reason"], found["message"], now)
    return None
