"""Deployments: gathers the ReplicaSets of one and asks `rollout` for the next step."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Key, Moment, Note, Object, Plan, Update
from services.controllers.claims import claim, ref_of
from services.controllers.deployments import revisions
from services.controllers.deployments.rollout import DEPLOYMENTS, Situation, decide
from services.controllers.deployments.shares import actual
from services.controllers.deployments.status import Rollout
from services.controllers.replicasets import REPLICASETS, owner_keys
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta, selectors


class Deployments:
    """Reconciles Deployments; woken by them, their ReplicaSets and, for Recreate, the end of old pods."""

    name = "deployment"
    workers = 5

    def keys(self, view: View) -> Iterable[Key]:
        """Every Deployment."""
        return [meta.key(deployment) for deployment in view.every(*DEPLOYMENTS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The Deployment itself, the controller of a ReplicaSet, the grand-owner of a pod that is gone."""
        if ref[:2] == DEPLOYMENTS:
            return [(ref.namespace, ref.name)]
        if ref[:2] == REPLICASETS:
            return owner_keys("Deployment", obj, previous, lambda: view.every(*DEPLOYMENTS, ref.namespace))
        if ref[:2] == PODS and obj is None and previous is not None:
            return self._of_pod(previous, view)
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Claim ReplicaSets first; once nothing is left to claim, take the next step."""
        deployment = view.get(*DEPLOYMENTS, *key)
        if deployment is None:
            return NOTHING
        if not deployment["spec"]["selector"]:
            return _selects_everything(deployment)
        selector = selectors.from_label_selector(deployment["spec"]["selector"])
        claimed = claim(
            deployment,
            ref_of(*DEPLOYMENTS, deployment),
            selector,
            *REPLICASETS,
            view.controlled(deployment, *REPLICASETS),
            view.loose(*REPLICASETS, key[0]),
        )
        if claimed.actions:
            return Plan(claimed.actions)
        newest = revisions.current(deployment, claimed.mine)
        old = [replicaset for replicaset in claimed.mine if replicaset is not newest]
        occupant = None
        if newest is None:
            name = revisions.build(deployment, 0, 0)["metadata"]["name"]
            occupant = view.get(*REPLICASETS, key[0], name)
        situation = Situation(
            Rollout(deployment, newest, old), _any_runs(old, view), occupant, moment.now, moment.failure
        )
        return decide(situation)

    def _of_pod(self, pod: Object, view: View) -> Iterable[Key]:
        owner = meta.controller_of(pod)
        ref = view.by_uid(owner["uid"]) if owner is not None else None
        replicaset = view.at(ref) if ref is not None and ref[:2] == REPLICASETS else None
        above = meta.controller_of(replicaset) if replicaset is not None else None
        if above is None or above.get("kind") != "Deployment":
            return []
        return [(pod["metadata"]["namespace"], above["name"])]


def _any_runs(old: Iterable[Object], view: View) -> bool:
    return any(
        actual(replicaset) > 0 or any(not meta.pod_finished(pod) for pod in view.controlled(replicaset, *PODS))
        for replicaset in old
    )


def _selects_everything(deployment: Object) -> Plan:
    note = Note(
        deployment,
        "SelectingAll",
        "This deployment is selecting all pods. A non-empty selector is required.",
        "Warning",
    )
    generation = deployment["metadata"].get("generation", 0)
    if deployment.get("status", {}).get("observedGeneration", 0) >= generation:
        return Plan((note,))
    seen = {**deployment, "status": {**deployment.get("status", {}), "observedGeneration": generation}}
    return Plan((note, Update(ref_of(*DEPLOYMENTS, deployment), seen, "status")))
