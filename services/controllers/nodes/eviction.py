"""Who must leave a tainted node, and when; and what becomes of pods whose node cannot confirm that they ended.

Kubernetes leaves pods on an unreachable node Terminating until an administrator acts. Here the broker has told us
that the node's lease is gone, so after their grace period they are removed, with an Event that says so; their
controllers and Services move on. Nothing of this happens while it is unsure who is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.controllers import instants
from services.controllers.actions import NOTHING, Action, Delete, Key, Moment, Note, Object, Patch, Plan
from services.controllers.claims import ref_of
from services.controllers.nodes.lifecycle import NOT_READY, UNREACHABLE
from services.controllers.nodes.presence import LOOK_AGAIN, Judgement, Presence
from services.controllers.view import NODES, PODS, View
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.tolerations import tolerates


def decide(pod: Object, taints: Sequence[Object], judgement: Judgement, all_gone: bool, now: float) -> Plan:
    """Evict, remove, wait or do nothing about a bound pod."""
    if meta.is_deleting(pod):
        return _remove(pod, judgement, all_gone, now)
    if meta.pod_finished(pod):
        return NOTHING
    due = due_in(pod, taints, now)
    if due is None:
        return NOTHING
    seconds, taint = due
    if seconds > 0:
        return Plan((), seconds)
    trusted = {UNREACHABLE: judgement.state == "gone" and not all_gone, NOT_READY: judgement.state == "alive"}
    if not trusted.get(taint["key"], True):
        return Plan((), judgement.again_after or LOOK_AGAIN)
    metadata = pod["metadata"]
    note = Note(pod, "TaintManagerEviction", f"Marking for deletion Pod {metadata['namespace']}/{metadata['name']}")
    mark = _disrupted(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now)
    return Plan((note, mark, Delete(ref_of(*PODS, pod), uid=meta.uid(pod))))


def due_in(pod: Object, taints: Sequence[Object], now: float) -> tuple[float, Object] | None:
    """Seconds until a NoExecute taint drives the pod out, and which one; None if it may stay for ever."""
    tolerations = pod["spec"].get("tolerations") or []
    found: list[tuple[float, Object]] = []
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
        limits = [one["tolerationSeconds"] for one in matching if one.get("tolerationSeconds") is not None]
        if not matching:
            found.append((0.0, taint))
        elif limits:
            since = instants.seconds(taint.get("timeAdded"), now)
            found.append((max(0.0, since + max(0, min(limits)) - now), taint))
    return min(found, key=lambda one: one[0], default=None)


def force(pod: Object, reason: str, message: str, now: float) -> list[Action]:
    """Record a pod as failed and remove it without its node's confirmation."""
    actions: list[Action] = []
    if not meta.pod_finished(pod):
        actions.append(_disrupted(pod, reason, message, now, failed=True))
    return [*actions, Delete(ref_of(*PODS, pod), uid=meta.uid(pod), grace=0)]


def _remove(pod: Object, judgement: Judgement, all_gone: bool, now: float) -> Plan:
    metadata = pod["metadata"]
    removed_before = metadata.get("deletionGracePeriodSeconds") == 0 and metadata.get("finalizers")
    if judgement.state == "alive" or removed_before:
        return NOTHING
    # deletionTimestamp is when the grace period ends, not when deletion was asked for.
    left = instants.seconds(metadata["deletionTimestamp"]) - now
    if judgement.state == "unsure" or all_gone:
        return Plan((), judgement.again_after or LOOK_AGAIN)
    if left > 0:
        return Plan((), left)
    node = pod["spec"]["nodeName"]
    message = f"Node {node} is gone (its lease ran out); the pod is removed without its confirmation"
    note = Note(pod, "NodeGone", message, "Warning")
    return Plan((note, *force(pod, "DeletionByTaintManager", message, now)))


def _disrupted(pod: Object, reason: str, message: str, now: float, *, failed: bool = False) -> Patch:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": instants.text(now),
    }
    status: Object = {"conditions": [condition], **({"phase": "Failed"} if failed else {})}
    return Patch(ref_of(*PODS, pod), {"metadata": {"uid": meta.uid(pod)}, "status": status}, "strategic", "status")


class TaintEviction:
    """Reconciles bound pods; woken by them, by the taints of their node and by its lease."""

    name = "taint_eviction"
    workers = 4

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def keys(self, view: View) -> Iterable[Key]:
        """Pods on nodes with NoExecute taints, and pods that are being deleted."""
        tainted = {meta.name(node) for node in view.every(*NODES) if _drives_out(node)}
        return [
            meta.key(pod)
            for node in view.nodes_with_pods()
            for pod in view.pods_on(node)
            if node in tainted or meta.is_deleting(pod)
        ]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """A pod that was bound, asked to end or changed its tolerations; all pods of a node whose taints changed."""
        if ref[:2] == PODS and obj is not None:
            return [(ref.namespace, ref.name)] if _facts(obj) != _facts(previous) else []
        if ref[:2] == NODES and obj is not None and _taints(obj) != _taints(previous):
            return self.of_node(ref.name, view)
        return []

    def of_node(self, node: str, view: View) -> list[Key]:
        """The pods bound to a node."""
        return [meta.key(pod) for pod in view.pods_on(node)]

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Look at one pod and its node."""
        pod = view.get(*PODS, *key)
        node_name = pod["spec"].get("nodeName") if pod is not None else None
        if pod is None or not node_name:
            return NOTHING
        node = view.get(*NODES, "", node_name)
        if node is None or not (meta.is_deleting(pod) or _drives_out(node)):
            return NOTHING
        judgement = self._presence.of(node)
        all_gone = judgement.state == "gone" and self._presence.all_gone(view)
        return decide(pod, _taints(node), judgement, all_gone, moment.now)


def _taints(node: Object | None) -> list[Object]:
    return (node or {}).get("spec", {}).get("taints") or []


def _drives_out(node: Object) -> bool:
    return any(taint.get("effect") == "NoExecute" for taint in _taints(node))


def _facts(pod: Object | None) -> object:
    if pod is None:
        return None
    spec = pod["spec"]
    return spec.get("nodeName"), spec.get("tolerations"), pod["metadata"].get("deletionTimestamp")
