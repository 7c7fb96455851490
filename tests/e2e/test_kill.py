"""Any process may be killed at any instant: everything converges and no acknowledged write is lost."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError
from shared.errors import AlreadyExists, ApiError
from tests.e2e.harness import Kubectl, TestCluster, deployment, pod, until


class Writer(threading.Thread):
    """Creates and updates ConfigMaps without pause and remembers what the API server acknowledged."""

    def __init__(self, cluster: TestCluster, namespace: str) -> None:
        super().__init__(name="writer")
        settings = Cluster.load(cluster.data)
        assert settings is not None
        self.settings = settings
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"
        self.acknowledged: dict[str, str] = {}
        self.count = 0
        self.ended = threading.Event()

    def run(self) -> None:
        number = 0
        with ApiSession(self.settings, timeout_s=5) as session:
            while not self.ended.is_set():
                name, value = f"w-{number % 200}", str(number)
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}
                try:
                    if name in self.acknowledged:
                        session.request("PUT", f"{self.path}/{name}", body)
                    else:
                        session.request("POST", self.path, body)
                except AlreadyExists:
                    # An earlier create was not acknowledged, yet done: both are allowed.
                    self.acknowledged.setdefault(name, "")
                    continue
                except (ApiError, ClusterError):
                    # What is not acknowledged may still have happened: the old value is no longer certain.
                    if name in self.acknowledged:
                        self.acknowledged[name] = ""
                    time.sleep(0.05)
                else:
                    self.acknowledged[name] = value
                    self.count += 1
                number += 1

    def lost(self) -> dict[str, Any]:
        """Acknowledged values that are not there."""
        with ApiSession(self.settings) as session:
            items = session.get(self.path)["items"]
        found = {item["metadata"]["name"]: item.get("data", {}).get("value") for item in items}
        return {
            name: (value, found.get(name))
            for name, value in self.acknowledged.items()
            if name not in found or (value and found[name] != value)
        }


@contextmanager
def under_load(cluster: TestCluster, kubectl: Kubectl) -> Iterator[Writer]:
    """Writes go on during the block; afterwards everything acknowledged must be there."""
    writer = Writer(cluster, kubectl.namespace)
    writer.start()
    try:
        until(lambda: len(writer.acknowledged) >= 20, "the first writes")
        yield writer
        before = writer.count
        until(lambda: writer.count > before, "writes to go on")
    finally:
        writer.ended.set()
        writer.join()
    assert writer.lost() == {}


def ready_pods(kubectl: Kubectl, app: str) -> list[dict[str, Any]]:
    return [
        each
        for each in kubectl.pods(f"app={app}")
        if "deletionTimestamp" not in each["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in each.get("status", {}).get("conditions", []))
    ]


@pytest.mark.parametrize("process", ["apiserver", "scheduler", "controllers", "nats-server"])
def test_a_killed_control_plane_process_loses_nothing(cluster: TestCluster, kubectl: Kubectl, process: str) -> None:
    with under_load(cluster, kubectl):
        kubectl.apply(deployment("web", 2))
        before = cluster.pid(process)
        cluster.kill(process)
        until(lambda: cluster.pid(process) not in (0, before), f"{process} to be started again")
        until(
            lambda: kubectl.run("scale", "deployment/web", "--replicas=5", check=False).returncode == 0,
            "the API to answer",
        )
        until(lambda: len(ready_pods(kubectl, "web")) == 5, "five ready pods", 120)
    cluster.wait_healthy()
    assert len(kubectl.pods("app=web")) == 5


def test_a_killed_agent_does_not_touch_its_containers(cluster: TestCluster, kubectl: Kubectl) -> None:
    sleep = f"sleep {100_000 + os.getpid()}"  # others may run this test on this machine
    manifest = pod("steady", f"exec {sleep}")
    manifest["spec"]["nodeName"] = "node-1"
    kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod/steady", "--timeout=60s")
    pids = subprocess.run(["pgrep", "-xf", sleep], capture_output=True, text=True, check=True).stdout
    status = kubectl.pods()[0]["status"]["containerStatuses"][0]
    with under_load(cluster, kubectl):
        before = cluster.pid("node-1.agent")
        cluster.kill("node-1.agent")
        until(lambda: cluster.pid("node-1.agent") not in (0, before), "the agent to be started again")
        until(
            lambda: kubectl.run("exec", "steady", "--", "true", check=False).returncode == 0,
            "exec through the new agent",
        )
    cluster.wait_healthy()
    assert subprocess.run(["pgrep", "-xf", sleep], capture_output=True, text=True, check=True).stdout == pids
    now = kubectl.pods()[0]["status"]["containerStatuses"][0]
    assert (now["containerID"], now["restartCount"]) == (status["containerID"], status["restartCount"])


def test_an_agent_killed_while_pods_start_finishes_each_exactly_once(cluster: TestCluster, kubectl: Kubectl) -> None:
    manifest = deployment("burst", 8, "echo up; exec sleep 1000")
    manifest["spec"]["template"]["spec"]["nodeName"] = "node-2"
    kubectl.apply(manifest)
    for _ in range(4):
        until(lambda: cluster.pid("node-2.agent") != 0, "the agent to run")
        time.sleep(0.4)  # somewhere in the middle of the starts, which moment does not matter
        cluster.kill("node-2.agent")
    until(lambda: len(ready_pods(kubectl, "burst")) == 8, "eight ready pods", 120)
    for each in kubectl.pods("app=burst"):
        status = each["status"]["containerStatuses"][0]
        assert status["restartCount"] == 0, each["metadata"]["name"]
        name = each["metadata"]["name"]
        until(lambda name=name: kubectl.run("logs", name, check=False).stdout == "up\n", f"the one line of {name}", 30)


def test_a_killed_supervisor_leaves_the_cluster_running_and_a_second_up_adopts_it(cluster: TestCluster) -> None:
    pids = {name: cluster.pid(name) for name in ("apiserver", "nats-server", "node-1.keeper")}
    before = cluster.pid("supervisor")
    cluster.kill("supervisor")
    until(lambda: cluster.pid("supervisor") == 0, "the supervisor to be gone")
    assert "node-1" in cluster.kubectl("get", "nodes")
    cluster.up()
    assert cluster.pid("supervisor") not in (0, before)
    assert {name: cluster.pid(name) for name in pids} == pids
    cluster.wait_healthy()


def test_a_lost_node_has_its_pods_run_elsewhere(cluster: TestCluster, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 6))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    lost = {each["metadata"]["name"] for each in ready_pods(kubectl, "web") if each["spec"]["nodeName"] == "node-3"}
    assert lost
    with cluster.node_down("node-3"):
        until(lambda: "NotReady" in cluster.kubectl("get", "node", "node-3"), "the node to be seen as lost", 60)
        until(
            lambda: (
                len(pods := ready_pods(kubectl, "web")) == 6 and all(p["spec"]["nodeName"] != "node-3" for p in pods)
            ),
            "six ready pods on the other nodes",
            120,
        )
    cluster.wait_healthy()
    until(lambda: lost.isdisjoint(each["metadata"]["name"] for each in kubectl.pods("app=web")), "the lost pods to go")
    assert len(ready_pods(kubectl, "web")) == 6
    until(
        lambda: "unreachable" not in cluster.kubectl("get", "node", "node-3", "-o", "jsonpath={.spec.taints}"),
        "the taint to be taken away",
    )


def test_silence_of_the_control_plane_moves_no_pods(cluster: TestCluster, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 3))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    uids = {each["metadata"]["uid"] for each in kubectl.pods("app=web")}
    with cluster.stopped("nats-server", "controllers"):
        # Longer than a node's lease lives: on their return the controllers find every lease expired.
        time.sleep(20)
    cluster.wait_healthy()
    for _ in range(10):
        assert {each["metadata"]["uid"] for each in kubectl.pods("app=web")} == uids
        time.sleep(1)
