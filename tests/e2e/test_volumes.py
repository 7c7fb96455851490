"""Persistent storage as users meet it: claims, the class of local directories, and stateful workloads on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.harness import Kubectl, TestCluster, pod, until


def claim(name: str, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    whole = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": whole}


def user(name: str, claim_name: str, command: str, restart: str = "Always") -> dict[str, Any]:
    made = pod(name, command, restart, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    made["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]
    return made


def finished(kubectl: Kubectl, name: str) -> str:
    phase = "{.status.phase}"
    until(
        lambda: kubectl("get", "pod", name, "-o", f"jsonpath={phase}") in ("Succeeded", "Failed"), f"the end of {name}"
    )
    return kubectl("logs", name)


def test_a_claim_waits_for_its_first_pod_and_its_data_follows_the_next_one(
    cluster: TestCluster, kubectl: Kubectl
) -> None:
    assert "local-path (default)" in cluster.kubectl("get", "storageclass")
    kubectl.apply(claim("data"))
    until(lambda: "waiting for first consumer" in kubectl("describe", "pvc", "data"), "the claim to say why it waits")
    kubectl.apply(user("writer", "data", "echo one > /data/f", "Never"))
    finished(kubectl, "writer")
    row = kubectl("get", "pvc", "data", "--no-headers").split()
    assert (row[1], row[3:6]) == ("Bound", ["1Gi", "RWO", "local-path"])
    first = kubectl("get", "pod", "writer", "-o", "jsonpath={.spec.nodeName}")
    for number in range(3):
        kubectl.apply(user(f"reader-{number}", "data", "cat /data/f", "Never"))
        assert finished(kubectl, f"reader-{number}") == "one\n"
        assert kubectl("get", "pod", f"reader-{number}", "-o", "jsonpath={.spec.nodeName}") == first
    volume = kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
    path = Path(cluster.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.local.path}"))
    assert (path / "f").read_text() == "one\n"
    kubectl("patch", "pvc", "data", "-p", '{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}')
    until(lambda: kubectl("get", "pvc", "data", "-o", "jsonpath={.status.capacity.storage}") == "3Gi", "it to grow")
    kubectl("delete", "pod", "--all")
    kubectl("delete", "pvc", "data")
    until(lambda: not path.exists(), "the directory to go with its claim")
    until(lambda: volume not in cluster.kubectl("get", "pv"), "the volume to go with its claim")


def test_a_static_volume_is_retained(cluster: TestCluster, kubectl: Kubectl, tmp_path: Path) -> None:
    name = f"static-{kubectl.namespace}"
    cluster.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": {"for": kubectl.namespace}},
            "spec": {
                "capacity": {"storage": "2Gi"},
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "hostPath": {"path": str(tmp_path)},
            },
        }
    )
    selector = {"matchLabels": {"for": kubectl.namespace}}
    kubectl.apply(claim("shared", storageClassName="", accessModes=["ReadWriteMany"], selector=selector))
    kubectl.apply(user("writer", "shared", "echo kept > /data/f", "Never"))
    finished(kubectl, "writer")
    assert cluster.kubectl("get", "pv", name, "--no-headers").split()[4] == "Bound"
    kubectl("delete", "pod", "writer")
    kubectl("delete", "pvc", "shared")
    until(lambda: "Released" in cluster.kubectl("get", "pv", name), "the volume to be released")
    assert (tmp_path / "f").read_text() == "kept\n"
    cluster.kubectl("delete", "pv", name)


def test_a_pod_says_which_claim_it_waits_for(kubectl: Kubectl) -> None:
    kubectl.apply(user("early", "nowhere", "true"))
    text = 'persistentvolumeclaim "nowhere" not found'
    until(lambda: text in kubectl("describe", "pod", "early"), "the pod to name the missing claim")
    kubectl.apply(claim("unbound", storageClassName=""))
    kubectl.apply(user("waiting", "unbound", "true"))
    text = "pod has unbound immediate PersistentVolumeClaims"
    until(lambda: text in kubectl("describe", "pod", "waiting"), "the pod to say that its claim is not bound")


def test_a_stateful_set_keeps_its_data_and_gives_claims_back_as_it_was_told(kubectl: Kubectl) -> None:
    command = "echo $HOSTNAME >> /data/f; cat /data/f; exec sleep 1000"
    template = pod("x", command, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    body = claim("data")
    kubectl.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": {
                "replicas": 2,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": template["spec"]},
                "volumeClaimTemplates": [{"metadata": body["metadata"], "spec": body["spec"]}],
                "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
            },
        }
    )
    kubectl("rollout", "status", "statefulset/db", "--timeout=120s")
    kubectl("delete", "pod", "db-0")
    kubectl("rollout", "status", "statefulset/db", "--timeout=120s")
    until(lambda: kubectl("logs", "db-0") == "db-0\ndb-0\n", "the second life to see the data of the first")
    kubectl("scale", "statefulset/db", "--replicas=1")
    until(lambda: "data-db-1" not in kubectl("get", "pvc"), "the claim of the pod that was scaled away to go")
    kubectl("delete", "statefulset", "db")
    kubectl("wait", "--for=delete", "pod/db-0", "--timeout=60s")
    assert "data-db-0" in kubectl("get", "pvc")
    kubectl("delete", "pvc", "--all")


def test_an_ephemeral_volume_lives_as_long_as_its_pod(kubectl: Kubectl) -> None:
    made = pod("scratch", "echo x > /data/f; exec sleep 1000", volumeMounts=[{"name": "tmp", "mountPath": "/data"}])
    made["spec"]["volumes"] = [{"name": "tmp", "ephemeral": {"volumeClaimTemplate": {"spec": claim("x")["spec"]}}}]
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/scratch", "--timeout=60s")
    assert json.loads(kubectl("get", "pvc", "scratch-tmp", "-o", "json"))["status"]["phase"] == "Bound"
    kubectl("delete", "pod", "scratch")
    until(lambda: "scratch-tmp" not in kubectl("get", "pvc"), "the claim to go with its pod")


def test_an_image_can_be_a_volume(kubectl: Kubectl) -> None:
    made = pod("files", "ls /image/bin/busybox; touch /image/x; exec sleep 1000", "Never")
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "image", "mountPath": "/image"}]
    made["spec"]["volumes"] = [{"name": "image", "image": {"reference": "example:1"}}]
    kubectl.apply(made)
    kubectl("wait", "--for=condition=Ready", "pod/files", "--timeout=60s")
    until(lambda: "Read-only file system" in kubectl("logs", "files"), "the container to find it read-only")
    assert kubectl("logs", "files").startswith("/image/bin/busybox\n")
