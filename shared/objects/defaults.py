"""What the server fills in: the defaults of the table, and the few that depend on other fields.

Sources: the `defaults.go` files of Kubernetes' API groups. What admission plugins add (priority, default tolerations,
service accounts) and what is allocated (addresses, ports) is not here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from shared.objects import meta, quantities, schema
from shared.objects.registry import Resource
from shared.objects.schema import Field, Struct

Object = dict[str, Any]
Rule = Callable[[Object], None]

_UNLIMITED_RETRIES = 2**31 - 1
_SESSION_SECONDS = 10800
"""How long a client stays with one endpoint by default: three hours."""


def apply_defaults(resource: Resource, obj: Object) -> None:
    """Fill in the defaults of an object's kind, in place; applying them twice changes nothing."""
    fill(resource.schema, obj)


def fill(struct: Struct, obj: Object) -> None:
    """As `apply_defaults`, for any struct, such as a pod template or a TokenRequest."""
    plan = _plan(struct)
    if plan is not None:
        plan(obj)


@schema.planned
def _plan(struct: Struct) -> Rule | None:
    """What to do to an object of that type; None if neither it nor anything in it has defaults."""
    if not _has_defaults(struct):
        return None
    values = [(field.name, field.default) for field in struct.fields.values() if _is_filled(field)]
    rule = _RULES.get(f"{struct.package}.{struct.name}")
    children: list[tuple[str, bool, str, Struct]] = []
    for field in struct.fields.values():
        inner = field.struct
        if inner is not None and _has_defaults(inner):
            children.append((field.name, field.always, field.container, inner))

    def apply(obj: Object) -> None:
        for name, value in values:
            if name not in obj:
                obj[name] = value if type(value) is not dict else {}
        if rule is not None:
            rule(obj)
        for name, always, container, inner in children:
            item = obj.get(name)
            if item is None:
                if not always or container:
                    continue
                item = obj[name] = {}
            plan = _plan(inner)
            assert plan is not None
            if container == "list":
                for element in item:
                    plan(element)
            elif container == "map":
                for element in item.values():
                    plan(element)
            else:
                plan(item)

    return apply


@schema.planned
def _has_defaults(struct: Struct) -> bool:
    seen: set[Struct] = set()
    waiting = [struct]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        if f"{current.package}.{current.name}" in _RULES or any(_is_filled(field) for field in current.fields.values()):
            return True
        waiting.extend(inner for field in current.fields.values() if (inner := field.struct) is not None)
    return False


def _is_filled(field: Field) -> bool:
    """Whether the default is ever seen: the zero of a field that is left out when zero is not."""
    return field.default is not None and (field.pointer or bool(field.default) or field.default == {})


def _pod(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        resources = container.get("resources")
        if resources and resources.get("limits"):
            resources["requests"] = {**resources["limits"], **resources.get("requests", {})}
        if spec.get("hostNetwork"):
            for port in container.get("ports", ()):
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)
    if (spec.get("resources") or {}).get("limits"):
        _pod_level_requests(spec)


def _pod_level_requests(spec: Object) -> None:
    """A pod's own requests default to what its containers ask for together, else to its limits (KEP-2837)."""
    resources = spec["resources"]
    requests: dict[str, str] = dict(resources.get("requests") or {})
    asked = [(one.get("resources") or {}).get("requests") or {} for one in spec.get("containers", ())]
    for name in {key for one in asked for key in one} | resources["limits"].keys():
        if name in requests or not (name in ("cpu", "memory") or name.startswith("hugepages-")):
            continue
        amounts = [one[name] for one in asked if name in one]
        if amounts:
            requests[name] = quantities.format_milli(sum(quantities.milli(one) for one in amounts))
        else:
            requests[name] = resources["limits"][name]
    resources["requests"] = requests


def _pod_spec(spec: Object) -> None:
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def _container(container: Object) -> None:
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = pull_policy(container.get("image", ""))


def pull_policy(image: str) -> str:
    """Always for the latest tag, said or implied; IfNotPresent for any other tag and for a digest."""
    name, _, digest = image.rpartition("/")[2].partition("@")
    _, colon, tag = name.partition(":")
    if colon:
        return "Always" if tag == "latest" else "IfNotPresent"
    return "IfNotPresent" if digest or not image else "Always"


def _image_volume(source: Object) -> None:
    if "pullPolicy" not in source:
        source["pullPolicy"] = pull_policy(source.get("reference", ""))


def _volume(volume: Object) -> None:
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}


def _resources(resources: Object) -> None:
    for name in ("limits", "requests"):
        _round_to_milli(resources.get(name))


def _node_status(status: Object) -> None:
    if "allocatable" not in status and "capacity" in status:
        status["allocatable"] = dict(status["capacity"])
    _round_to_milli(status.get("capacity"))
    _round_to_milli(status.get("allocatable"))


def _round_to_milli(amounts: dict[str, str] | None) -> None:
    for name, amount in (amounts or {}).items():
        if amount[-1] in "nu":
            amounts[name] = quantities.rounded_to_milli(amount)  # type: ignore[index]


def _secret(secret: Object) -> None:
    text = secret.pop("stringData", None)
    if text:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
        secret["data"] = {**secret.get("data", {}), **encoded}


def _namespace(namespace: Object) -> None:
    metadata = namespace.setdefault("metadata", {})
    if metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def _service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    outside = kind in ("NodePort", "LoadBalancer")
    if spec.setdefault("sessionAffinity", "None") == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", _SESSION_SECONDS)
    else:
        spec.pop("sessionAffinityConfig", None)
    if outside or (kind == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if outside or kind == "ClusterIP":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress", ()):
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _service_port(port: Object) -> None:
    if not port.get("targetPort"):
        port["targetPort"] = port.get("port", 0)


def _rolling(strategy: Object) -> None:
    if strategy.get("type") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {})


def _job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _UNLIMITED_RETRIES if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    template_labels = spec.get("template", {}).get("metadata", {}).get("labels")
    metadata = job.setdefault("metadata", {})
    if template_labels and not metadata.get("labels"):
        metadata["labels"] = meta.copy(template_labels)


def _network_policy_spec(spec: Object) -> None:
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _subject(subject: Object) -> None:
    if subject.get("kind") in ("User", "Group"):
        subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


_RULES: dict[str, Rule] = {
    "core/v1.Pod": _pod,
    "core/v1.PodSpec": _pod_spec,
    "core/v1.Container": _container,
    "core/v1.EphemeralContainer": _container,
    "core/v1.ImageVolumeSource": _image_volume,
    "core/v1.Volume": _volume,
    "core/v1.ResourceRequirements": _resources,
    "core/v1.VolumeResourceRequirements": _resources,
    "core/v1.NodeStatus": _node_status,
    "core/v1.Namespace": _namespace,
    "core/v1.Secret": _secret,
    "core/v1.Service": _service,
    "core/v1.ServicePort": _service_port,
    "apps/v1.DeploymentStrategy": _rolling,
    "apps/v1.DaemonSetUpdateStrategy": _rolling,
    "apps/v1.StatefulSetUpdateStrategy": _rolling,
    "batch/v1.Job": _job,
    "networking/v1.NetworkPolicySpec": _network_policy_spec,
    "rbac/v1.Subject": _subject,
}
