"""Pods that nobody else cleans up: finished ones beyond a number, those of vanished nodes, unbound ones that end."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Action, Delete, Key, Moment, Note, Object, Plan, Together
from services.controllers.claims import ref_of
from services.controllers.nodes.eviction import force
from services.controllers.replicasets import BURST
from services.controllers.view import NODES, PODS, View
from shared.events.subjects import Ref
from shared.objects import meta

THRESHOLD = 12500
QUARANTINE = 40.0
"""Seconds that a Node object must have been missing before the pods bound to it are removed; a node that registers
anew takes its pods back within that time."""
AFTER_BURST = 1.0
"""Seconds between two bursts of deletions, for the end of a finished pod wakes nobody here."""
ALL_FINISHED: Key = ("finished", "")


def surplus(finished: list[Object], threshold: int = THRESHOLD) -> list[Object]:
    """The oldest finished pods beyond the threshold."""
    doomed = max(0, len(finished) - threshold)
    by_age = sorted(finished, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", meta.key(pod)))
    return by_age[:doomed]


def of_vanished(node: str, on_node: Iterable[Object], now: float) -> Plan:
    """Remove the pods of a node that no longer exists."""
    actions: list[Action] = []
    for pod in on_node:
        if pod["metadata"].get("deletionGracePeriodSeconds") == 0 and pod["metadata"].get("finalizers"):
            # Only its finalizers are left to wait for.
            continue
        message = f"PodGC: node {node} no longer exists"
        actions += [Note(pod, "NodeGone", message, "Warning"), *force(pod, "DeletionByPodGC", message, now)]
    # what the limit cut off, or was refused, is looked at again; so is whether the node has come back since
    return Plan(tuple(actions[: 3 * BURST]), QUARANTINE)


class PodGarbage:
    """Keys are ("node", name) for the pods of one node and one for all finished pods.

    Since when a Node is missing is remembered in memory only, while pods are bound to it: a restart begins the
    quarantine again.
    """

    name = "pod_garbage"
    workers = 1

    def __init__(self, threshold: int = THRESHOLD) -> None:
        self._threshold = threshold
        self._missing_since: dict[str, float] = {}

    def keys(self, view: View) -> Iterable[Key]:
        """Every node with pods, and the finished pods."""
        return [ALL_FINISHED, *(("node", name) for name in view.nodes_with_pods())]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The node that came or went; of a pod, its binding to a missing node and its end before any binding."""
        if ref[:2] == NODES and (obj is None or previous is None):
            return [("node", ref.name)]
        if ref[:2] != PODS or obj is None:
            return []
        if meta.pod_finished(obj) and (previous is None or not meta.pod_finished(previous)):
            return [ALL_FINISHED]
        node = obj["spec"].get("nodeName")
        if node and view.get(*NODES, "", node) is None:
            return [("node", node)]
        if not node and meta.is_deleting(obj):
            return [("unbound", f"{ref.namespace}/{ref.name}")]
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Look at one node's pods, one unbound pod, or all finished ones."""
        kind, name = key
        if key == ALL_FINISHED:
            return self._trim(view)
        if kind == "unbound":
            pod = view.get(*PODS, *name.split("/", 1))
            if pod is None or pod["spec"].get("nodeName") or not meta.is_deleting(pod):
                return NOTHING
            return Plan((Delete(ref_of(*PODS, pod), uid=meta.uid(pod), grace=0),))
        on_node = view.pods_on(name)
        if view.get(*NODES, "", name) is not None or not on_node:
            self._missing_since.pop(name, None)
            return NOTHING
        left = self._missing_since.setdefault(name, moment.now) + QUARANTINE - moment.now
        return of_vanished(name, on_node, moment.now) if left <= 0 else Plan((), left)

    def _trim(self, view: View) -> Plan:
        pods = view.every(*PODS)
        if len(pods) <= self._threshold:
            return NOTHING
        finished = [pod for pod in pods if meta.pod_finished(pod) and not meta.is_deleting(pod)]
        doomed = surplus(finished, self._threshold)
        if not doomed:
            return NOTHING
        deletions = tuple(Delete(ref_of(*PODS, pod), uid=meta.uid(pod)) for pod in doomed[:BURST])
        return Plan((Together(deletions),), AFTER_BURST if len(doomed) > BURST else None)
