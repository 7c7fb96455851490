"""What one kind of pod finds on every node: filters say where it may run and why not, scores where it runs best.

Pods with the same specification share one evaluation in a round. What does not change during a round (labels, taints)
is computed once; room, ports and neighbours are looked at again for each pod, because the round itself changes them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.scheduler import selection
from services.scheduler.domains import DomainCount, selector_matcher, term_matcher, with_pod_labels
from services.scheduler.requests import CPU, MEMORY, PODS
from services.scheduler.snapshot import UNSCHEDULABLE_TAINT, Demand, Mask, PlacedPod, Snapshot
from services.scheduler.volumes import NOTHING, Needs
from shared.objects import tolerations
from shared.objects.hostports import clash

Scores = npt.NDArray[np.float64]
Failure = tuple[str, Mask]

SPREAD = "node(s) didn't match pod topology spread constraints"
HARD_EFFECTS = ("NoSchedule", "NoExecute")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
# How much each score weighs, as kube-scheduler's default profile documents it.
WEIGHTS = {"room": 1, "balance": 1, "spread": 2, "taints": 3, "node affinity": 2, "pod affinity": 2}


@dataclass(frozen=True, slots=True)
class Spread:
    """A topology spread constraint; `least_domains` as `minDomains`, `itself` is 1 if the pod matches its selector."""

    skew: int
    hard: bool
    itself: int
    least_domains: int
    count: DomainCount


class Evaluation:
    """Filters and scores of one pod specification against one snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        namespace: str,
        labels: Mapping[str, str],
        spec: Mapping[str, Any],
        namespaces: Mapping[str, Mapping[str, str]],
        volumes: Needs = NOTHING,
    ) -> None:
        self.snapshot = snapshot
        self.namespace = namespace
        self.labels = labels
        self.spec = spec
        self.namespaces = namespaces
        self.demand = Demand.of(snapshot.columns, spec)
        self.requests, self.scored, self.ports = self.demand
        self.vector = snapshot.columns.vector(self.requests)
        self.selected = selection.required(snapshot.nodes, spec)
        self.volumes = volumes
        self.tolerated = np.ones(len(snapshot.nodes.names), dtype=bool)
        self.static_failures = [*self._taint_failures(), *self._selection_failures()]
        self.volume_failures = list(volumes.failures(snapshot.nodes))
        self.static_scores = self._node_affinity_scores() + self._taint_scores()
        self._prepare_neighbours()

    def _selection_failures(self) -> Iterator[Failure]:
        yield "node(s) didn't match Pod's node affinity/selector", ~self.selected

    def _taint_failures(self) -> Iterator[Failure]:
        own = self.spec.get("tolerations") or ()
        cordoned = np.zeros(len(self.snapshot.nodes.names), dtype=bool)
        for row, taints in enumerate(self.snapshot.nodes.taints):
            left = [taint["key"] for taint in tolerations.untolerated(taints, own, HARD_EFFECTS)]
            self.tolerated[row] = not left
            cordoned[row] = UNSCHEDULABLE_TAINT["key"] in left
        yield "node(s) were unschedulable", cordoned
        yield "node(s) had untolerated taint(s)", ~self.tolerated

    def _prepare_neighbours(self, *, required: bool = False) -> None:
        """Count the neighbours that matter; with `required` only those that may rule a node out."""
        self.spreads: list[Spread] = []
        for constraint in self.spec.get("topologySpreadConstraints") or ():
            hard = constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
            if hard or not required:
                self.spreads.append(self._spread(constraint, hard=hard))
        if not (self.spreads or required) and self.labels:
            # Replicas of one workload carry the same labels; without a constraint they still prefer different nodes.
            matcher = selector_matcher(self.namespace, {"matchLabels": dict(self.labels)})
            count = DomainCount(self.snapshot, "kubernetes.io/hostname", matcher)
            self.spreads.append(Spread(1, False, 1, 1, count))
        affinity = self.spec.get("affinity") or {}
        self.attractions = self._terms(affinity.get("podAffinity") or {}, required=required)
        self.repulsions = self._terms(affinity.get("podAntiAffinity") or {}, required=required)
        self.rejected = np.zeros(len(self.snapshot.nodes.names), dtype=bool)
        for pod in self.snapshot.guarded:
            self._note_rejection(pod)

    def _spread(self, constraint: Mapping[str, Any], *, hard: bool) -> Spread:
        matcher = selector_matcher(self.namespace, self._with_label_keys(constraint))
        counted = np.ones(len(self.snapshot.nodes.names), dtype=bool)
        if constraint.get("nodeAffinityPolicy") != "Ignore":
            counted &= self.selected
        if constraint.get("nodeTaintsPolicy") == "Honor":
            counted &= self.tolerated
        count = DomainCount(self.snapshot, constraint["topologyKey"], matcher, counted=counted)
        itself = int(matcher(self.namespace, self.labels))
        return Spread(constraint["maxSkew"], hard, itself, constraint.get("minDomains") or 1, count)

    def supposing(self, snapshot: Snapshot) -> Evaluation:
        """The same pod in another state of the same nodes; only its filters are of use."""
        other = copy.copy(self)
        other.snapshot = snapshot
        other._prepare_neighbours(required=True)
        return other

    def obstacle(self, row: int) -> str:
        """The first reason why the pod cannot run on the node of that row, "" if it can."""
        return next((reason for step in self.filters() for reason, failed in step if failed[row]), "")

    def hopeless(self) -> Mask:
        """Nodes that no pod's going would make fit for this one."""
        failures: Iterable[Failure] = (*self.static_failures, *self.volume_failures)
        mask = np.zeros(len(self.snapshot.nodes.names), dtype=bool)
        for _, failed in failures:
            mask |= failed
        for number in np.flatnonzero(self.vector):
            mask |= self._capacity(int(number)) < self.vector[number]
        for spread in self.spreads:
            if spread.hard:
                mask |= spread.count.codes < 0
        for _, failed in self._attraction_failures():
            mask |= failed
        return mask

    def _with_label_keys(self, constraint: Mapping[str, Any]) -> Mapping[str, Any] | None:
        selector = constraint.get("labelSelector")
        keys = [key for key in constraint.get("matchLabelKeys") or () if key in self.labels]
        if selector is None or not keys:
            return selector
        return dict(selector) | {"matchLabels": (selector.get("matchLabels") or {}) | {k: self.labels[k] for k in keys}}

    def _terms(self, affinity: Mapping[str, Any], *, required: bool) -> list[tuple[int, bool, DomainCount]]:
        """(weight, whether the pod matches its own term, count); weight 0 means required."""
        weighted = [(0, term) for term in affinity.get(REQUIRED) or ()]
        if not required:
            weighted += [(entry["weight"], entry["podAffinityTerm"]) for entry in affinity.get(PREFERRED) or ()]
        found = []
        for weight, term in weighted:
            matcher = term_matcher(self.namespace, with_pod_labels(term, self.labels), self.namespaces)
            count = DomainCount(self.snapshot, term["topologyKey"], matcher)
            found.append((weight, matcher(self.namespace, self.labels), count))
        return found

    def placed(self, pod: PlacedPod) -> None:
        """Take note of a pod that the round has placed."""
        for spread in self.spreads:
            spread.count.add(pod)
        for _, _, count in (*self.attractions, *self.repulsions):
            count.add(pod)
        self._note_rejection(pod)

    def filters(self) -> Iterator[list[Failure]]:
        """Failures by filter; a node that passes all earlier filters is charged with every failure of the next."""
        for failure in self.static_failures:
            yield [failure]
        yield list(self._port_failures())
        yield list(self._room_failures())
        for failure in (*self.volume_failures, *self._neighbour_failures()):
            yield [failure]

    def _room_failures(self) -> Iterator[Failure]:
        requested = self.snapshot.requested
        for number in np.flatnonzero(self.vector):
            used = requested[:, number] if number < requested.shape[1] else 0
            name = self.snapshot.columns.names[number]
            lacking = used + self.vector[number] > self._capacity(int(number))
            yield ("Too many pods" if number == PODS else f"Insufficient {name}"), lacking

    def _capacity(self, number: int) -> npt.NDArray[np.int64]:
        """What each node has of a resource; nothing of one that came up after the snapshot was made."""
        allocatable = self.snapshot.nodes.allocatable
        return allocatable[:, number] if number < allocatable.shape[1] else np.zeros(len(allocatable), dtype=np.int64)

    def _port_failures(self) -> Iterator[Failure]:
        if not self.ports:
            return
        mask = np.zeros(len(self.snapshot.nodes.names), dtype=bool)
        for node, pods in self.snapshot.placed.items():
            row = self.snapshot.nodes.rows.get(node)
            if row is not None:
                mask[row] = any(clash(self.ports, pod.ports) for pod in pods.values() if pod.ports)
        yield "node(s) didn't have free ports for the requested pod ports", mask

    def _neighbour_failures(self) -> Iterator[Failure]:
        for spread in self.spreads:
            if spread.hard:
                count = spread.count
                yield f"{SPREAD} (missing required label)", count.codes < 0
                yield SPREAD, count.by_node() + spread.itself - count.least(spread.least_domains) > spread.skew
        yield from self._attraction_failures()
        for weight, _, count in self.repulsions:
            if weight == 0:
                yield "node(s) didn't match pod anti-affinity rules", count.by_node() > 0
        yield "node(s) didn't satisfy existing pods anti-affinity rules", self.rejected

    def _attraction_failures(self) -> Iterator[Failure]:
        for weight, matches_itself, count in self.attractions:
            if weight == 0:
                first_of_its_kind = matches_itself and not count.counts.any()
                mask = count.codes < 0 if first_of_its_kind else count.by_node() == 0
                yield "node(s) didn't match pod affinity rules", mask

    def _note_rejection(self, pod: PlacedPod) -> None:
        """A pod that runs may refuse this one near it: required anti-affinity works both ways."""
        nodes = self.snapshot.nodes
        row = nodes.rows.get(pod.node)
        for term in pod.anti_affinity.get(REQUIRED) or ():
            if row is None:
                continue
            matches = term_matcher(pod.namespace, with_pod_labels(term, pod.labels), self.namespaces)
            if matches(self.namespace, self.labels):
                codes, _ = nodes.label_codes(term["topologyKey"])
                if codes[row] >= 0:
                    self.rejected |= codes == codes[row]

    def scores(self) -> Scores:
        """The worth of every node for this pod; higher is better."""
        allocatable = self.snapshot.nodes.allocatable[:, [CPU, MEMORY]].astype(float)
        used = self.snapshot.scored + np.array(self.scored, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.clip(np.where(allocatable > 0, used / allocatable, 1.0), 0.0, 1.0)
        room = (1.0 - share).mean(axis=1) * 100
        balance: Scores = (1.0 - np.abs(share[:, 0] - share[:, 1]) / 2) * 100
        total: Scores = WEIGHTS["room"] * room + WEIGHTS["balance"] * balance + self.static_scores
        for spread in self.spreads:
            if not spread.hard:
                total += WEIGHTS["spread"] * _normalised(-spread.count.by_node().astype(float))
        attraction = np.zeros(len(total))
        for terms, sign in ((self.attractions, 1), (self.repulsions, -1)):
            for weight, _, count in terms:
                attraction += sign * weight * count.by_node()
        total += WEIGHTS["pod affinity"] * _normalised(attraction)
        return total

    def _node_affinity_scores(self) -> Scores:
        total = np.zeros(len(self.snapshot.nodes.names))
        affinity = (self.spec.get("affinity") or {}).get("nodeAffinity") or {}
        for entry in affinity.get(PREFERRED) or ():
            total += entry["weight"] * selection.matches(self.snapshot.nodes, entry["preference"])
        return WEIGHTS["node affinity"] * _normalised(total)

    def _taint_scores(self) -> Scores:
        own = self.spec.get("tolerations") or ()
        disliked = [
            len(tolerations.untolerated(taints, own, ("PreferNoSchedule",))) for taints in self.snapshot.nodes.taints
        ]
        return WEIGHTS["taints"] * _normalised(-np.array(disliked, dtype=float))


def _normalised(values: Scores) -> Scores:
    """Stretch values to 0..100; all 0 where they do not differ."""
    if not len(values) or (spread := values.max() - values.min()) == 0:
        return np.zeros(len(values))
    stretched: Scores = (values - values.min()) / spread * 100
    return stretched
