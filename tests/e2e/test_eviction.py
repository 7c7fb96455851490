"""A node defends itself: pods that take too much are evicted, and a node under pressure takes in no more."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness import Kubectl, TestCluster, pod, until


def on_node(made: dict[str, Any], node: str) -> dict[str, Any]:
    made["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    return made


def status(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.json("get", "pod", name)["status"]
    return found


def test_a_pod_that_fills_its_empty_dir_is_evicted(kubectl: Kubectl) -> None:
    made = pod("greedy", "dd if=/dev/zero of=/v/f bs=1M count=5; exec sleep 1000")
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    made["spec"]["volumes"] = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]
    kubectl.apply(made)
    until(lambda: status(kubectl, "greedy").get("reason") == "Evicted", "the eviction")
    assert status(kubectl, "greedy")["message"] == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    until(lambda: "Evicted" in kubectl("get", "events", "--field-selector", "reason=Evicted"), "the event")


def test_memory_pressure_shows_taints_the_node_and_evicts_until_it_passes(
    cluster: TestCluster, kubectl: Kubectl
) -> None:
    kubectl.apply(on_node(pod("victim", "exec sleep 1000"), "node-3"))
    kubectl("wait", "--for=condition=Ready", "pod/victim", "--timeout=60s")
    pressure = {"WHERRY_EVICTION_HARD": "memory.available<1000Ti", "WHERRY_EVICTION_PRESSURE_TRANSITION_PERIOD": "1s"}
    condition = '{.status.conditions[?(@.type=="MemoryPressure")].status}'
    with cluster.configured("node-3.agent", **pressure):
        until(lambda: status(kubectl, "victim").get("reason") == "Evicted", "the eviction")
        message = status(kubectl, "victim")["message"]
        assert message.startswith("The node was low on resource: memory. Threshold quantity: 1000Ti, available: ")
        until(
            lambda: cluster.kubectl("get", "node", "node-3", "-o", f"jsonpath={condition}") == "True", "the condition"
        )
        until(lambda: "memory-pressure:NoSchedule" in cluster.kubectl("describe", "node", "node-3"), "the taint")
        kubectl.apply(on_node(pod("late", "exec sleep 1000"), "node-3"))
        until(lambda: "untolerated taint" in kubectl("describe", "pod", "late"), "the scheduler to keep away")
    until(lambda: cluster.kubectl("get", "node", "node-3", "-o", f"jsonpath={condition}") == "False", "its end")
    kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=60s")
