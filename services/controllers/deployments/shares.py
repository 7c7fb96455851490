"""How many replicas each ReplicaSet of a Deployment may have: surge, availability and proportional scaling.

Pure arithmetic, the same as Kubernetes' deploymentutil, so that `kubectl rollout status` sees the familiar sequence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from services.controllers import instants
from services.controllers.actions import Object
from services.controllers.percentages import scaled
from shared.objects import meta

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"


def desired(obj: Object) -> int:
    """spec.replicas of a Deployment or ReplicaSet."""
    return int(obj["spec"].get("replicas", 1))


def available(replicaset: Object) -> int:
    """Pods of a ReplicaSet that its status counts as available."""
    return int(replicaset.get("status", {}).get("availableReplicas", 0))


def actual(replicaset: Object) -> int:
    """Pods of a ReplicaSet that its status counts at all."""
    return int(replicaset.get("status", {}).get("replicas", 0))


def is_rolling(deployment: Object) -> bool:
    """Whether the strategy is RollingUpdate, the default."""
    return bool(deployment["spec"].get("strategy", {}).get("type", "RollingUpdate") == "RollingUpdate")


def fenceposts(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods; never both zero, for then a rollout could not move.

    maxUnavailable never exceeds the number of replicas; both are zero for Recreate.
    """
    if not is_rolling(deployment):
        return 0, 0
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    replicas = desired(deployment)
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def new_size(deployment: Object, everything: Iterable[Object], newest: int) -> int:
    """How many replicas the newest ReplicaSet, now at `newest`, may have with `everything` (itself included) there."""
    replicas = desired(deployment)
    if not is_rolling(deployment) or newest > replicas:
        return replicas
    ceiling = replicas + fenceposts(deployment)[0]
    total = sum(desired(replicaset) for replicaset in everything)
    if total >= ceiling:
        return newest
    return newest + min(ceiling - total, replicas - newest)


def old_sizes(deployment: Object, newest: Object | None, old: Sequence[Object]) -> dict[str, int]:
    """New sizes of old ReplicaSets (by name) during a rolling update: first those pods that do not work anyway.

    Only as many go as leave replicas - maxUnavailable available pods behind.
    """
    sizes = {replicaset["metadata"]["name"]: desired(replicaset) for replicaset in old}
    everything = [*old, *([newest] if newest is not None else [])]
    minimum = desired(deployment) - fenceposts(deployment)[1]
    not_yet = desired(newest) - available(newest) if newest is not None else 0
    allowed = sum(desired(replicaset) for replicaset in everything) - minimum - not_yet
    if allowed <= 0 or not any(sizes.values()):
        return sizes
    for replicaset in sorted(old, key=_age):
        name = replicaset["metadata"]["name"]
        broken = min(allowed, max(0, sizes[name] - available(replicaset)))
        sizes[name] -= broken
        allowed -= broken
    spare = sum(available(replicaset) for replicaset in everything) - minimum
    for replicaset in sorted(old, key=_age):
        name = replicaset["metadata"]["name"]
        working = max(0, min(spare, sizes[name]))
        sizes[name] -= working
        spare -= working
    return sizes


def proportional(deployment: Object, active: Sequence[Object]) -> dict[str, int]:
    """New sizes (by name) of several active ReplicaSets after the Deployment was scaled in the middle of a rollout.

    Each gets a share of the difference that corresponds to its own size; what rounding leaves goes to the largest.
    """
    replicas = desired(deployment)
    ceiling = replicas + fenceposts(deployment)[0] if replicas > 0 else 0
    difference = ceiling - sum(desired(replicaset) for replicaset in active)
    ordered = sorted(active, key=_age, reverse=difference > 0)
    ordered.sort(key=desired, reverse=True)
    sizes: dict[str, int] = {}
    given = 0
    for replicaset in ordered:
        share = _share(deployment, replicaset, difference, given)
        sizes[replicaset["metadata"]["name"]] = desired(replicaset) + share
        given += share
    if ordered:
        largest = ordered[0]["metadata"]["name"]
        sizes[largest] = max(0, sizes[largest] + difference - given)
    return sizes


def annotated(annotations: Mapping[str, str], name: str) -> int | None:
    """The integer in an annotation, None if absent or malformed."""
    try:
        return int(annotations[name])
    except (KeyError, ValueError):
        return None


def _share(deployment: Object, replicaset: Object, difference: int, given: int) -> int:
    size = desired(replicaset)
    if size == 0 or difference in (0, given):
        return 0
    replicas = desired(deployment)
    if replicas == 0:
        fraction = -size
    else:
        before = annotated(meta.annotations(replicaset), MAXIMUM) or deployment.get("status", {}).get("replicas", 0)
        if not before:
            return 0
        fraction = math.floor(size * (replicas + fenceposts(deployment)[0]) / before + 0.5) - size
    left = difference - given
    return min(fraction, left) if difference > 0 else max(fraction, left)


def _age(replicaset: Object) -> tuple[float, str]:
    metadata = replicaset["metadata"]
    return instants.seconds(metadata.get("creationTimestamp")), metadata["name"]
