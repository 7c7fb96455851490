"""What a node's silence means: its conditions become Unknown, its pods not ready, and taints keep new pods away.

Taints follow conditions, as in Kubernetes (KEP-382); who must leave because of them is decided in `eviction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.controllers import conditions, instants
from services.controllers.actions import NOTHING, Action, Key, Moment, Note, Object, Patch, Plan, Together
from services.controllers.claims import ref_of
from services.controllers.nodes.presence import Judgement, Presence
from services.controllers.view import NODES, PODS, View
from shared.events.subjects import Ref
from shared.objects import meta

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_MANAGED = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_BY_CONDITION.values()})


def decide(node: Object, on_node: Sequence[Object], judgement: Judgement, all_gone: bool, now: float) -> Plan:
    """The conditions, taints and pod readiness that follow from a judgement."""
    current = node.get("status", {}).get("conditions") or []
    actions: list[Action] = []
    if judgement.state == "gone":
        unknown = silent(current, now)
        if unknown:
            ready = conditions.find(current, "Ready")
            actions.append(Patch(ref_of(*NODES, node), _status(node, unknown), "strategic", "status"))
            if ready is not None and ready.get("status") == "True":
                name = node["metadata"]["name"]
                actions.append(Note(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady"))
        marked = tuple(_not_ready(pod, now) for pod in on_node if meta.pod_ready(pod))
        if marked:
            actions.append(Together(marked))
        if unknown:
            # the taints are written as a whole, so for the version of the node that was looked at: by the next plan,
            # which the new conditions call for
            return Plan(tuple(actions), judgement.again_after)
    wanted = taints(node, current, now, evicting=not all_gone)
    if judgement.state != "unsure" and wanted != (node.get("spec", {}).get("taints") or []):
        metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
        actions.append(Patch(ref_of(*NODES, node), {"metadata": metadata, "spec": {"taints": wanted or None}}))
    return Plan(tuple(actions), judgement.again_after)


def silent(current: Sequence[Object], now: float) -> list[Object]:
    """The conditions to write because the node no longer reports; none if they say so already."""
    found = []
    for kind in _REPORTED:
        condition = conditions.find(current, kind)
        if condition is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        else:
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        if condition is None or condition.get("status") != "Unknown":
            heartbeat = (condition or {}).get("lastHeartbeatTime") or instants.text(now)
            found.append(conditions.make(kind, "Unknown", reason, message, now, lastHeartbeatTime=heartbeat))
    return found


def taints(node: Object, current: Sequence[Object], now: float, *, evicting: bool) -> list[Object]:
    """The node's taints as its conditions want them; others' taints and the times of standing ones are kept.

    Without `evicting` no NoExecute taint is added, but one that stands and still applies is kept.
    """
    present = node.get("spec", {}).get("taints") or []
    wanted = _wanted(node, current)
    kept = [taint for taint in present if taint["key"] not in _MANAGED or (taint["key"], taint["effect"]) in wanted]
    there = {(taint["key"], taint["effect"]) for taint in kept}
    for key, effect in wanted:
        if (key, effect) not in there and (evicting or effect != "NoExecute"):
            kept.append({"key": key, "effect": effect, "timeAdded": instants.text(now)})
    return kept


def _wanted(node: Object, current: Sequence[Object]) -> list[tuple[str, str]]:
    wanted: list[tuple[str, str]] = []
    ready = conditions.find(current, "Ready")
    if ready is None:
        wanted.append((NOT_READY, "NoSchedule"))
    elif ready.get("status") == "False":
        wanted += [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]
    elif ready.get("status") == "Unknown":
        wanted += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    wanted += [(key, "NoSchedule") for kind, key in _BY_CONDITION.items() if conditions.is_true(current, kind)]
    if node.get("spec", {}).get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    return wanted


def _status(node: Object, changed: list[Object]) -> Object:
    return {"metadata": {"uid": meta.uid(node)}, "status": {"conditions": changed}}


def _not_ready(pod: Object, now: float) -> Patch:
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": instants.text(now)}
    body = {"metadata": {"uid": meta.uid(pod)}, "status": {"conditions": [condition]}}
    return Patch(ref_of(*PODS, pod), body, "strategic", "status")


class NodeLifecycle:
    """Reconciles Nodes; woken by them and, through the lease watch, by their appearance and silence."""

    name = "node_lifecycle"
    workers = 4

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def keys(self, view: View) -> Iterable[Key]:
        """Every node."""
        return [meta.key(node) for node in view.every(*NODES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The node itself."""
        return [("", ref.name)] if ref[:2] == NODES and obj is not None else []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Judge the node and act on it."""
        node = view.get(*NODES, *key)
        if node is None:
            return NOTHING
        judgement = self._presence.of(node)
        gone = judgement.state == "gone"
        on_node = view.pods_on(key[1]) if gone else []
        return decide(node, on_node, judgement, gone and self._presence.all_gone(view), moment.now)
