"""A chart's whole life with the real helm 4, which writes by server-side apply."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.harness import Helm, Kubectl, until

CHART = Path(__file__).parent / "chart"


def test_install_upgrade_rollback_and_uninstall(kubectl: Kubectl, helm: Helm) -> None:
    def page() -> str:
        return kubectl.run("exec", "deployment/site", "--", "wget", "-q", "-O-", "http://site/", check=False).stdout

    helm("install", "site", str(CHART), "--wait", "--timeout", "90s")
    until(lambda: page() == "first", "the first page")
    helm("upgrade", "site", str(CHART), "--set", "text=second,replicas=2", "--wait", "--timeout", "90s")
    until(lambda: page() == "second", "the second page")
    assert kubectl.json("get", "deployment", "site")["status"]["readyReplicas"] == 2
    assert [release["revision"] for release in json.loads(helm("history", "site", "-o", "json"))] == [1, 2]
    helm("rollback", "site", "1", "--wait", "--timeout", "90s")
    until(lambda: page() == "first", "the first page again")
    assert kubectl.json("get", "deployment", "site")["spec"]["replicas"] == 1
    helm("uninstall", "site", "--wait", "--timeout", "90s")
    until(lambda: kubectl.json("get", "deployments,services,pods")["items"] == [], "everything of the chart to go")


def test_fields_of_others_are_kept_and_conflicts_are_told(kubectl: Kubectl) -> None:
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"ours": "1"}}
    kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=json.dumps(applied))
    other = applied | {"data": {"theirs": "2"}}
    kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=json.dumps(other))
    assert kubectl.json("get", "configmap", "shared")["data"] == {"ours": "1", "theirs": "2"}
    clash = applied | {"data": {"ours": "3"}}
    refused = kubectl.run(
        "apply", "--server-side", "--field-manager=two", "-f", "-", stdin=json.dumps(clash), check=False
    )
    assert refused.returncode != 0
    assert 'conflict with "one": .data.ours' in refused.stderr
    kubectl("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-", stdin=json.dumps(clash))
    assert kubectl.json("get", "configmap", "shared")["data"] == {"ours": "3"}
