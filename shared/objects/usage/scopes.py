"""Scopes: which pods and claims a quota is about (ResourceQuotaSpec.scopes and scopeSelector)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.objects import selectors
from shared.objects.usage.quality import quality_class

Object = Mapping[str, Any]
AFFINITIES = ("podAffinity", "podAntiAffinity")


def requirements(quota: Object) -> Iterator[Object]:
    """The requirements of a quota: its scopes as bare existence, then its scope selector's."""
    spec = quota.get("spec") or {}
    for scope in spec.get("scopes") or ():
        yield {"scopeName": scope, "operator": "Exists"}
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def match(quota: Object, kind: str, obj: Object) -> bool:
    """Whether an object of a plural is in every scope of a quota."""
    return all(_holds(kind, obj, one) for one in requirements(quota))


def _holds(kind: str, obj: Object, requirement: Object) -> bool:
    scope = requirement["scopeName"]
    spec = obj.get("spec") or {}
    if kind == "persistentvolumeclaims":
        return scope == "VolumeAttributesClass" and _named(requirement, _attributes_classes(obj))
    if kind != "pods":
        return False
    match scope:
        case "Terminating":
            return _has_deadline(spec)
        case "NotTerminating":
            return not _has_deadline(spec)
        case "BestEffort":
            return quality_class(spec) == "BestEffort"
        case "NotBestEffort":
            return quality_class(spec) != "BestEffort"
        case "PriorityClass":
            name = spec.get("priorityClassName")
            return _named(requirement, [name] if name else [])
        case "CrossNamespacePodAffinity":
            return any(_crosses(term) for term in _affinity_terms(spec))
    return False


def _has_deadline(spec: Object) -> bool:
    deadline = spec.get("activeDeadlineSeconds")
    return deadline is not None and deadline >= 0


def _named(requirement: Object, names: list[str]) -> bool:
    """Whether one of the names fulfils a requirement, which is worded like one of a label selector."""
    scope = requirement["scopeName"]
    if requirement.get("operator") == "Exists":
        return bool(names)
    expression = {"key": scope, "operator": requirement.get("operator"), "values": requirement.get("values") or []}
    selector = selectors.from_label_selector({"matchExpressions": [expression]})
    return any(selector.matches({scope: name}) for name in names) if names else selector.matches({})


def _attributes_classes(claim: Object) -> list[str]:
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    found = (
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return [one for one in found if one]


def _affinity_terms(spec: Object) -> Iterator[Object]:
    affinity = spec.get("affinity") or {}
    for kind in AFFINITIES:
        rules = affinity.get(kind) or {}
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}


def _crosses(term: Object) -> bool:
    return bool(term.get("namespaces")) or term.get("namespaceSelector") is not None
