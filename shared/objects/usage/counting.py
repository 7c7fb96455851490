"""Which quota names an object counts under, and for how much: pods, services and claims by what is in them, everything
else as one object more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from shared.objects.usage import pods, scopes
from shared.objects.usage.amounts import Amounts

Object = Mapping[str, Any]

# core kinds that have a quota name of their own besides count/<plural>
ALIASES = frozenset(
    {"configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services"}
)
NOT_COUNTED = frozenset({("", "events"), ("events.k8s.io", "events"), ("", "bindings")})
SERVICE_NAMES = frozenset({"services.nodeports", "services.loadbalancers"})
STORAGE = "requests.storage"
BY_CLASS = ".storageclass.storage.k8s.io/"
BY_ATTRIBUTES_CLASS = ".volumeattributesclass.storage.k8s.io/"
BY_DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"
DEVICES_OF_ALL = 32
"""Most devices that a claim for all matching ones can get (resource/v1 AllocationResultsMaxSize)."""


def counted(group: str, plural: str) -> bool:
    """Whether objects of a resource count at all."""
    return (group, plural) not in NOT_COUNTED


def count_name(group: str, plural: str) -> str:
    """The name that counts the objects of a resource."""
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def tracked(group: str, plural: str, names: Iterable[str]) -> list[str]:
    """The quota names among `names` that objects of a resource count under."""
    return [name for name in names if _tracks(group, plural, name)]


def usage(group: str, plural: str, obj: Object, now: datetime) -> Amounts:
    """What one object takes."""
    if (group, plural) == ("", "pods"):
        return pods.usage(obj, now)
    taken = {count_name(group, plural): "1"}
    if not group and plural in ALIASES:
        taken[plural] = "1"
    match group, plural:
        case "", "services":
            taken |= _service(obj.get("spec") or {})
        case "", "persistentvolumeclaims":
            taken |= _claim(obj)
        case "resource.k8s.io", "resourceclaims":
            taken |= _devices(obj.get("spec") or {})
    return taken


def matches(group: str, plural: str, quota: Object, names: Iterable[str], obj: Object) -> bool:
    """Whether a quota with these names is about an object: it tracks its kind, and the object is in its scopes."""
    if not tracked(group, plural, names):
        return False
    return scopes.match(quota, plural if not group else "", obj)


def _tracks(group: str, plural: str, name: str) -> bool:
    if (group, plural) == ("", "pods"):
        return pods.tracked(name)
    if name == count_name(group, plural) or (not group and plural in ALIASES and name == plural):
        return True
    match group, plural:
        case "", "services":
            return name in SERVICE_NAMES
        case "", "persistentvolumeclaims":
            return name == STORAGE or BY_CLASS in name or BY_ATTRIBUTES_CLASS in name
        case "resource.k8s.io", "resourceclaims":
            return name.endswith(BY_DEVICE_CLASS)
    return False


def _service(spec: Object) -> Amounts:
    ports = spec.get("ports") or []
    nodeports, balancers = 0, 0
    if spec.get("type") == "NodePort":
        nodeports = len(ports)
    elif spec.get("type") == "LoadBalancer":
        balancers = 1
        allocates = spec.get("allocateLoadBalancerNodePorts", True)
        nodeports = len(ports) if allocates else sum(bool(port.get("nodePort")) for port in ports)
    return {"services.nodeports": str(nodeports), "services.loadbalancers": str(balancers)}


def _claim(claim: Object) -> Amounts:
    spec = claim.get("spec") or {}
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    taken: Amounts = {} if asked is None else {STORAGE: str(asked)}
    annotations = claim["metadata"].get("annotations") or {}
    storage_class = annotations.get("volume.beta.kubernetes.io/storage-class") or spec.get("storageClassName")
    for name, infix in ((storage_class, BY_CLASS), (spec.get("volumeAttributesClassName"), BY_ATTRIBUTES_CLASS)):
        if name:
            taken[f"{name}{infix}persistentvolumeclaims"] = "1"
            if asked is not None:
                taken[f"{name}{infix}{STORAGE}"] = str(asked)
    return taken


def _devices(spec: Object) -> Amounts:
    """Devices by class; of alternatives, the most that any of them could take."""
    found: dict[str, int] = {}
    for request in (spec.get("devices") or {}).get("requests") or ():
        alternatives = request.get("firstAvailable") or [request.get("exactly") or {}]
        most: dict[str, int] = {}
        for one in alternatives:
            name = one.get("deviceClassName", "")
            count = DEVICES_OF_ALL if one.get("allocationMode") == "All" else int(one.get("count", 1))
            most[name] = max(most.get(name, 0), count)
        for name, count in most.items():
            found[name] = found.get(name, 0) + count
    return {f"{name}{BY_DEVICE_CLASS}": str(count) for name, count in found.items()}
