"""The decision itself, pure: a snapshot and waiting pods in, a binding or a reason for each pod out."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from services.scheduler.evaluation import Evaluation
from services.scheduler.snapshot import Key, PlacedPod, Snapshot
from services.scheduler.volumes import IN_USE, NOTHING, VolumeView
from shared.objects import volumebinding

# Nodes whose scores differ by less than this are equal; the choice among them then depends on the pod, so that pods
# without any preference do not all land on the first node.
EQUAL_SCORES = 1e-9


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for a pod: `node` "" means that none fits now, and `message` says why.

    `claims` (namespace, name) have to be bound on the node before the pod can be.
    """

    key: Key
    node: str
    message: str = ""
    score: float = 0.0
    filtered: Mapping[str, int] = field(default_factory=dict)
    claims: tuple[Key, ...] = ()


def decide(
    snapshot: Snapshot,
    pods: Sequence[Mapping[str, Any]],
    namespaces: Mapping[str, Mapping[str, str]] | None = None,
    volumes: VolumeView | None = None,
) -> list[Decision]:
    """Decide for each pod in turn; earlier decisions take room from later ones.

    `pods` are Pod objects, most important first. `namespaces` maps a name to its labels and matters to pod affinity
    with a namespaceSelector alone, `volumes` to pods that use claims. The snapshot is used up: its `requested` and
    `placed` include the decisions.
    """
    evaluations: dict[bytes, Evaluation] = {}
    decisions = []
    exclusive: set[Key] = set()
    for pod in pods:
        metadata, spec = pod["metadata"], pod["spec"]
        labels = metadata.get("labels") or {}
        needs = NOTHING if volumes is None else volumes.needs(pod)
        key = (metadata["namespace"], metadata["name"])
        if needs.trouble or any(claim in exclusive for claim in needs.alone):
            decisions.append(Decision(key, "", _held_up(len(snapshot.nodes.names), needs.trouble or IN_USE)))
            continue
        names = sorted(volumebinding.claim_names(pod).values())
        shape = msgspec.json.encode((metadata["namespace"], labels, spec, names), order="deterministic")
        evaluation = evaluations.get(shape)
        if evaluation is None:
            evaluation = Evaluation(snapshot, metadata["namespace"], labels, spec, namespaces or {}, needs)
            evaluations[shape] = evaluation
        decision = _decide_one(evaluation, key)
        decisions.append(decision)
        if decision.node:
            exclusive.update(needs.alone)
            placed = PlacedPod(
                namespace=metadata["namespace"],
                name=metadata["name"],
                node=decision.node,
                labels=labels,
                requests=evaluation.requests,
                scored=evaluation.scored,
                ports=evaluation.ports,
                deleting=False,
                anti_affinity=(spec.get("affinity") or {}).get("podAntiAffinity") or {},
            )
            snapshot.place(placed)
            for other in evaluations.values():
                other.placed(placed)
    return decisions


def _decide_one(evaluation: Evaluation, key: Key) -> Decision:
    names = evaluation.snapshot.nodes.names
    feasible = np.ones(len(names), dtype=bool)
    charged: Counter[str] = Counter()
    for failures in evaluation.filters():
        passed = feasible.copy()
        for reason, failed in failures:
            if count := int((failed & passed).sum()):
                charged[reason] += count
            feasible &= ~failed
    if not feasible.any():
        return Decision(key, "", _waiting_message(len(names), charged), filtered=charged)
    scores = np.where(feasible, evaluation.scores(), -np.inf)
    best = np.flatnonzero(scores >= scores.max() - EQUAL_SCORES)
    row = int(best[_spread_number(key) % len(best)])
    return Decision(key, names[row], score=float(scores[row]), filtered=charged, claims=evaluation.volumes.wanted)


def _waiting_message(nodes: int, charged: Mapping[str, int]) -> str:
    """The text that `kubectl describe pod` shows: how many nodes fail for which reason."""
    if not nodes:
        return "no nodes available to schedule pods"
    return _held_up(nodes, ", ".join(sorted(f"{count} {reason}" for reason, count in charged.items())))


def _held_up(nodes: int, why: str) -> str:
    return f"0/{nodes} nodes are available: {why}."


def _spread_number(key: Key) -> int:
    # not hash(): the same pod gets the same node in every process
    return zlib.crc32("/".join(key).encode())
