"""The cluster as arrays: nodes x resources, labels as interned codes, pods grouped by node.

`ClusterView` follows the cache change by change; `freeze` gives the pure functions a `Snapshot` that nothing changes
behind their back. Node changes are rare and rebuild the arrays; pod changes touch one row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from services.scheduler.requests import Columns, pod_requests, scored_requests
from shared.objects.hostports import HostPort, host_ports

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]
Key = tuple[str, str]
FINAL_PHASES = ("Succeeded", "Failed")
UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class PlacedPod:
    """A pod that occupies its node; `scored` is its (cpu, memory) as it counts when nodes are compared.

    `since` is when it started, or was made (RFC 3339, UTC).
    """

    namespace: str
    name: str
    node: str
    labels: Mapping[str, str]
    requests: Mapping[int, int]
    scored: tuple[int, int]
    ports: frozenset[tuple[str, str, int]]
    deleting: bool
    anti_affinity: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    since: str = ""

    @property
    def key(self) -> Key:
        return self.namespace, self.name


@dataclass(slots=True)
class Nodes:
    """Everything about the nodes that pods do not change; rows are in the order of `names`."""

    names: list[str]
    rows: dict[str, int]
    labels: list[Mapping[str, str]]
    taints: list[list[Mapping[str, Any]]]
    allocatable: npt.NDArray[np.int64]
    codes: dict[str, tuple[Codes, dict[str, int]]] = field(default_factory=dict)

    def label_codes(self, key: str) -> tuple[Codes, dict[str, int]]:
        """The values of one label as a code a node (-1: has no such label), and the code of each value."""
        if (found := self.codes.get(key)) is None:
            values: dict[str, int] = {}
            column = np.full(len(self.names), -1, dtype=np.int32)
            for row, labels in enumerate(self.labels):
                if (value := labels.get(key)) is not None:
                    column[row] = values.setdefault(value, len(values))
            found = self.codes[key] = (column, values)
        return found


@dataclass(slots=True)
class Snapshot:
    """What one round of decisions sees; its decisions add to it.

    `guarded` are the placed pods with anti-affinity, the few that every later pod must be compared with.
    """

    columns: Columns
    nodes: Nodes
    requested: npt.NDArray[np.int64]
    scored: npt.NDArray[np.int64]
    placed: dict[str, dict[Key, PlacedPod]]
    guarded: list[PlacedPod]

    def place(self, pod: PlacedPod) -> None:
        """Take a decision into account for the pods that follow in the same round."""
        row = self.nodes.rows[pod.node]
        self._count(self.requested, row, pod, 1)
        self.scored[row] += pod.scored
        self.placed.setdefault(pod.node, {})[pod.key] = pod
        if pod.anti_affinity:
            self.guarded.append(pod)

    def without(self, node: str, keys: Collection[Key]) -> Snapshot:
        """The cluster as it would be if these pods of a node were gone; this snapshot stays as it is."""
        row, left = self.nodes.rows[node], dict(self.placed.get(node, {}))
        requested = self.requested.copy()
        for key in keys:
            self._count(requested, row, left.pop(key), -1)
        guarded = [pod for pod in self.guarded if pod.node != node or pod.key not in keys]
        return Snapshot(self.columns, self.nodes, requested, self.scored, self.placed | {node: left}, guarded)

    @staticmethod
    def _count(requested: npt.NDArray[np.int64], row: int, pod: PlacedPod, sign: int) -> None:
        for number, amount in pod.requests.items():
            # a resource that came up after the arrays were made is one that no node has
            if number < requested.shape[1]:
                requested[row, number] += sign * amount


class ClusterView:
    """Follows nodes and placed pods; O(1) a pod change."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.node_objects: dict[str, Mapping[str, Any]] = {}
        self.pods: dict[Key, PlacedPod] = {}
        self.by_node: dict[str, dict[Key, PlacedPod]] = {}
        self.guarded: dict[Key, PlacedPod] = {}
        self._nodes: Nodes | None = None
        self._requested = np.zeros((0, 0), dtype=np.int64)
        self._scored = np.zeros((0, 2), dtype=np.int64)

    def set_node(self, name: str, node: Mapping[str, Any] | None) -> bool:
        """Take over a node, or its end (None); True if anything that decisions look at has changed."""
        before = self.node_objects.get(name)
        if node is None:
            self.node_objects.pop(name, None)
        else:
            self.node_objects[name] = node
        if before is not None and node is not None and _deciding(before) == _deciding(node):
            return False
        self._nodes = None
        return True

    def set_pod(self, namespace: str, name: str, pod: Mapping[str, Any] | None) -> bool:
        """Take over a pod, or its end (None); True if it has freed room on a node."""
        key = (namespace, name)
        before = self.pods.pop(key, None)
        after = None if pod is None else placed_pod(self.columns, pod)
        if before is not None:
            del self.by_node[before.node][key]
            self.guarded.pop(key, None)
            self._count(before, -1)
        if after is not None:
            self.pods[key] = after
            self.by_node.setdefault(after.node, {})[key] = after
            if after.anti_affinity:
                self.guarded[key] = after
            self._count(after, 1)
        return before is not None and after is None

    def _count(self, pod: PlacedPod, sign: int) -> None:
        if self._nodes is None or (row := self._nodes.rows.get(pod.node)) is None:
            return
        if len(self.columns) > self._requested.shape[1]:
            self._nodes = None
            return
        for number, amount in pod.requests.items():
            self._requested[row, number] += sign * amount
        for column, amount in enumerate(pod.scored):
            self._scored[row, column] += sign * amount

    def freeze(self) -> Snapshot:
        """The cluster as it stands now."""
        if self._nodes is None or self._requested.shape[1] < len(self.columns):
            self._rebuild()
        assert self._nodes is not None
        placed = {node: dict(pods) for node, pods in self.by_node.items() if pods}
        guarded = list(self.guarded.values())
        return Snapshot(self.columns, self._nodes, self._requested.copy(), self._scored.copy(), placed, guarded)

    def _rebuild(self) -> None:
        names = sorted(self.node_objects)
        amounts = [
            self.columns.amounts((self.node_objects[name].get("status") or {}).get("allocatable") or {})
            for name in names
        ]
        allocatable = np.zeros((len(names), len(self.columns)), dtype=np.int64)
        for row, found in enumerate(amounts):
            for number, amount in found.items():
                allocatable[row, number] = amount
        objects = [self.node_objects[name] for name in names]
        self._nodes = Nodes(
            names=names,
            rows={name: row for row, name in enumerate(names)},
            labels=[node["metadata"].get("labels") or {} for node in objects],
            taints=[_taints(node) for node in objects],
            allocatable=allocatable,
        )
        self._requested = np.zeros_like(allocatable)
        self._scored = np.zeros((len(names), 2), dtype=np.int64)
        for pod in self.pods.values():
            self._count(pod, 1)


def placed_pod(columns: Columns, pod: Mapping[str, Any]) -> PlacedPod | None:
    """The pod as it counts on its node; None if it is on none or has ended."""
    node = pod["spec"].get("nodeName")
    if not node or (pod.get("status") or {}).get("phase") in FINAL_PHASES:
        return None
    return standing(columns, pod, node)


class Demand(NamedTuple):
    """What a pod takes of its node, worked out of its specification; see PlacedPod."""

    requests: Mapping[int, int]
    scored: tuple[int, int]
    ports: frozenset[HostPort]

    @classmethod
    def of(cls, columns: Columns, spec: Mapping[str, Any]) -> Demand:
        requests = pod_requests(columns, spec)
        return cls(requests, scored_requests(requests, len(spec.get("containers", ()))), host_ports(spec))


def standing(columns: Columns, pod: Mapping[str, Any], node: str, demand: Demand | None = None) -> PlacedPod:
    """The pod as it counts on `node`, whether it is there or only meant to be; `demand` is for who knows it already."""
    metadata, spec = pod["metadata"], pod["spec"]
    requests, scored, ports = demand or Demand.of(columns, spec)
    return PlacedPod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=node,
        labels=metadata.get("labels") or {},
        requests=requests,
        scored=scored,
        ports=ports,
        deleting="deletionTimestamp" in metadata,
        anti_affinity=(spec.get("affinity") or {}).get("podAntiAffinity") or {},
        priority=spec.get("priority") or 0,
        since=(pod.get("status") or {}).get("startTime") or metadata.get("creationTimestamp") or "",
    )


def _taints(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spec = node.get("spec") or {}
    taints = list(spec.get("taints") or ())
    if spec.get("unschedulable") and not any(t["key"] == UNSCHEDULABLE_TAINT["key"] for t in taints):
        taints.append(UNSCHEDULABLE_TAINT)
    return taints


def _deciding(node: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        node["metadata"].get("labels"),
        node.get("spec", {}).get("taints"),
        node.get("spec", {}).get("unschedulable"),
        (node.get("status") or {}).get("allocatable"),
    )
