from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.decide import Decision, decide
from tests.unit.services.scheduler.builders import node, pod, view

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def decide_one(
    nodes: list[dict[str, Any]], wanted: dict[str, Any], placed: list[dict[str, Any]] | None = None
) -> Decision:
    return decide(view(nodes, placed).freeze(), [wanted])[0]


def spread(when: str, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": when,
                "labelSelector": {"matchLabels": {"app": "a"}},
            }
        ]
    }


def test_a_pod_goes_where_it_fits() -> None:
    decision = decide_one([node("small", cpu="1"), node("large", cpu="8")], pod("p", requests={"cpu": "2"}))
    assert decision.node == "large"


def test_placed_pods_take_room() -> None:
    placed = [pod("q", "n1", requests={"memory": "6Gi"}, phase="Running")]
    assert decide_one([node("n1"), node("n2", memory="5Gi")], pod("p", requests={"memory": "4Gi"}), placed).node == "n2"


def test_ended_pods_free_their_room() -> None:
    placed = [pod("q", "n1", requests={"memory": "8Gi"}, phase="Succeeded")]
    assert decide_one([node("n1")], pod("p", requests={"memory": "8Gi"}), placed).node == "n1"


def test_earlier_decisions_of_a_round_take_room_from_later_ones() -> None:
    pods = [pod(f"p{i}", requests={"cpu": "3"}) for i in range(3)]
    nodes = [decision.node for decision in decide(view([node("n1"), node("n2")]).freeze(), pods)]
    assert sorted(nodes) == ["", "n1", "n2"]


def test_the_message_counts_nodes_by_reason() -> None:
    nodes = [
        node("n1", cpu="1"),
        node("n2", cpu="1"),
        node("n3", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
    ]
    decision = decide_one(nodes, pod("p", requests={"cpu": "2"}))
    assert decision.node == ""
    assert decision.message == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def test_a_node_that_lacks_two_resources_is_named_for_both() -> None:
    decision = decide_one([node("n1", cpu="1", memory="1Gi")], pod("p", requests={"cpu": "2", "memory": "2Gi"}))
    assert decision.message.startswith("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.")


def test_without_nodes_the_message_says_so() -> None:
    assert decide_one([], pod("p")).message == "no nodes available to schedule pods"


def test_the_number_of_pods_on_a_node_is_bounded() -> None:
    decision = decide_one([node("n1", pods="1")], pod("p"), [pod("q", "n1", phase="Running")])
    assert decision.message == (
        "0/1 nodes are available: 1 Too many pods. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


def test_node_selector_picks_by_label() -> None:
    nodes = [node("n1"), node("n2", labels={"disk": "ssd"})]
    assert decide_one(nodes, pod("p", nodeSelector={"disk": "ssd"})).node == "n2"
    assert "node affinity/selector" in decide_one(nodes, pod("p", nodeSelector={"disk": "tape"})).message


def test_required_node_affinity_by_field_pins_a_daemon_to_its_node() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    assert decide_one([node("n1"), node("n2"), node("n3")], pod("p", affinity=affinity)).node == "n2"


def test_node_affinity_operators_compare_as_kubernetes_does() -> None:
    nodes = [node("n1", labels={"size": "3"}), node("n2", labels={"size": "7"}), node("n3")]
    for operator, values, wanted in [
        ("Gt", ["5"], "n2"), ("Lt", ["5"], "n1"), ("DoesNotExist", [], "n3"), ("In", ["7"], "n2"),
    ]:  # fmt: skip
        term = {"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
        assert decide_one(nodes, pod("p", affinity=affinity)).node == wanted, operator


def test_a_toleration_opens_a_tainted_node() -> None:
    tainted = node("n1", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    assert decide_one([tainted], pod("p")).node == ""
    tolerant = pod("p", tolerations=[{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}])
    assert decide_one([tainted], tolerant).node == "n1"


def test_prefer_no_schedule_is_avoided_while_there_is_a_choice() -> None:
    tainted = node("n1", taints=[{"key": "k", "effect": "PreferNoSchedule"}])
    assert decide_one([tainted, node("n2")], pod("p")).node == "n2"
    assert decide_one([tainted], pod("p")).node == "n1"


def test_a_cordoned_node_takes_no_pods() -> None:
    assert "unschedulable" in decide_one([node("n1", unschedulable=True)], pod("p")).message


def test_replicas_spread_without_a_constraint() -> None:
    pods = [pod(f"p{i}", labels={"app": "a"}) for i in range(6)]
    decisions = decide(view([node("n1"), node("n2"), node("n3")]).freeze(), pods)
    assert sorted(decision.node for decision in decisions) == ["n1", "n1", "n2", "n2", "n3", "n3"]


def test_pods_that_ask_for_nothing_spread_as_well() -> None:
    placed = [pod("q", "n1", requests={"cpu": "10m"}, phase="Running")]
    pods = [pod(f"p{i}") for i in range(6)]
    decisions = decide(view([node("n1"), node("n2"), node("n3")], placed).freeze(), pods)
    assert sorted(decision.node for decision in decisions) == ["n1", "n1", "n2", "n2", "n3", "n3"]


def test_hard_spreading_refuses_a_larger_skew() -> None:
    placed = [pod("q", "n1", labels={"app": "a"}, phase="Running")]
    nodes = [node("n1"), node("n2", cpu="1")]
    wanted = pod("p", labels={"app": "a"}, requests={"cpu": "2"}, **spread("DoNotSchedule"))
    assert decide_one(nodes, wanted, placed).node == ""
    assert decide_one(nodes, wanted | {"spec": wanted["spec"] | spread("ScheduleAnyway")}, placed).node == "n1"


def test_spreading_counts_by_zone() -> None:
    nodes = [node(f"n{i}", labels={"zone": zone}) for i, zone in enumerate("aab")]
    placed = [pod("q", "n0", labels={"app": "a"}, phase="Running")]
    assert decide_one(nodes, pod("p", labels={"app": "a"}, **spread("DoNotSchedule", "zone")), placed).node == "n2"


def test_anti_affinity_keeps_pods_apart_in_both_directions() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    pods = [pod("one", labels={"app": "a"}, affinity=apart), pod("two", labels={"app": "a"})]
    decisions = decide(view([node("n1"), node("n2")]).freeze(), pods)
    assert {decision.node for decision in decisions} == {"n1", "n2"}
    alone = decide(view([node("n1")]).freeze(), pods)
    assert "existing pods anti-affinity" in alone[1].message


def test_affinity_puts_a_pod_beside_its_friend() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    nodes = [node("n1"), node("n2")]
    placed = [pod("db", "n2", labels={"app": "db"}, phase="Running")]
    assert decide_one(nodes, pod("p", affinity=near), placed).node == "n2"
    assert decide_one(nodes, pod("p", affinity=near)).node == ""


def test_the_first_pod_of_a_group_that_wants_to_be_together_may_start() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    pods = [pod(f"p{i}", labels={"app": "a"}, affinity=near) for i in range(3)]
    decisions = decide(view([node("n1"), node("n2")]).freeze(), pods)
    assert len({decision.node for decision in decisions}) == 1
    assert decisions[0].node


def test_host_ports_are_taken_once_a_node() -> None:
    ports = [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    pods = [pod(f"p{i}", ports=ports) for i in range(3)]
    decisions = decide(view([node("n1"), node("n2")]).freeze(), pods)
    assert sorted(decision.node for decision in decisions) == ["", "n1", "n2"]
    assert "free ports" in decisions[2].message


def test_extended_resources_are_counted() -> None:
    nodes = [node("n1"), node("n2", extended={"example.com/fpga": "1"})]
    pods = [pod(f"p{i}", requests={"example.com/fpga": "1"}) for i in range(2)]
    assert [decision.node for decision in decide(view(nodes).freeze(), pods)] == ["n2", ""]


def test_an_init_container_may_need_more_than_the_rest() -> None:
    wanted = pod("p", requests={"cpu": "1"}, initContainers=[{"name": "i", "resources": {"requests": {"cpu": "5"}}}])
    assert decide_one([node("n1", cpu="4")], wanted).node == ""


amounts = st.integers(min_value=0, max_value=3000)


@given(
    capacities=st.lists(amounts, min_size=1, max_size=5),
    requests=st.lists(amounts, max_size=12),
)
def test_no_node_is_ever_overcommitted_and_no_pod_waits_in_vain(capacities: list[int], requests: list[int]) -> None:
    nodes = [node(f"n{i}", cpu=f"{capacity}m") for i, capacity in enumerate(capacities)]
    pods = [pod(f"p{i}", requests={"cpu": f"{request}m"}) for i, request in enumerate(requests)]
    free = {f"n{i}": capacity for i, capacity in enumerate(capacities)}
    for decision, request in zip(decide(view(nodes).freeze(), pods), requests, strict=True):
        if decision.node:
            free[decision.node] -= request
            assert free[decision.node] >= 0
        else:
            assert all(request > room for room in free.values())


def test_a_resource_that_no_node_has_ever_had_is_a_reason_and_no_fault() -> None:
    """It comes up after the arrays of the round were made; a pod of the same round that fits is placed all the same."""
    wanting, fitting = pod("p", requests={"example.com/gpu": "1"}), pod("q", requests={"cpu": "1"})
    first, second = decide(view([node("n1")]).freeze(), [wanting, fitting])
    assert first.message.startswith("0/1 nodes are available: 1 Insufficient example.com/gpu.")
    assert second.node == "n1"


def test_a_cordoned_node_is_called_unschedulable() -> None:
    decision = decide_one([node("n1", unschedulable=True)], pod("p"))
    assert decision.message.startswith("0/1 nodes are available: 1 node(s) were unschedulable.")


def test_claims_for_devices_are_refused_by_name() -> None:
    decision = decide_one([node("n1")], pod("p", resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]))
    assert "spec.resourceClaims is not supported" in decision.message


def test_fewer_domains_than_min_domains_count_as_empty_ones() -> None:
    spread = {"maxSkew": 1, "minDomains": 3, "topologyKey": "kubernetes.io/hostname", "labelSelector": {}}
    nodes, there = [node("n1"), node("n2")], [pod("a", "n1"), pod("b", "n2")]
    wanting = pod("p", topologySpreadConstraints=[spread | {"whenUnsatisfiable": "DoNotSchedule"}])
    assert "2 node(s) didn't match pod topology spread constraints." in decide_one(nodes, wanting, there).message
    del wanting["spec"]["topologySpreadConstraints"][0]["minDomains"]
    assert decide_one(nodes, wanting, there).node


def test_a_node_without_the_topology_label_is_named_as_such() -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "labelSelector": {}, "whenUnsatisfiable": "DoNotSchedule"}
    decision = decide_one([node("n1")], pod("p", topologySpreadConstraints=[spread]))
    assert "1 node(s) didn't match pod topology spread constraints (missing required label)." in decision.message


def test_nodes_with_taints_can_be_left_out_of_the_spread() -> None:
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "labelSelector": {}}
    spread |= {"whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Honor"}
    nodes = [node("n1"), node("n2", taints=[{"key": "k", "effect": "NoSchedule"}])]
    assert decide_one(nodes, pod("p", topologySpreadConstraints=[spread]), [pod("a", "n1")]).node == "n1"


def test_affinity_terms_take_the_values_of_their_label_keys_from_the_pod() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    apart = {"podAntiAffinity": {REQUIRED: [term | {"matchLabelKeys": ["version"]}]}}
    there = [pod("a", "n1", labels={"app": "web", "version": "1"}, affinity=apart)]
    old = pod("p", labels={"app": "web", "version": "1"}, affinity=apart)
    new = pod("p", labels={"app": "web", "version": "2"}, affinity=apart)
    assert decide_one([node("n1")], old, there).node == ""
    assert decide_one([node("n1")], new, there).node == "n1"
    others = {"podAffinity": {REQUIRED: [term | {"mismatchLabelKeys": ["version"]}]}}
    assert decide_one([node("n1")], new | {"spec": new["spec"] | {"affinity": others}}, there).node == "n1"
