"""DaemonSets: gathers nodes, pods and revisions of one, and turns the next step into actions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from services.controllers import history
from services.controllers.actions import NOTHING, Action, Create, Key, Moment, Object, Plan, Together, Update, soonest
from services.controllers.claims import Claim, claim, ref_of
from services.controllers.daemonsets import nodes, rollout
from services.controllers.history import HASH_LABEL, REVISIONS
from services.controllers.replicasets import BURST, deletion, fresh_pod_names, owner_keys
from services.controllers.view import NODES, PODS, View
from shared.events.subjects import Ref
from shared.objects import meta, selectors

DAEMONSETS = ("apps", "daemonsets")


class DaemonSets:
    """Reconciles DaemonSets; woken by them, their pods and revisions, and by nodes."""

    name = "daemonset"
    workers = 2

    def keys(self, view: View) -> Iterable[Key]:
        """Every DaemonSet."""
        return [meta.key(daemonset) for daemonset in view.every(*DAEMONSETS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The DaemonSet itself, the controller of a pod or revision, all of them when a node's nature changes."""
        if ref[:2] == DAEMONSETS:
            return [(ref.namespace, ref.name)]
        if ref[:2] in (PODS, REVISIONS):
            return owner_keys("DaemonSet", obj, previous, lambda: view.every(*DAEMONSETS, ref.namespace))
        if ref[:2] == NODES and _nature(obj) != _nature(previous):
            return self.keys(view)
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Claim, then settle the history, then place pods and report status."""
        daemonset = view.get(*DAEMONSETS, *key)
        if daemonset is None:
            return NOTHING
        owned = _claim(daemonset, PODS, view)
        kept = _claim(daemonset, REVISIONS, view)
        if owned.actions or kept.actions:
            return Plan((*owned.actions, *kept.actions))
        name = f"{key[1]}-{history.template_hash(daemonset)}"
        recorded = history.decide(daemonset, DAEMONSETS, kept.mine, view.get(*REVISIONS, key[0], name))
        if recorded.actions and not meta.is_deleting(daemonset):
            return Plan(recorded.actions)
        situation = _situation(daemonset, owned.mine, recorded.current_hash, view, moment)
        step = rollout.Step()
        if not meta.is_deleting(daemonset):
            step = rollout.place_pods(situation)
            rollout.update(situation, step)
        status, waits = rollout.status_of(situation)
        actions: list[Action] = list(step.notes)
        if status != daemonset.get("status", {}):
            actions.append(Update(ref_of(*DAEMONSETS, daemonset), {**daemonset, "status": status}, "status"))
        actions += _changes(daemonset, step, recorded.current_hash, view)
        if not meta.is_deleting(daemonset):
            used = {meta.labels(pod).get(HASH_LABEL) for pod in owned.mine}
            actions += history.expired(daemonset, kept.mine, lambda one: meta.labels(one).get(HASH_LABEL) in used)
        return Plan(tuple(actions), soonest(step.again_after, waits))


def _claim(daemonset: Object, what: tuple[str, str], view: View) -> Claim:
    return claim(
        daemonset,
        ref_of(*DAEMONSETS, daemonset),
        selectors.from_label_selector(daemonset["spec"]["selector"]),
        *what,
        view.controlled(daemonset, *what),
        view.loose(*what, daemonset["metadata"]["namespace"]),
    )


def _situation(
    daemonset: Object, owned: Iterable[Object], current_hash: str, view: View, moment: Moment
) -> rollout.Situation:
    spec = nodes.daemon_spec(daemonset["spec"]["template"]["spec"])
    places = {node["metadata"]["name"]: nodes.place(spec, node) for node in view.every(*NODES)}
    on_node: dict[str, list[Object]] = defaultdict(list)
    for pod in owned:
        on_node[nodes.node_of(pod)].append(pod)
    return rollout.Situation(daemonset, places, on_node, current_hash, moment.now)


def _changes(daemonset: Object, step: rollout.Step, current_hash: str, view: View) -> list[Action]:
    prefix = daemonset["metadata"]["name"] + "-"
    actions: list[Action] = []
    if step.delete:
        actions.append(Together(tuple(deletion(pod, daemonset) for pod in step.delete[:BURST])))
    if step.create_on:
        made = [
            nodes.build(daemonset, node, fresh_pod_names(daemonset, prefix, 1, view, node)[0], current_hash)
            for node in step.create_on[:BURST]
        ]
        creations = tuple(Create(ref_of(*PODS, pod), pod, regarding=daemonset) for pod in made)
        actions.append(Together(creations, slow_start=True))
    return actions


def _nature(node: Object | None) -> object:
    if node is None:
        return None
    spec = node.get("spec", {})
    return meta.labels(node), spec.get("taints"), spec.get("unschedulable")
