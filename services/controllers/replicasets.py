"""ReplicaSets, and ReplicationControllers before them: as many pods of one template as asked for.

The decision counts pods in a cache that has passed the controller's own last write, so no expectations are kept; the
names of new pods are chosen (see `naming`), so a crash between create and cache never doubles one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from services.controllers import conditions, naming, pods, ranking
from services.controllers.actions import (
    NOTHING,
    Action,
    Create,
    Delete,
    Failure,
    Key,
    Moment,
    Object,
    Plan,
    Together,
    Update,
    soonest,
)
from services.controllers.claims import claim, ref_of
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta, selectors
from shared.objects.selectors import LabelSelector

REPLICASETS = ("apps", "replicasets")
BURST = 500
"""Most pods created or deleted in one reconciliation; status is written between bursts."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a ReplicaSet's decision depends on. `fresh_names` holds at least as many names as may be created."""

    replicaset: Object
    pods: Sequence[Object]
    related: Sequence[Object]
    fresh_names: Sequence[str]
    now: float
    failure: Failure | None = None
    resource: tuple[str, str] = REPLICASETS


def missing(replicaset: Object, owned: Iterable[Object]) -> int:
    """How many pods to create (positive) or delete (negative), at most BURST either way."""
    wanted = replicaset["spec"].get("replicas", 1)
    have = sum(1 for pod in owned if meta.pod_active(pod))
    return max(-BURST, min(BURST, int(wanted) - have))


def decide(situation: Situation) -> Plan:
    """Status first, then creations or deletions; nothing is created for a ReplicaSet that is going away."""
    replicaset = situation.replicaset
    actions: list[Action] = []
    status, again_after = status_of(situation)
    if status != replicaset.get("status", {}):
        changed = {**replicaset, "status": status}
        actions.append(Update(ref_of(*situation.resource, replicaset), changed, "status"))
    if not meta.is_deleting(replicaset):
        actions += _adjust(situation)
    return Plan(tuple(actions), again_after)


def _adjust(situation: Situation) -> list[Action]:
    replicaset = situation.replicaset
    difference = missing(replicaset, situation.pods)
    if difference > 0:
        prefix = replicaset["metadata"]["name"] + "-"
        template = replicaset["spec"]["template"]
        made = [pods.from_template(template, replicaset, name, prefix) for name in situation.fresh_names[:difference]]
        return [Together(tuple(Create(ref_of(*PODS, pod), pod, regarding=replicaset) for pod in made), True)]
    if difference < 0:
        active = [pod for pod in situation.pods if meta.pod_active(pod)]
        doomed = ranking.first(active, situation.related, -difference, situation.now)
        return [Together(tuple(deletion(pod, replicaset) for pod in doomed))]
    return []


def deletion(pod: Object, owner: Object) -> Delete:
    """Delete exactly this pod, recorded on its owner."""
    return Delete(ref_of(*PODS, pod), uid=pod["metadata"]["uid"], regarding=owner)


def status_of(situation: Situation) -> tuple[Object, float | None]:
    """The status that the pods amount to, and in how many seconds a ready pod becomes available."""
    replicaset = situation.replicaset
    spec = replicaset["spec"]
    active = [pod for pod in situation.pods if meta.pod_active(pod)]
    template_labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    waits = [pods.available_after(pod, spec.get("minReadySeconds", 0), situation.now) for pod in active]
    old = replicaset.get("status", {})
    status: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(1 for pod in active if template_labels.items() <= meta.labels(pod).items()),
        "readyReplicas": sum(1 for wait in waits if wait is not None),
        "availableReplicas": sum(1 for wait in waits if wait == 0.0),
        "observedGeneration": replicaset["metadata"].get("generation", 0),
    }
    if situation.resource == REPLICASETS:
        # a ReplicationController does not tell
        status["terminatingReplicas"] = sum(1 for pod in situation.pods if pods.is_terminating(pod))
    for name in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        if not status[name]:
            del status[name]
    kept = _failure_condition(list(old.get("conditions") or ()), situation)
    if kept:
        status["conditions"] = kept
    return status, soonest(*(wait for wait in waits if wait))


def _failure_condition(current: list[Object], situation: Situation) -> list[Object]:
    failure = situation.failure
    if failure is None:
        return conditions.without(current, "ReplicaFailure")
    new = conditions.make("ReplicaFailure", "True", failure.reason, failure.message, situation.now)
    return conditions.put(current, new)


class ReplicaSets:
    """Gathers a ReplicaSet's situation from the view."""

    name = "replicaset"
    workers = 5
    resource = REPLICASETS
    kind = "ReplicaSet"

    def selector_of(self, replicaset: Object) -> LabelSelector:
        """Which pods are its own."""
        return _label_selector(replicaset)

    def keys(self, view: View) -> Iterable[Key]:
        """Every ReplicaSet."""
        return [meta.key(replicaset) for replicaset in view.every(*self.resource)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The ReplicaSet itself; of a pod, its controller, or every ReplicaSet that could adopt it."""
        if ref[:2] == self.resource:
            return [(ref.namespace, ref.name)]
        if ref[:2] != PODS:
            return []
        adopters = partial(view.every, *self.resource, ref.namespace)
        return owner_keys(self.kind, obj, previous, adopters, self.selector_of)

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Claim pods first; once nothing is left to claim, adjust their number."""
        replicaset = view.get(*self.resource, *key)
        if replicaset is None:
            return NOTHING
        namespace, name = key
        ref = Ref(*self.resource, namespace, name)
        selector = self.selector_of(replicaset)
        controlled = view.controlled(replicaset, *PODS)
        claimed = claim(replicaset, ref, selector, *PODS, controlled, view.loose(*PODS, namespace))
        if claimed.actions:
            return Plan(claimed.actions)
        difference = 0 if meta.is_deleting(replicaset) else missing(replicaset, claimed.mine)
        fresh = fresh_pod_names(replicaset, name + "-", difference, view)
        related = related_pods(replicaset, view) if difference < 0 else ()
        found = Situation(replicaset, claimed.mine, related, fresh, moment.now, moment.failure, self.resource)
        return decide(found)


class ReplicationControllers(ReplicaSets):
    """The same for ReplicationControllers, which select by equality alone."""

    name = "replication"
    resource = ("", "replicationcontrollers")
    kind = "ReplicationController"

    def selector_of(self, replicaset: Object) -> LabelSelector:
        """Which pods are its own."""
        return selectors.from_label_selector({"matchLabels": replicaset["spec"]["selector"]})


def _label_selector(owner: Object) -> LabelSelector:
    return selectors.from_label_selector(owner["spec"]["selector"])


def fresh_pod_names(owner: Object, prefix: str, wanted: int, view: View, part: str = "") -> list[str]:
    """Names for `wanted` new pods of an owner; `part` tells apart sequences of one owner (a node, an index)."""
    namespace = owner["metadata"]["namespace"]
    seed = f"{owner['metadata']['uid']}/{part}"
    return naming.free(prefix, seed, lambda name: view.used(Ref(*PODS, namespace, name)), wanted)


def related_pods(replicaset: Object, view: View) -> list[Object]:
    """Pods of all ReplicaSets that share this one's controller (the revisions of one Deployment)."""
    owner = meta.controller_of(replicaset)
    if owner is None:
        return view.controlled(replicaset, *PODS)
    siblings = (view.at(ref) for ref in view.dependents(owner["uid"]) if ref[:2] == REPLICASETS)
    return [pod for sibling in siblings if sibling is not None for pod in view.controlled(sibling, *PODS)]


def owner_keys(
    kind: str,
    obj: Object | None,
    previous: Object | None,
    adopters: Callable[[], Iterable[Object]],
    selector_of: Callable[[Object], LabelSelector] = _label_selector,
) -> set[Key]:
    """Whom a changed dependent concerns: its old and new controller of this kind, or those whose selector matches."""
    found: set[Key] = set()
    for version in (obj, previous):
        owner = meta.controller_of(version) if version is not None else None
        if version is not None and owner is not None and owner.get("kind") == kind:
            found.add((version["metadata"]["namespace"], owner["name"]))
    if obj is not None and meta.controller_of(obj) is None and not meta.is_deleting(obj):
        found |= {meta.key(adopter) for adopter in adopters() if selector_of(adopter).matches(meta.labels(obj))}
    return found
