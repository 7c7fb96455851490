"""Objects as users write them, for the tests of the controllers."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def pod_template(image: str = "web:1", **spec: Any) -> Object:
    """A template labelled app=web."""
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": image}], **spec},
    }


def workload(api_version: str, kind: str, name: str, spec: Object, **metadata: Any) -> Object:
    """Any namespaced object."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": spec,
    }


def deployment(name: str = "web", replicas: int = 3, image: str = "web:1", **spec: Any) -> Object:
    """A Deployment of app=web."""
    selector = {"matchLabels": {"app": "web"}}
    whole = {"replicas": replicas, "selector": selector, "template": pod_template(image), **spec}
    return workload("apps/v1", "Deployment", name, whole)


def replicaset(name: str = "web", replicas: int = 3, **spec: Any) -> Object:
    """A ReplicaSet of app=web."""
    selector = {"matchLabels": {"app": "web"}}
    return workload(
        "apps/v1", "ReplicaSet", name, {"replicas": replicas, "selector": selector, "template": pod_template(), **spec}
    )


def daemonset(name: str = "agent", image: str = "agent:1", **spec: Any) -> Object:
    """A DaemonSet of app=web."""
    selector = {"matchLabels": {"app": "web"}}
    return workload("apps/v1", "DaemonSet", name, {"selector": selector, "template": pod_template(image), **spec})


def statefulset(
    name: str = "db", replicas: int = 3, image: str = "db:1", claims: tuple[str, ...] = (), **spec: Any
) -> Object:
    """A StatefulSet of app=web with a claim template for each name in `claims`."""
    whole = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "serviceName": "peers",
        "template": pod_template(image),
        **spec,
    }
    if claims:
        request = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        whole["volumeClaimTemplates"] = [{"metadata": {"name": one}, "spec": request} for one in claims]
    return workload("apps/v1", "StatefulSet", name, whole)


def job(name: str = "sum", **spec: Any) -> Object:
    """A Job with one completion, as the API server hands it on (selector and labels made)."""
    template = pod_template(restartPolicy=spec.pop("restartPolicy", "Never"))
    return workload("batch/v1", "Job", name, {"template": template, **spec})


def cronjob(name: str = "backup", schedule: str = "* * * * *", **spec: Any) -> Object:
    """A CronJob with a Job of one completion."""
    template = {"spec": {"template": pod_template(restartPolicy="Never")}}
    return workload("batch/v1", "CronJob", name, {"schedule": schedule, "jobTemplate": template, **spec})


def budget(name: str = "web", **spec: Any) -> Object:
    """A PodDisruptionBudget of app=web."""
    selector = {"matchLabels": {"app": "web"}}
    return workload("policy/v1", "PodDisruptionBudget", name, {"selector": selector, **spec})


def service(name: str = "web", **spec: Any) -> Object:
    """A Service of app=web on port 80."""
    whole = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec}
    return workload("v1", "Service", name, whole)


def pod(name: str, **metadata: Any) -> Object:
    """A pod labelled app=web."""
    spec = {"containers": [{"name": "main", "image": "web:1"}]}
    return workload("v1", "Pod", name, spec, **{"labels": {"app": "web"}, **metadata})


def node(name: str = "node-1", *, ready: str = "True", taints: list[Object] | None = None, **labels: str) -> Object:
    """A Node with a Ready condition."""
    condition = {
        "type": "Ready",
        "status": ready,
        "reason": "KubeletReady",
        "lastTransitionTime": "2026-11-24T08:00:00Z",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints} if taints else {},
        "status": {"conditions": [condition]},
    }


def namespace(name: str = "shop") -> Object:
    """A Namespace with its finalizer."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
