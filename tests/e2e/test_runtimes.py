"""What users ask of the container runtime, from outside: other runtimes, own users, resizing, suspending."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Kubectl, TestCluster, pod, until, wherry


def amounts(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def main_status(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.json("get", "pod", name)["status"]["containerStatuses"][0]
    return found


def conditions(kubectl: Kubectl, name: str) -> dict[str, dict[str, Any]]:
    found = kubectl.json("get", "pod", name)["status"].get("conditions") or ()
    return {one["type"]: one for one in found}


def resize(kubectl: Kubectl, name: str, resources: dict[str, Any]) -> None:
    patch = json.dumps({"spec": {"containers": [{"name": "main", "resources": resources}]}})
    kubectl("patch", "pod", name, "--subresource", "resize", "-p", patch)


@pytest.fixture
def runtime_class(kubectl: Kubectl) -> Iterator[str]:
    """The name of a RuntimeClass whose handler the test sets; the class is not of a namespace."""
    name = kubectl.namespace
    yield name
    kubectl("delete", "runtimeclass", name, "--ignore-not-found")


def make_class(kubectl: Kubectl, name: str, handler: str) -> None:
    kubectl.apply(
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler}
    )


@pytest.mark.parametrize("handler", ["runc", "crun"])
def test_a_pod_runs_with_another_runtime(kubectl: Kubectl, runtime_class: str, handler: str) -> None:
    if shutil.which(handler) is None:
        pytest.skip(f"{handler} is not installed (tests/tools installs it)")
    make_class(kubectl, runtime_class, handler)
    manifest = pod("other", "echo here; exec sleep 1000")
    manifest["spec"]["runtimeClassName"] = runtime_class
    kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod/other", "--timeout=60s")
    assert kubectl("logs", "other") == "here\n"
    assert kubectl("exec", "other", "--", "hostname") == "other\n"


def test_an_unknown_runtime_is_an_event(kubectl: Kubectl, runtime_class: str) -> None:
    make_class(kubectl, runtime_class, "runsc")
    manifest = pod("unknown", "exec sleep 1000")
    manifest["spec"]["runtimeClassName"] = runtime_class
    kubectl.apply(manifest)
    text = 'Failed to create pod sandbox: no runtime for "runsc" is configured'
    until(lambda: text in kubectl("get", "events", "-o", "custom-columns=M:.message"), "the event")


def test_nodes_list_their_runtimes(kubectl: Kubectl) -> None:
    for node in kubectl.json("get", "nodes")["items"]:
        handlers = {one["name"]: one["features"] for one in node["status"]["runtimeHandlers"]}
        assert handlers["wherry"] == {"recursiveReadOnlyMounts": True, "userNamespaces": True}


def test_a_pod_with_its_own_users_is_root_only_inside(kubectl: Kubectl) -> None:
    manifest = pod("own", "id -u; cat /proc/self/uid_map; exec sleep 1000")
    manifest["spec"]["hostUsers"] = False
    kubectl.apply(manifest)
    kubectl("wait", "--for=condition=Ready", "pod/own", "--timeout=60s")
    words = kubectl("logs", "own").split()
    assert (words[0], words[1], words[3]) == ("0", "0", "65536")
    assert int(words[2]) >= 65536
    assert kubectl("exec", "own", "--", "id", "-u") == "0\n"
    manifest["metadata"]["name"], manifest["spec"]["hostNetwork"] = "both", True
    refused = kubectl.run("apply", "-f", "-", stdin=json.dumps(manifest), check=False)
    assert "spec.hostNetwork: Forbidden: when `hostUsers` is false" in refused.stderr


def test_resources_change_in_place(kubectl: Kubectl) -> None:
    kubectl.apply(pod("grow", "exec sleep 1000", resources=amounts("50m", "32Mi")))
    kubectl("wait", "--for=condition=Ready", "pod/grow", "--timeout=60s")
    resize(kubectl, "grow", amounts("80m", "64Mi"))
    until(lambda: main_status(kubectl, "grow")["resources"] == amounts("80m", "64Mi"), "the new resources")
    status = main_status(kubectl, "grow")
    assert (status["allocatedResources"], status["restartCount"]) == ({"cpu": "80m", "memory": "64Mi"}, 0)
    resize(kubectl, "grow", amounts("1000", "64Mi"))
    until(lambda: "PodResizePending" in conditions(kubectl, "grow"), "the condition")
    assert conditions(kubectl, "grow")["PodResizePending"]["reason"] == "Infeasible"
    resize(kubectl, "grow", amounts("80m", "64Mi"))
    until(lambda: "PodResizePending" not in conditions(kubectl, "grow"), "its end")


def test_a_resize_does_not_change_the_qos_class(kubectl: Kubectl) -> None:
    kubectl.apply(pod("same", "exec sleep 1000", resources=amounts("50m", "32Mi")))
    patch = '{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"40m"}}}]}}'
    refused = kubectl.run("patch", "pod", "same", "--subresource", "resize", "-p", patch, check=False)
    assert "Pod QOS Class may not change as a result of resizing" in refused.stderr


def test_a_pod_is_suspended_and_resumed(cluster: TestCluster, kubectl: Kubectl) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1}
    kubectl.apply(pod("still", "while :; do date +%s%N; sleep 0.1; done", livenessProbe=probe))
    kubectl("wait", "--for=condition=Ready", "pod/still", "--timeout=60s")
    place = ("still", "-n", kubectl.namespace, "--data", str(cluster.data))
    wherry("pod", "suspend", *place)
    assert conditions(kubectl, "still")["wherry.io/Suspended"]["status"] == "True"
    last = kubectl("logs", "still", "--tail=1")
    refused = kubectl.run("exec", "still", "--", "true", check=False)
    assert 'container "main" is suspended' in refused.stderr
    assert kubectl("logs", "still", "--tail=1") == last
    wherry("pod", "resume", *place)
    until(lambda: kubectl("logs", "still", "--tail=1") != last, "new lines")
    assert main_status(kubectl, "still")["restartCount"] == 0
