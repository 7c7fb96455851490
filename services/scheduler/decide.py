"""The decision itself, pure: a snapshot and waiting pods in, a binding or a reason for each pod out."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from services.scheduler.evaluation import Evaluation
from services.scheduler.preemption import NOT_HELPFUL, Budget, Nomination, nominate
from services.scheduler.snapshot import Demand, Key, Snapshot, standing
from services.scheduler.volumes import IN_USE, NOTHING, VolumeView
from shared.objects import volumebinding

# Nodes whose scores differ by less than this are equal; the choice among them then depends on the pod, so that pods
# without any preference do not all land on the first node.
EQUAL_SCORES = 1e-9
# what the plugin for devices says when a pod has no claims of its own to give up
_NO_CLAIMS = "no new claims to deallocate"
NO_DEVICES = "spec.resourceClaims is not supported: this cluster allocates no devices"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for a pod: `node` "" means that none fits now, and `message` says why.

    `claims` (namespace, name) have to be bound on the node before the pod can be. `nominated` is the node, if any, that
    the pod is to have once the pods `victims`, and those that are going already, have left it.
    """

    key: Key
    node: str
    message: str = ""
    score: float = 0.0
    filtered: Mapping[str, int] = field(default_factory=dict)
    claims: tuple[Key, ...] = ()
    nominated: str = ""
    victims: tuple[Key, ...] = ()


def decide(
    snapshot: Snapshot,
    pods: Sequence[Mapping[str, Any]],
    namespaces: Mapping[str, Mapping[str, str]] | None = None,
    volumes: VolumeView | None = None,
    *,
    nominated: Sequence[Mapping[str, Any]] = (),
    budgets: Sequence[Budget] = (),
) -> list[Decision]:
    """Decide for each pod in turn; earlier decisions take room from later ones.

    `pods` are Pod objects, most important first; `nominated` are others that wait for the node that they are nominated
    for, whose room no less important pod may take. `namespaces` maps a name to its labels and matters to pod affinity
    with a namespaceSelector alone, `volumes` to pods that use claims. The snapshot is used up: its `requested` and
    `placed` include the decisions.
    """
    evaluations: dict[bytes, Evaluation] = {}
    decisions = []
    exclusive: set[Key] = set()
    held = sorted(nominated, key=_priority)

    def place(pod: Mapping[str, Any], node: str, demand: Demand | None = None) -> None:
        if node in snapshot.nodes.rows:
            placed = standing(snapshot.columns, pod, node, demand)
            snapshot.place(placed)
            for other in evaluations.values():
                other.placed(placed)

    for pod in pods:
        while held and _priority(held[-1]) >= _priority(pod):
            holder = held.pop()
            place(holder, nominated_node(holder))
        metadata, spec = pod["metadata"], pod["spec"]
        labels = metadata.get("labels") or {}
        needs = NOTHING if volumes is None else volumes.needs(pod)
        key = (metadata["namespace"], metadata["name"])
        trouble = NO_DEVICES if spec.get("resourceClaims") else needs.trouble
        if trouble or any(claim in exclusive for claim in needs.alone):
            decisions.append(Decision(key, "", _nowhere(len(snapshot.nodes.names), trouble or IN_USE)))
            continue
        names = sorted(volumebinding.claim_names(pod).values())
        shape = msgspec.json.encode((metadata["namespace"], labels, spec, names), order="deterministic")
        evaluation = evaluations.get(shape)
        if evaluation is None:
            evaluation = Evaluation(snapshot, metadata["namespace"], labels, spec, namespaces or {}, needs)
            evaluations[shape] = evaluation
        decision = _decide_one(evaluation, key)
        if not decision.node and snapshot.nodes.names:
            decision = _make_room(decision, evaluation, pod, budgets)
        decisions.append(decision)
        if decision.node:
            exclusive.update(needs.alone)
        if decision.node or decision.nominated:
            place(pod, decision.node or decision.nominated, evaluation.demand)
    return decisions


def nominated_node(pod: Mapping[str, Any]) -> str:
    """The node that a waiting pod has been nominated for, "" if none."""
    return str((pod.get("status") or {}).get("nominatedNodeName") or "")


def _priority(pod: Mapping[str, Any]) -> int:
    return int(pod["spec"].get("priority") or 0)


def _make_room(
    decision: Decision, evaluation: Evaluation, pod: Mapping[str, Any], budgets: Sequence[Budget]
) -> Decision:
    """What preemption can do for a pod that fits nowhere; else its message says why it can do nothing."""
    if pod["spec"].get("preemptionPolicy") == "Never":
        why = "not eligible due to preemptionPolicy=Never."
        return replace(decision, message=f"{decision.message} {_NO_CLAIMS}, preemption: {why}")
    found: Nomination = nominate(evaluation, _priority(pod), budgets, nominated_node(pod))
    if found.node:
        return replace(decision, nominated=found.node, victims=found.victims)
    why = _held_up(len(evaluation.snapshot.nodes.names), _reasons(found.reasons))
    return replace(decision, message=f"{decision.message} {_NO_CLAIMS}, preemption: {why}")


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
    return _held_up(nodes, _reasons(charged))


def _reasons(charged: Mapping[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in charged.items()))


def _nowhere(nodes: int, why: str) -> str:
    """The message of a pod that cannot run on any node, whoever else runs there."""
    if not nodes:
        return _waiting_message(0, {})
    return f"{_held_up(nodes, why)} preemption: {_held_up(nodes, f'{nodes} {NOT_HELPFUL}')}"


def _held_up(nodes: int, why: str) -> str:
    return f"0/{nodes} nodes are available: {why}."


def _spread_number(key: Key) -> int:
    # not hash(): the same pod gets the same node in every process
    return zlib.crc32("/".join(key).encode())
