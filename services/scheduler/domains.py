"""Counting pods by topology domain, which spreading and pod (anti-)affinity have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from services.scheduler.snapshot import Codes, Mask, PlacedPod, Snapshot
from shared.objects import selectors

Matcher = Callable[[str, Mapping[str, str]], bool]


class DomainCount:
    """How many matching pods stand in each domain of one topology key; kept true while a round places pods."""

    def __init__(self, snapshot: Snapshot, topology_key: str, matches: Matcher, *, counted: Mask | None = None) -> None:
        self.snapshot = snapshot
        self.matches = matches
        self.codes: Codes
        self.codes, values = snapshot.nodes.label_codes(topology_key)
        self.counted = self.codes >= 0 if counted is None else counted & (self.codes >= 0)
        self.counts: npt.NDArray[np.int64] = np.zeros(len(values), dtype=np.int64)
        for node, pods in snapshot.placed.items():
            if node in snapshot.nodes.rows:
                for pod in pods.values():
                    self.add(pod)

    def add(self, pod: PlacedPod) -> None:
        """Count a pod that has just been placed."""
        row = self.snapshot.nodes.rows[pod.node]
        if self.counted[row] and not pod.deleting and self.matches(pod.namespace, pod.labels):
            self.counts[self.codes[row]] += 1

    def by_node(self) -> npt.NDArray[np.int64]:
        """The count of each node's domain; 0 where the node has no such label."""
        if not len(self.counts):
            return np.zeros(len(self.codes), dtype=np.int64)
        return np.where(self.codes >= 0, self.counts[self.codes], 0)

    def least(self, expected: int = 1) -> int:
        """The smallest count among the domains that have a counted node; 0 if these are fewer than `expected`."""
        domains = np.unique(self.codes[self.counted])
        return int(self.counts[domains].min()) if len(domains) >= max(expected, 1) else 0


def selector_matcher(namespace: str, selector: Mapping[str, Any] | None) -> Matcher:
    """Pods of one namespace that a LabelSelector selects; no selector matches nothing."""
    if selector is None:
        return lambda _namespace, _labels: False
    compiled = selectors.from_label_selector(dict(selector))
    return lambda pod_namespace, labels: pod_namespace == namespace and compiled.matches(labels)


def term_matcher(namespace: str, term: Mapping[str, Any], namespaces: Mapping[str, Mapping[str, str]]) -> Matcher:
    """Pods that a PodAffinityTerm means; without namespaces of its own it looks at the pod's."""
    selector = term.get("labelSelector")
    if selector is None:
        return lambda _namespace, _labels: False
    compiled = selectors.from_label_selector(dict(selector))
    names = set(term.get("namespaces") or ())
    if (namespace_selector := term.get("namespaceSelector")) is not None:
        of_namespaces = selectors.from_label_selector(dict(namespace_selector))
        names |= {name for name, labels in namespaces.items() if of_namespaces.matches(labels)}
    elif not names:
        names = {namespace}
    return lambda pod_namespace, labels: pod_namespace in names and compiled.matches(labels)


def with_pod_labels(term: Mapping[str, Any], labels: Mapping[str, str]) -> Mapping[str, Any]:
    """The term with its `matchLabelKeys` and `mismatchLabelKeys` filled in from the labels of the pod that has it.

    Source: KEP-3633. A key that the pod does not have, and a term without a labelSelector, say nothing.
    """
    selector = term.get("labelSelector")
    wanted = [
        {"key": key, "operator": operator, "values": [labels[key]]}
        for operator, field in (("In", "matchLabelKeys"), ("NotIn", "mismatchLabelKeys"))
        for key in term.get(field) or ()
        if key in labels
    ]
    if selector is None or not wanted:
        return term
    expressions = [*(selector.get("matchExpressions") or ()), *wanted]
    return {**term, "labelSelector": {**selector, "matchExpressions": expressions}}
