"""A node that is taken out of service gracefully, and back in."""

from __future__ import annotations

from tests.e2e.harness import Kubectl, TestCluster, pod, until, wherry


def test_a_node_is_shut_down_and_started_again(cluster: TestCluster, kubectl: Kubectl) -> None:
    made = pod("guest", "trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done")
    made["spec"] |= {"nodeSelector": {"kubernetes.io/hostname": "node-2"}, "terminationGracePeriodSeconds": 10}
    made["spec"]["tolerations"] = [{"operator": "Exists", "effect": "NoExecute"}]
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/guest", "--timeout=60s")
    try:
        text = wherry("node", "shutdown", "node-2", "--data", str(cluster.data)).stdout
        assert "node-2 is shut down" in text
        status = kubectl.json("get", "pod", "guest")["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "Terminated")
        assert status["message"] == "Pod was terminated in response to imminent node shutdown."
        assert kubectl("logs", "guest") == "bye\n"
        until(lambda: "NotReady" in cluster.kubectl("get", "node", "node-2"), "the node not to be ready")
        assert "node is shutting down" in cluster.kubectl("describe", "node", "node-2")
    finally:
        wherry("node", "start", "node-2", "--data", str(cluster.data))
    cluster.wait_healthy()
    unknown = wherry("node", "shutdown", "node-9", "--data", str(cluster.data), check=False)
    assert (unknown.returncode, "there is no node node-9" in unknown.stderr) == (1, True)
