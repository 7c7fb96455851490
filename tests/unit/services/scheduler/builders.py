"""Small nodes and pods for the scheduler's tests."""

from __future__ import annotations

from typing import Any

from services.scheduler.snapshot import ClusterView


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **fields: Any) -> dict[str, Any]:
    """A Node; keywords: labels, taints, unschedulable, extended (allocatable of other resources)."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | fields.get("labels", {})},
        "spec": {"taints": fields.get("taints", []), "unschedulable": fields.get("unschedulable", False)},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods} | fields.get("extended", {})},
    }


def pod(name: str, node_name: str = "", *, labels: dict[str, str] | None = None, namespace: str = "default",
        requests: dict[str, str] | None = None, phase: str = "Pending", **spec: Any) -> dict[str, Any]:  # fmt: skip
    """A Pod with one container; other keywords are fields of its spec."""
    container: dict[str, Any] = {"name": "main", "resources": {"requests": requests or {}}}
    if ports := spec.pop("ports", None):
        container["ports"] = ports
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"containers": [container], **({"nodeName": node_name} if node_name else {}), **spec},
        "status": {"phase": phase},
    }


def view(nodes: list[dict[str, Any]], pods: list[dict[str, Any]] | None = None) -> ClusterView:
    """A view that has seen these nodes and pods."""
    seen = ClusterView()
    for each in nodes:
        seen.set_node(each["metadata"]["name"], each)
    for each in pods or []:
        seen.set_pod(each["metadata"]["namespace"], each["metadata"]["name"], each)
    return seen
