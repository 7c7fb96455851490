"""The `wherry` command itself: what it prints, refuses and leaves behind."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.e2e.harness import ADDRESSES, ROOT, WHERRY, Kubectl, TestCluster, leftovers, until, wherry


def test_all_three_web_pods_answered_the_examples_job(cluster: TestCluster) -> None:
    logs = Kubectl(cluster.kubectl.kubeconfig, "hello")("logs", "job/check")
    assert logs.splitlines()[-1] == "all three answered"
    assert len({line for line in logs.splitlines() if line.startswith("ahoy from web-")}) == 3


def test_check_prints_one_line_a_feature(cluster: TestCluster) -> None:
    lines = wherry("check").stdout.splitlines()
    names = {line.split()[1] for line in lines if line.startswith("ok")}
    assert {"overlay", "nf_tables", "veth", "bridge"} <= names
    assert lines[-1] == "everything the cluster needs is here"


def test_a_second_up_reports_what_runs_and_changes_nothing(cluster: TestCluster) -> None:
    before = cluster.pid("apiserver")
    printed = cluster.up()
    assert "already runs" in printed
    assert "kubectl get nodes" in printed
    assert cluster.pid("apiserver") == before


def test_status_lists_every_process_with_its_memory(cluster: TestCluster) -> None:
    printed = wherry("status", "--data", str(cluster.data)).stdout
    for name in ("nats-server", "apiserver", "scheduler", "controllers", "registry", "node-3.agent", "node-1.keeper"):
        assert name in printed
    assert printed.count("Ready") == 3


def test_kubeconfig_prints_its_path_and_merges_only_when_asked(cluster: TestCluster, tmp_path: Path) -> None:
    path = wherry("kubeconfig", "--data", str(cluster.data)).stdout.strip()
    assert os.stat(path).st_mode & 0o077 == 0
    target = tmp_path / "config"
    target.write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "other", "cluster": {}}]})
    )
    wherry("kubeconfig", "--data", str(cluster.data), "--merge", env={"KUBECONFIG": str(target)})
    merged = yaml.safe_load(target.read_text())
    assert [entry["name"] for entry in merged["clusters"]] == ["other", "wtest"]
    assert merged["current-context"] == "wtest"


@pytest.fixture
def as_alice(cluster: TestCluster, tmp_path: Path) -> Callable[[str], Kubectl]:
    """kubectl with a token of the user alice who is in one group."""

    def client(group: str) -> Kubectl:
        token = wherry("token", "alice", "--group", group, "--data", str(cluster.data)).stdout.strip()
        document = yaml.safe_load(cluster.kubectl.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token}
        config = tmp_path / group
        config.write_text(yaml.safe_dump(document))
        return Kubectl(config)

    return client


def test_tokens_name_their_user_and_groups(as_alice: Callable[[str], Kubectl]) -> None:
    assert "alice" in as_alice("system:masters")("auth", "whoami")
    assert "node-1" in as_alice("system:masters")("get", "nodes")
    assert "dev" in as_alice("dev")("auth", "whoami")
    assert 'User "alice" cannot list resource "nodes"' in as_alice("dev").run("get", "nodes", check=False).stderr


def test_a_role_binding_gives_what_it_says_and_no_more(
    cluster: TestCluster, kubectl: Kubectl, as_alice: Callable[[str], Kubectl]
) -> None:
    kubectl("create", "rolebinding", "readers", "--clusterrole=view", "--group=readers")
    kubectl("create", "configmap", "seen", "--from-literal=a=b")
    alice = Kubectl(as_alice("readers").kubeconfig, kubectl.namespace)
    until(lambda: alice.run("get", "configmap", "seen", check=False).returncode == 0, "the binding to count")
    assert alice("auth", "can-i", "list", "pods") == "yes\n"
    assert alice.run("get", "secrets", check=False).stderr.startswith("Error from server (Forbidden)")
    assert alice.run("delete", "configmap", "seen", check=False).returncode != 0
    assert Kubectl(alice.kubeconfig, "hello").run("get", "pods", check=False).returncode != 0


def test_a_request_without_a_credential_is_refused(cluster: TestCluster) -> None:
    tls = ssl.create_default_context(cafile=str(cluster.data / "pki" / "ca.crt"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    assert b"gitVersion" in opener.open("https://127.0.0.1:17443/version").read()
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open("https://127.0.0.1:17443/api/v1/secrets")
    assert refused.value.code in (401, 403)
    refused.value.close()


def test_every_service_has_metrics_and_health(cluster: TestCluster) -> None:
    for address, metric in (
        ("10.91.0.1:10259", "scheduler_schedule_attempts_total"),
        ("10.91.0.1:10257", "workqueue_adds_total"),
        ("10.91.0.11:10250", "kubelet_running_pods"),
        ("10.91.0.12:24231", "fluentd"),
        ("10.91.0.1:5000", "process_"),
    ):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert metric in opener.open(f"http://{address}/metrics").read().decode(), address
        for path in ("healthz", "readyz"):
            assert opener.open(f"http://{address}/{path}").status == 200, f"{address}/{path}"
    assert "apiserver_request_total" in cluster.kubectl("get", "--raw", "/metrics")
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
    assert "kubelet_running_pods" in cluster.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/metrics")
    summary = json.loads(cluster.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary"))
    assert "hello" in {pod["podRef"]["namespace"] for pod in summary["pods"]}


def test_container_logs_can_be_read_from_the_stream(cluster: TestCluster) -> None:
    def read() -> list[str]:
        printed = wherry(
            "logs", "--data", str(cluster.data), "-n", "hello", "-l", "app=ticker", "--since", "5m", check=False
        )
        return [line for line in printed.stdout.splitlines() if "tick" in line]

    lines = until(
        lambda: read() if len({line.split(" on ")[1].split()[0] for line in read()}) == 3 else [],
        "lines of three nodes",
    )
    assert any("node-2" in line for line in lines)


def test_up_refuses_what_cannot_work_in_one_sentence(cluster: TestCluster, tmp_path: Path) -> None:
    busy = socket.socket()
    busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    busy.bind(("127.0.0.1", 0))
    busy.listen()
    port = str(busy.getsockname()[1])
    other = [
        "--name",
        "wother",
        "--underlay",
        "10.92.0.0/24",
        "--pod-cidr",
        "10.246.0.0/16",
        "--service-cidr",
        "10.98.0.0/16",
    ]
    taken = wherry("up", "--data", str(tmp_path / "a"), *other, "--port", port, check=False)
    assert (taken.returncode, taken.stderr.count("\n")) == (1, 1)
    assert f"port {port}" in taken.stderr
    busy.close()

    (tmp_path / "file").write_text("")
    broken = wherry("up", "--data", str(tmp_path / "file"), *other, check=False)
    assert (broken.returncode, broken.stderr.count("\n")) == (1, 1)
    assert str(tmp_path / "file") in broken.stderr

    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "cluster.json").write_text("{")
    damaged = wherry("up", "--data", str(tmp_path / "damaged"), check=False)
    assert (damaged.returncode, damaged.stderr.count("\n")) == (1, 1)
    assert "damaged" in damaged.stderr

    changed = wherry("up", "--data", str(cluster.data), "--port", "9999", check=False)
    assert "cannot become 9999" in changed.stderr


def test_up_without_root_says_so(tmp_path: Path) -> None:
    # A user namespace without a mapping: the same files can be read, but the user is nobody.
    command = ["unshare", "--user", *WHERRY, "up", "--data", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "wherry: wherry up needs root to make namespaces and mounts; run it with sudo\n"


def test_down_and_up_again_keep_the_state(cluster: TestCluster) -> None:
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    cluster.down()
    assert leftovers() == []
    cluster.up(*ADDRESSES)
    assert cluster.kubectl.json("get", "configmap", "kept")["data"] == {"a": "b"}
    hello = Kubectl(cluster.kubectl.kubeconfig, "hello")
    hello("rollout", "status", "deployment/web", "--timeout=120s")
    until(
        lambda: len([p for p in hello.pods("app=web") if p["status"]["phase"] == "Running"]) == 3,
        "the example to be back",
    )
