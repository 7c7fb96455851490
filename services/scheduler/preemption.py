"""Whom a pod that fits nowhere may drive out: a pure decision, like the one that found no place for it.

Of every node that could take the pod if the less important ones on it were gone, as many of these as possible are kept;
the node whose victims matter least is nominated. A nomination holds the room until the victims are gone: less important
pods that wait see the node as if the pod were there already.

Source: Kubernetes "Pod priority and preemption", and the order of the criteria there and in kube-scheduler's
DefaultPreemption plugin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.scheduler.evaluation import Evaluation
from services.scheduler.snapshot import Key, PlacedPod
from shared.objects import selectors

# How many nodes are looked at closely; kube-scheduler takes a tenth of the nodes, but at least as many.
MOST_CANDIDATES = 100
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget: which pods it protects, and how many of them may go."""

    namespace: str
    selector: selectors.LabelSelector
    allowed: int

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Budget | None:
        """None for a budget without a selector, which protects nothing."""
        selector = (obj.get("spec") or {}).get("selector")
        if selector is None:
            return None
        allowed = int((obj.get("status") or {}).get("disruptionsAllowed") or 0)
        return cls(obj["metadata"]["namespace"], selectors.from_label_selector(selector), allowed)

    def protects(self, pod: PlacedPod) -> bool:
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)


@dataclass(frozen=True, slots=True)
class Nomination:
    """The node that the pod is to have, "" for none, and the pods that have to go for it.

    `reasons` counts the nodes that are of no use, by reason.
    """

    node: str = ""
    victims: tuple[Key, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Candidate:
    node: str
    victims: list[PlacedPod]
    violations: int


def nominate(evaluation: Evaluation, priority: int, budgets: Sequence[Budget], nominated: str = "") -> Nomination:
    """Choose for a pod of `priority` that `evaluation` has found no node for; `nominated` is the node it has already.

    Pods that are on their way out count as gone: a node that they alone keep busy needs no more victims.
    """
    snapshot = evaluation.snapshot
    hopeless = evaluation.hopeless()
    reasons: Counter[str] = Counter()
    if count := int(hopeless.sum()):
        reasons[NOT_HELPFUL] = count
    candidates: list[_Candidate] = []
    for row in np.flatnonzero(~hopeless):
        node = snapshot.nodes.names[row]
        lesser = [pod for pod in snapshot.placed.get(node, {}).values() if pod.priority < priority]
        if not lesser:
            reasons[NO_VICTIMS] += 1
        elif len(candidates) < MOST_CANDIDATES:
            obstacle = _obstacle(evaluation, int(row), {pod.key for pod in lesser})
            if obstacle:
                reasons[obstacle] += 1
            else:
                candidates.append(_candidate(evaluation, int(row), lesser, budgets))
    if not candidates:
        return Nomination(reasons=reasons)
    chosen = _best(candidates, nominated)
    return Nomination(chosen.node, tuple(pod.key for pod in chosen.victims), reasons)


def _obstacle(evaluation: Evaluation, row: int, gone: set[Key]) -> str:
    node = evaluation.snapshot.nodes.names[row]
    return evaluation.supposing(evaluation.snapshot.without(node, gone)).obstacle(row)


def _candidate(evaluation: Evaluation, row: int, lesser: list[PlacedPod], budgets: Sequence[Budget]) -> _Candidate:
    gone = {pod.key for pod in lesser}
    standing = sorted((pod for pod in lesser if not pod.deleting), key=lambda pod: (-pod.priority, pod.since))
    protected = _protected(standing, budgets)
    victims, violations = [], 0
    # those that a budget protects are the first to be kept, and so are the more important
    for pod in sorted(standing, key=lambda pod: pod.key not in protected):
        if _obstacle(evaluation, row, gone - {pod.key}):
            victims.append(pod)
            violations += pod.key in protected
        else:
            gone.discard(pod.key)
    return _Candidate(evaluation.snapshot.nodes.names[row], victims, violations)


def _protected(pods: list[PlacedPod], budgets: Sequence[Budget]) -> set[Key]:
    """Those that could not go without breaking a budget, if they went in this order."""
    left = [budget.allowed for budget in budgets]
    found = set()
    for pod in pods:
        for index, budget in enumerate(budgets):
            if budget.protects(pod):
                left[index] -= 1
                if left[index] < 0:
                    found.add(pod.key)
    return found


def _best(candidates: list[_Candidate], nominated: str) -> _Candidate:
    def cost(candidate: _Candidate) -> tuple[int, ...]:
        priorities = [pod.priority for pod in candidate.victims]
        # the sum of priorities that may be negative: more victims must never look cheaper
        weight = sum(priority + 2**31 for priority in priorities)
        return candidate.violations, max(priorities, default=-(2**31)), weight, len(priorities)

    least = min(map(cost, candidates))
    equal = [candidate for candidate in candidates if cost(candidate) == least]
    held = next((candidate for candidate in equal if candidate.node == nominated), None)
    return held or max(equal, key=_youngest)


def _youngest(candidate: _Candidate) -> str:
    """When the oldest of the most important victims began; of equal nodes, the one with the youngest is taken."""
    highest = max((pod.priority for pod in candidate.victims), default=0)
    return min((pod.since for pod in candidate.victims if pod.priority == highest), default="")
