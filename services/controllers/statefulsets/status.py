"""The status of a StatefulSet, in the terms that `kubectl rollout status` reads."""

from __future__ import annotations

from services.controllers import pods
from services.controllers.actions import Object, soonest
from services.controllers.statefulsets import identity, rollout
from services.controllers.statefulsets.rollout import Situation
from shared.objects import meta


def status_of(situation: Situation) -> tuple[Object, float | None]:
    """The status that the pods amount to, and in how many seconds a ready pod becomes available.

    A rolling update is over, and its revision becomes the current one, once every replica is made from it and ready.
    """
    statefulset = situation.statefulset
    current, update = situation.current["metadata"]["name"], situation.update["metadata"]["name"]
    members = list(situation.members.values())
    ready = [pod for pod in members if rollout.is_ready(pod)]
    staying = [identity.revision_of(pod) for pod in members if not meta.is_deleting(pod)]
    counts = {
        "readyReplicas": len(ready),
        "currentReplicas": staying.count(current),
        "updatedReplicas": staying.count(update),
    }
    replicas = len(identity.ordinals(statefulset))
    if (
        rollout.is_rolling(statefulset)
        and len(members) == counts["updatedReplicas"] == counts["readyReplicas"] == replicas
    ):
        current = update
        counts["currentReplicas"] = counts["updatedReplicas"]
    old = statefulset.get("status", {})
    status: Object = {
        "observedGeneration": statefulset["metadata"].get("generation", 0),
        "replicas": len(members),
        **{name: number for name, number in counts.items() if number},
        "availableReplicas": sum(rollout.is_available(situation, pod) for pod in ready),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": old.get("collisionCount", 0),
    }
    if old.get("conditions"):
        status["conditions"] = old["conditions"]
    min_ready = int(statefulset["spec"].get("minReadySeconds", 0))
    waits = (pods.available_after(pod, min_ready, situation.now) for pod in ready)
    return status, soonest(*(wait for wait in waits if wait))
