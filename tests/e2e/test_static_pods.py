"""Pods that a node runs from files of its own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.harness import Kubectl, TestCluster, pod, until


def test_a_static_pod_follows_its_file_and_survives_the_control_plane(cluster: TestCluster, kubectl: Kubectl) -> None:
    directory = cluster.data / "nodes" / "node-2" / "manifests"
    file = directory / f"{kubectl.namespace}.json"

    def write(command: str) -> None:
        made = pod("beacon", command)
        made["metadata"]["namespace"] = kubectl.namespace
        file.write_text(json.dumps(made))

    write("echo first; exec sleep 1000")
    try:
        until(lambda: "beacon-node-2" in kubectl("get", "pods"), "the mirror")
        kubectl("wait", "--for=condition=Ready", "pod/beacon-node-2", "--timeout=60s")
        assert kubectl("logs", "beacon-node-2") == "first\n"
        assert kubectl("exec", "beacon-node-2", "--", "hostname") == "beacon-node-2\n"
        notes = kubectl.json("get", "pod", "beacon-node-2")["metadata"]["annotations"]
        assert notes["kubernetes.io/config.source"] == "file"
        kubectl("delete", "pod", "beacon-node-2", "--wait=false")
        kubectl("wait", "--for=condition=Ready", "pod/beacon-node-2", "--timeout=60s")
        assert kubectl("logs", "beacon-node-2") == "first\n"
        with cluster.stopped("apiserver"):
            write("echo second; exec sleep 1000")
            logs = cluster.data / "nodes" / "node-2" / "logs"
            until(lambda: _said(logs, kubectl.namespace, "second"), "the new pod to run without any API server")
        cluster.wait_healthy()
        until(lambda: kubectl.run("logs", "beacon-node-2", check=False).stdout == "second\n", "the new mirror")
        file.write_text("kind: Pod")
        until(lambda: file.name in cluster.kubectl("get", "events"), "an event that names the bad file")
    finally:
        file.unlink()
    until(lambda: "beacon-node-2" not in kubectl("get", "pods"), "the mirror to go with the file")


def _said(logs: Path, namespace: str, text: str) -> bool:
    return any(text in path.read_text() for path in logs.glob(f"{namespace}_beacon-node-2_*/main/0.log"))
