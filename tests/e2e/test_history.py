"""The past of a cluster: who changed what, and what it was like before."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.e2e.harness import Kubectl, TestCluster, deployment, until, wherry


def history(cluster: TestCluster, kubectl: Kubectl, kind: str, name: str) -> list[dict[str, Any]]:
    output = wherry("history", kind, name, "-n", kubectl.namespace, "-o", "json", "--data", str(cluster.data)).stdout
    entries: list[dict[str, Any]] = json.loads(output)
    return entries


def test_every_change_of_an_object_has_an_author(cluster: TestCluster, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", replicas=1))
    until(lambda: kubectl.pods("app=web") and kubectl.pods("app=web")[0]["status"].get("podIP"), "the pod runs")
    kubectl("scale", "deployment", "web", "--replicas=2")
    entries = history(cluster, kubectl, "deploy", "web")
    assert entries[0]["cause"] == "create"
    assert entries[0]["agent"].startswith("kubectl/")
    scaled = next(one for one in entries if "spec.replicas: 1 -> 2" in one["changes"])
    assert scaled["user"] == "wtest-admin"
    assert "system:kube-controller-manager" in {one["user"] for one in entries}
    name = kubectl.pods("app=web")[0]["metadata"]["name"]
    writers = {one["user"] for one in history(cluster, kubectl, "pod", name)}
    assert {"system:kube-controller-manager", "system:kube-scheduler"} <= writers
    assert any(user.startswith("system:node:") for user in writers)


def test_the_past_can_be_listed_and_compared_also_when_it_is_deleted(cluster: TestCluster, kubectl: Kubectl) -> None:
    data = ["-n", kubectl.namespace, "--data", str(cluster.data)]
    kubectl("create", "configmap", "settings", "--from-literal=colour=red")
    before = history(cluster, kubectl, "cm", "settings")[-1]["revision"]
    kubectl("patch", "configmap", "settings", "-p", '{"data":{"colour":"blue"}}')
    kubectl("delete", "configmap", "settings")
    last = history(cluster, kubectl, "cm", "settings")[-1]
    assert last["deleted"]
    assert last["agent"].startswith("kubectl/")
    # the memory of the server must not be what answers
    cluster.kill("apiserver")
    until(lambda: kubectl.run("get", "--raw", "/readyz", check=False).returncode == 0, "the API server is back")
    table = wherry("get", "cm", "--at", str(before), *data).stdout.splitlines()
    assert table[0].split() == ["NAME", "DATA", "AGE"]
    assert "settings" in [line.split()[0] for line in table]
    shown = yaml.safe_load(wherry("get", "configmap", "settings", "--at", str(before), "-o", "yaml", *data).stdout)
    assert shown["data"] == {"colour": "red"}
    difference = wherry(
        "diff", "cm", "settings", "--at", str(before), "--to", str(last["revision"] - 1), *data, check=False
    )
    assert difference.returncode == 1
    assert "-  colour: red" in difference.stdout
    assert "+  colour: blue" in difference.stdout
    late = wherry("get", "cm", "never", "--at", str(before), *data, check=False)
    assert late.returncode == 1
    assert "there was no configmaps never" in late.stderr
    unknown = wherry("diff", "cm", "never", "--at", str(before), *data, check=False)
    assert unknown.returncode == 1
    assert f"the log knows no configmaps never in namespace {kubectl.namespace}" in unknown.stderr
