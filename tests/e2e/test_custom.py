"""Custom resources with the clients that people use them through: kubectl, an operator written with kopf, helm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import TOOLS, Helm, Kubectl, TestCluster, until

OPERATORS = Path(__file__).parent / "operators"
CHART = Path(__file__).parent / "boatyard"


def boat(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "river.example/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def boats(cluster: TestCluster) -> Iterator[None]:
    """The definition of boats, until the end of the test."""
    cluster.kubectl("apply", "-f", str(OPERATORS / "boats.yaml"))
    cluster.kubectl("wait", "--for=condition=Established", "crd/boats.river.example", "--timeout=30s")
    yield
    cluster.kubectl("delete", "crd", "boats.river.example", "--timeout=60s")


@pytest.fixture
def operator(boats: None, kubectl: Kubectl, tmp_path: Path) -> Iterator[None]:
    """A kopf operator that looks after the boats of the test's namespace."""
    command = [
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--standalone",
        "-n",
        kubectl.namespace,
        str(OPERATORS / "boats.py"),
    ]
    env = kubectl.environment() | {"KUBECONFIG": str(kubectl.kubeconfig), "KUBECTL": str(TOOLS / "kubectl")}
    with (tmp_path / "operator.log").open("w+") as output:
        running = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            running.terminate()
            code = running.wait(timeout=30)
            output.seek(0)
            print(output.read())
        assert code == 0


def test_custom_resources_are_handled_like_any_other(boats: None, kubectl: Kubectl) -> None:
    assert "How many row." in kubectl("explain", "boat.spec.crew")
    kubectl.apply(boat("skiff", crew=2))
    assert kubectl("get", "bt").split()[:5] == ["NAME", "CREW", "STATE", "AGE", "skiff"]
    refused = kubectl.run("apply", "-f", "-", stdin=json.dumps(boat("skiff", crew=9)), check=False)
    assert "there are only 4 berths" in refused.stderr
    unknown = kubectl.run("create", "-f", "-", stdin=json.dumps(boat("punt", oars=2)), check=False)
    assert 'unknown field "spec.oars"' in unknown.stderr
    kubectl("scale", "boat/skiff", "--replicas=3")
    kubectl("patch", "boat", "skiff", "--type=merge", "-p", '{"spec":{"berths":6}}')
    kubectl("patch", "boat", "skiff", "--subresource=status", "--type=merge", "-p", '{"status":{"state":"moored"}}')
    found = kubectl.json("get", "boat", "skiff")
    assert (found["spec"], found["status"]) == ({"crew": 3, "berths": 6}, {"state": "moored"})
    assert found["metadata"]["generation"] == 3
    clash = kubectl.run(
        "apply", "--server-side", "--field-manager=ci", "-f", "-", stdin=json.dumps(boat("skiff", crew=4)), check=False
    )
    assert "conflict" in clash.stderr
    assert ".spec.crew" in clash.stderr
    applied = json.dumps(boat("skiff", crew=4))
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=ci", "-f", "-", stdin=applied)
    assert kubectl("get", "boat", "skiff", "-o", "jsonpath={.spec.crew}") == "4"
    kubectl("delete", "boat", "skiff")
    assert kubectl.json("get", "boats")["items"] == []


def test_an_operator_reconciles_its_resources(operator: None, kubectl: Kubectl) -> None:
    kubectl.apply(boat("wherry", crew=1))
    until(lambda: _ready(kubectl, "wherry") == 1, "the deployment of the boat to be ready", 90)
    until(lambda: (kubectl.json("get", "boat", "wherry").get("status") or {}).get("state") == "afloat", "the status")
    kubectl("scale", "boat/wherry", "--replicas=2")
    until(lambda: _ready(kubectl, "wherry") == 2, "the deployment to follow the boat", 90)
    owner = kubectl.json("get", "deployment", "wherry")["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("Boat", "wherry")
    kubectl("delete", "boat", "wherry", "--timeout=60s")
    assert kubectl.json("get", "configmap", "log-of-wherry")["data"] == {"end": "sunk"}
    until(
        lambda: kubectl.json("get", "deployments,pods", "-l", "boat=wherry")["items"] == [], "what the boat owned to go"
    )


def _ready(kubectl: Kubectl, name: str) -> int:
    result = kubectl.run("get", "deployment", name, "-o", "jsonpath={.status.readyReplicas}", check=False)
    return int(result.stdout or 0)


def test_custom_resources_go_with_their_namespace(boats: None, cluster: TestCluster, kubectl: Kubectl) -> None:
    name = f"{kubectl.namespace}-shore"
    cluster.kubectl("create", "namespace", name)
    shore = Kubectl(kubectl.kubeconfig, name)
    shore.apply(boat("raft"))
    cluster.kubectl("delete", "namespace", name, "--timeout=60s")
    assert cluster.kubectl.json("get", "boats", "-A")["items"] == []


def test_a_chart_brings_its_definitions(cluster: TestCluster, kubectl: Kubectl, helm: Helm) -> None:
    try:
        helm("install", "berth", str(CHART))
        assert kubectl.json("get", "slip", "berth")["spec"] == {"length": 12, "covered": False}
        helm("upgrade", "berth", str(CHART), "--set", "length=15")
        assert kubectl.json("get", "slip", "berth")["spec"]["length"] == 15
        helm("uninstall", "berth", "--wait", "--timeout", "60s")
        assert kubectl.json("get", "slips")["items"] == []
    finally:
        cluster.kubectl("delete", "crd", "slips.yard.example", "--ignore-not-found", "--timeout=60s")
