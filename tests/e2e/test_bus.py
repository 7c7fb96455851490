"""The bus as one server and as three, killed under the hands of kubectl; backup and restore of a cluster with pods."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.cli.cluster import Cluster
from tests.e2e.harness import Kubectl, TestCluster, deployment, until, wherry

SERVERS = ("nats-server-1", "nats-server-2", "nats-server-3")


@pytest.fixture(scope="module")
def replicated(cluster: TestCluster) -> Iterator[TestCluster]:
    """The cluster with three bus servers, where the first test has left it; one again afterwards."""
    cluster.up("--bus-replicas", "3")
    yield cluster
    cluster.up("--bus-replicas", "1")
    assert [server["name"] for server in bus(cluster)] == ["nats-server"]


def bus(cluster: TestCluster) -> list[dict[str, Any]]:
    status = json.loads(wherry("status", "--data", str(cluster.data), "-o", "json", check=False).stdout)
    found: list[dict[str, Any]] = status["bus"]
    return found


def leader(cluster: TestCluster) -> str:
    """The process that leads STATE."""
    return str(
        until(
            lambda: next((one["name"] for one in bus(cluster) if one["role"] == "leader"), ""), "a leader to be there"
        )
    )


def wait_complete(cluster: TestCluster) -> None:
    until(
        lambda: (
            sorted((one["role"], one["lag"]) for one in bus(cluster))
            == [("follower", 0), ("follower", 0), ("leader", 0)]
        ),
        "all three servers to have everything",
        120,
    )


class KubectlWriter(threading.Thread):
    """Runs kubectl without pause: creates ConfigMaps and labels them; what it said it did is remembered."""

    def __init__(self, kubectl: Kubectl, prefix: str) -> None:
        super().__init__(name=f"kubectl {prefix}")
        self.kubectl = kubectl
        self.prefix = prefix
        self.created: dict[str, str] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.ended.is_set():
            name = f"{self.prefix}-{number}"
            number += 1
            if self.kubectl.run("create", "configmap", name, "--from-literal=a=1", check=False).returncode == 0:
                self.created[name] = ""
                done = self.kubectl.run("label", "configmap", name, f"step={number}", check=False)
                if done.returncode == 0:
                    self.created[name] = str(number)


@contextmanager
def kubectl_writers(kubectl: Kubectl) -> Iterator[list[KubectlWriter]]:
    """Two writers during the block; afterwards all that they were told is there."""
    writers = [KubectlWriter(kubectl, prefix) for prefix in ("left", "right")]
    for writer in writers:
        writer.start()
    try:
        wait_more(writers, 2)
        yield writers
    finally:
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join()
    items = {item["metadata"]["name"]: item["metadata"] for item in kubectl.json("get", "configmaps")["items"]}
    for writer in writers:
        for name, step in writer.created.items():
            assert name in items
            assert not step or items[name]["labels"]["step"] == step


def wait_more(writers: list[KubectlWriter], count: int) -> None:
    """Wait until each writer has done so many more."""
    targets = [len(writer.created) + count for writer in writers]
    until(
        lambda: all(len(writer.created) >= target for writer, target in zip(writers, targets, strict=True)),
        "kubectl to write",
        120,
    )


def test_three_servers_hold_what_one_held_and_containers_run_on(cluster: TestCluster, kubectl: Kubectl) -> None:
    move(cluster, kubectl, 3)


def move(cluster: TestCluster, kubectl: Kubectl, count: int) -> None:
    """Move the bus to so many servers below running containers, which hear nothing of it."""
    kubectl.apply(deployment("steady", 2))
    kubectl("rollout", "status", "deployment/steady", "--timeout=90s")
    before = containers(kubectl)
    keepers = [cluster.pid(f"node-{number}.keeper") for number in (1, 2, 3)]
    cluster.up("--bus-replicas", str(count))
    assert len(bus(cluster)) == count
    assert containers(kubectl) == before
    assert [cluster.pid(f"node-{number}.keeper") for number in (1, 2, 3)] == keepers
    kubectl("scale", "deployment/steady", "--replicas=3")
    kubectl("rollout", "status", "deployment/steady", "--timeout=90s")


def containers(kubectl: Kubectl) -> set[tuple[str, str, int]]:
    return {
        (pod["metadata"]["uid"], status["containerID"], status["restartCount"])
        for pod in kubectl.pods("app=steady")
        for status in pod["status"]["containerStatuses"]
    }


def test_any_server_may_be_killed_while_kubectl_writes(replicated: TestCluster, kubectl: Kubectl) -> None:
    with kubectl_writers(kubectl) as writers:
        for _ in range(2):
            name = leader(replicated)
            before = replicated.pid(name)
            replicated.kill(name)
            wait_more(writers, 2)
            until(lambda: replicated.pid(name) not in (0, before), f"{name} to be started again")  # noqa: B023
            wait_complete(replicated)
    replicated.wait_healthy()


def test_a_leader_that_is_stopped_hands_over(replicated: TestCluster, kubectl: Kubectl) -> None:
    wait_complete(replicated)
    name = leader(replicated)
    with kubectl_writers(kubectl) as writers:
        os.kill(replicated.pid(name), signal.SIGTERM)
        wait_more(writers, 2)
        wait_complete(replicated)


def test_without_two_servers_writes_are_refused_and_the_cache_is_read(
    replicated: TestCluster, kubectl: Kubectl
) -> None:
    wait_complete(replicated)
    kubectl("create", "configmap", "before", "--from-literal=a=1")
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    with replicated.stopped(*SERVERS[1:]):
        until(
            lambda: "state log" in kubectl.run("create", "configmap", "during", check=False).stderr,
            "a write to be refused for the log's sake",
            90,
        )
        assert '"before"' in kubectl("get", "--raw", f"{path}?resourceVersion=0")
    wait_complete(replicated)
    kubectl("create", "configmap", "after")
    replicated.wait_healthy()


def test_a_cluster_lives_again_from_its_backup(cluster: TestCluster, kubectl: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "cluster.backup"
    kubectl.apply(deployment("web", 2))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    token = kubectl("create", "token", "default").strip()
    with kubectl_writers(kubectl):
        wherry("backup", str(file), "--data", str(cluster.data))
    written = newest(kubectl)
    uids = identities(kubectl)
    kubectl("create", "configmap", "too-late")
    running = wherry("restore", str(file), "--data", str(cluster.data), "--force", check=False)
    assert "stop it with `wherry down" in running.stderr
    cluster.down()
    present = wherry("restore", str(file), "--data", str(cluster.data), check=False)
    assert "replace it with --force" in present.stderr
    wherry("restore", str(file), "--data", str(cluster.data), "--force")
    cluster.up()
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    assert "too-late" not in kubectl("get", "configmaps", "-o", "name")
    assert identities(kubectl) == uids
    kubectl("create", "configmap", "later")
    assert newest(kubectl) > written + 100_000
    assert answer_to(cluster, token) == 403
    assert answer_to(cluster, token[:-4]) == 401
    cluster.wait_healthy()


def test_one_server_holds_what_three_held_and_containers_run_on(replicated: TestCluster, kubectl: Kubectl) -> None:
    move(replicated, kubectl, 1)


def identities(kubectl: Kubectl) -> dict[str, str]:
    items = kubectl.json("get", "deployments,pods")["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}


def answer_to(cluster: TestCluster, token: str) -> int:
    """How the API server answers a bearer that may list no nodes: 403 if it knows the token, 401 if not."""
    settings = Cluster.load(cluster.data)
    assert settings is not None
    context = ssl.create_default_context(cafile=str(settings.pki / "ca.crt"))
    connection = http.client.HTTPSConnection("127.0.0.1", settings.api_port, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/api/v1/nodes", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status


def newest(kubectl: Kubectl) -> int:
    """The highest resourceVersion of a ConfigMap."""
    return max(int(item["metadata"]["resourceVersion"]) for item in kubectl.json("get", "configmaps")["items"])
