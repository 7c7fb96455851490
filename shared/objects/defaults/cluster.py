"""Defaults of services, configuration, quotas, access rules and definitions."""

from __future__ import annotations

import base64

from shared.objects.defaults.rules import Object, Rule

_SESSION_SECONDS = 10800
"""How long a client stays with one endpoint by default: three hours."""
_ACCESS_GROUP = "rbac.authorization.k8s.io"
_MATCHING_PRECEDENCE = 1000
_QUEUES, _HAND_SIZE, _QUEUE_LENGTH = 64, 8, 50


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


def _network_policy_spec(spec: Object) -> None:
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _subject(subject: Object) -> None:
    if subject.get("kind") in ("User", "Group"):
        subject.setdefault("apiGroup", _ACCESS_GROUP)


def _role_reference(reference: Object) -> None:
    if not reference.get("apiGroup"):
        reference["apiGroup"] = _ACCESS_GROUP


def _limit_range_item(item: Object) -> None:
    """Limits default to the maximum, requests to the limits, else to the minimum."""
    if item.get("type") != "Container":
        return
    limits = {**(item.get("max") or {}), **(item.get("default") or {})}
    requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
    if limits:
        item["default"] = limits
    if requests:
        item["defaultRequest"] = requests


def _flow_schema_spec(spec: Object) -> None:
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = _MATCHING_PRECEDENCE


def _queuing(queuing: Object) -> None:
    for name, value in (("queues", _QUEUES), ("handSize", _HAND_SIZE), ("queueLengthLimit", _QUEUE_LENGTH)):
        if not queuing.get(name):
            queuing[name] = value


def _definition(definition: Object) -> None:
    """The names of a custom resource, and which version is stored."""
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    if not names.get("singular") and kind:
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = f"{kind}List"
    spec.setdefault("conversion", {"strategy": "None"})
    status = definition.setdefault("status", {})
    if not status.get("storedVersions"):
        stored = [one.get("name", "") for one in spec.get("versions") or () if one.get("storage")]
        if stored:
            status["storedVersions"] = stored[:1]


RULES: dict[str, Rule] = {
    "apiextensions/v1.CustomResourceDefinition": _definition,
    "core/v1.LimitRangeItem": _limit_range_item,
    "core/v1.Namespace": _namespace,
    "core/v1.Secret": _secret,
    "core/v1.Service": _service,
    "core/v1.ServicePort": _service_port,
    "flowcontrol/v1.FlowSchemaSpec": _flow_schema_spec,
    "flowcontrol/v1.QueuingConfiguration": _queuing,
    "networking/v1.NetworkPolicySpec": _network_policy_spec,
    "rbac/v1.RoleRef": _role_reference,
    "rbac/v1.Subject": _subject,
}
