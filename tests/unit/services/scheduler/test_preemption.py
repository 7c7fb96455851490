"""Whom a more important pod drives out, and whom it spares."""

from __future__ import annotations

from typing import Any

import pytest

from services.scheduler.decide import Decision, decide
from services.scheduler.preemption import Budget
from tests.unit.services.scheduler.builders import node, pod, view

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def low(name: str, on: str = "n1", cpu: str = "1", priority: int = 0, **fields: Any) -> dict[str, Any]:
    return pod(name, on, requests={"cpu": cpu}, phase="Running", priority=priority, **fields)


def high(name: str = "p", cpu: str = "1", priority: int = 100, **fields: Any) -> dict[str, Any]:
    return pod(name, requests={"cpu": cpu}, priority=priority, **fields)


def decided(nodes: list[dict[str, Any]], there: list[dict[str, Any]], wanting: dict[str, Any], **more: Any) -> Decision:
    (decision,) = decide(view(nodes, there).freeze(), [wanting], **more)
    assert decision.node == ""
    return decision


def victims(decision: Decision) -> set[str]:
    return {name for _, name in decision.victims}


def test_the_less_important_go_and_no_more_of_them_than_needed() -> None:
    there = [low("a", priority=1), low("b", priority=2), low("c", priority=100)]
    decision = decided([node("n1", cpu="3")], there, high())
    assert (decision.nominated, victims(decision)) == ("n1", {"a"})
    assert decision.message == "0/1 nodes are available: 1 Insufficient cpu."


def test_the_node_whose_victims_matter_least_is_chosen() -> None:
    nodes = [node("n1", cpu="1"), node("n2", cpu="1"), node("n3", cpu="2")]
    there = [low("a", "n1", priority=50), low("b", "n2", priority=10), low("c", "n3"), low("d", "n3")]
    assert decided(nodes, there, high(cpu="1")).nominated == "n3"
    assert decided(nodes, [*there[:2], low("c", "n3", "2", 20)], high()).nominated == "n2"


def test_pods_of_the_same_priority_are_left_alone() -> None:
    decision = decided([node("n1", cpu="1")], [low("a", priority=100)], high())
    assert (decision.nominated, decision.victims) == ("", ())
    assert decision.message.endswith("0/1 nodes are available: 1 No preemption victims found for incoming pod.")


def test_a_pod_that_must_not_preempt_says_so() -> None:
    decision = decided([node("n1", cpu="1")], [low("a")], high(preemptionPolicy="Never"))
    assert decision.nominated == ""
    assert decision.message.endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_a_node_that_could_never_take_the_pod_costs_nobody_anything() -> None:
    nodes = [node("n1", cpu="1"), node("n2", cpu="8", taints=[{"key": "k", "effect": "NoSchedule"}])]
    decision = decided(nodes, [low("a"), low("b", "n2")], high(cpu="2"))
    assert decision.nominated == ""
    assert decision.message.endswith("0/2 nodes are available: 2 Preemption is not helpful for scheduling.")


def test_a_victim_on_its_way_out_is_enough() -> None:
    going = low("a")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    decision = decided([node("n1", cpu="1"), node("n2", cpu="1")], [going, low("b", "n2")], high())
    assert (decision.nominated, victims(decision)) == ("n1", set())


@pytest.mark.parametrize(("allowed", "chosen"), [(0, "n2"), (1, "n1")])
def test_a_budget_is_broken_only_if_nothing_else_helps(allowed: int, chosen: str) -> None:
    budget = {"metadata": {"namespace": "default", "name": "b"}, "spec": {"selector": {"matchLabels": {"app": "db"}}}}
    known = Budget.of(budget | {"status": {"disruptionsAllowed": allowed}})
    assert known is not None
    there = [low("a", labels={"app": "db"}), low("b", "n2", priority=7)]
    assert decided([node("n1", cpu="1"), node("n2", cpu="1")], there, high(), budgets=[known]).nominated == chosen
    assert victims(decided([node("n1", cpu="1")], there[:1], high(), budgets=[known])) == {"a"}


def test_neighbours_that_keep_the_pod_away_go() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    apart = {"podAntiAffinity": {REQUIRED: [term]}}
    wanting = high(labels={"app": "web"}, affinity=apart)
    there = [low("a", labels={"app": "web"}), low("b", labels={"app": "other"})]
    assert victims(decided([node("n1", cpu="9")], there, wanting)) == {"a"}


def test_the_room_of_a_nominated_pod_is_kept_from_the_less_important() -> None:
    """One victim of two has gone: what it left is not for the pod that replaces it, but for a more important one."""
    nominated = high("p", cpu="2") | {"status": {"phase": "Pending", "nominatedNodeName": "n1"}}
    there, more = view([node("n1", cpu="2")], [low("a")]), {"nominated": [nominated]}
    (late,) = decide(there.freeze(), [high("q", priority=5)], **more)  # type: ignore[arg-type]
    assert (late.node, late.nominated) == ("", "")
    (urgent,) = decide(there.freeze(), [high("r", priority=500)], **more)  # type: ignore[arg-type]
    assert urgent.node == "n1"


def test_two_pods_of_one_round_do_not_count_on_the_same_room() -> None:
    there = [low("a"), low("b", "n2")]
    first, second = decide(view([node("n1", cpu="1"), node("n2", cpu="1")], there).freeze(), [high("p"), high("q")])
    assert {first.nominated, second.nominated} == {"n1", "n2"}
    assert victims(first) | victims(second) == {"a", "b"}
