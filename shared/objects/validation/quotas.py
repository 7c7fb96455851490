"""Limit ranges, resource quotas, priority and runtime classes: what bounds and ranks the pods of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from shared.objects import quantities
from shared.objects.validation import containers, metadata, names, placement
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, one_of, required

Object = Mapping[str, Any]

MAX_PRIORITY = 1_000_000_000
"""The highest priority of a class that is not the system's own."""
SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)

_UNSCOPED = "unsupported scope applied to resource"
_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_BOUNDS = ("max", "min", "default", "defaultRequest")
_ORDERED = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("min", "default", "default", "min value {} is greater than default value {}"),
)
_QUOTA_RESOURCES = frozenset(
    {
        "configmaps",
        "cpu",
        "ephemeral-storage",
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "memory",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
        "requests.storage",
        "resourcequotas",
        "secrets",
        "services",
        "services.loadbalancers",
        "services.nodeports",
    }
)
_WHOLE = frozenset(
    {
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
        "services.loadbalancers",
        "services.nodeports",
    }
)
_COMPUTED = frozenset({"cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"})
_CLAIMED = frozenset({"persistentvolumeclaims", "requests.storage"})
_SCOPED = dict.fromkeys(SCOPES, _COMPUTED | {"pods"}) | {
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": _CLAIMED,
}
"""What can be counted in a scope; other names of the standard ones have no such thing."""
_OPPOSITES = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})


def limit_range(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        at = f"spec.limits[{index}]"
        kind = limit.get("type", "")
        found += [invalid(f"{at}.type", kind, one) for one in names.qualified_name(kind)]
        if "/" not in kind and kind not in _LIMIT_TYPES:
            found.append(invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified"))
        if kind in seen:
            found.append(duplicate(f"{at}.type", kind))
        seen.add(kind)
        found += _limit(at, kind, limit)
    return found


def _limit(at: str, kind: str, limit: Object) -> list[Cause]:
    found: list[Cause] = []
    amounts: dict[str, dict[str, Decimal]] = {}
    for key in _BOUNDS:
        given = limit.get(key) or {}
        amounts[key] = {name: quantities.parse(amount) for name, amount in given.items()}
        found += [invalid(f"{at}.{key}[{name}]", name, one) for name in given for one in names.qualified_name(name)]
    if kind == "Pod":
        found += [
            forbidden(f"{at}.{key}", "may not be specified when `type` is 'Pod'")
            for key in ("default", "defaultRequest")
            if limit.get(key)
        ]
    if kind == "PersistentVolumeClaim" and not any("storage" in amounts[key] for key in ("min", "max")):
        detail = "either minimum or maximum storage value is required, but neither was provided"
        found.append(required(at, detail))
    for low, high, blamed, text in _ORDERED:
        for name in amounts[low].keys() & amounts[high].keys():
            if amounts[low][name] > amounts[high][name]:
                detail = text.format(limit[low][name], limit[high][name])
                found.append(invalid(f"{at}.{blamed}[{name}]", limit[blamed][name], detail))
    for name, ratio in (limit.get("maxLimitRequestRatio") or {}).items():
        if quantities.parse(ratio) < 1:
            found.append(invalid(f"{at}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is less than 1"))
    return found


def resource_quota(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    for name, amount in (spec.get("hard") or {}).items():
        at = f"spec.hard[{name}]"
        found += [invalid(at, name, one) for one in names.qualified_name(name)]
        standard = name in _QUOTA_RESOURCES or name.startswith(("hugepages-", "requests.hugepages-"))
        if "/" not in name and not standard:
            found.append(invalid(at, name, "must be a standard resource for quota"))
        value = quantities.parse(amount)
        if value < 0:
            found.append(invalid(at, amount, "must be greater than or equal to 0"))
        if name in _WHOLE and value % 1:
            found.append(invalid(at, amount, "must be an integer"))
    scopes = spec.get("scopes") or ()
    for scope in scopes:
        if scope not in SCOPES:
            found.append(invalid("spec.scopes", list(scopes), "unsupported scope"))
        found += [invalid("spec.scopes", list(scopes), _UNSCOPED) for _ in _outside(scope, spec)]
    if any(pair <= set(scopes) for pair in _OPPOSITES):
        found.append(invalid("spec.scopes", list(scopes), "conflicting scopes"))
    return found + _scope_selector(spec)


def _outside(scope: str, spec: Object) -> list[str]:
    """The standard resources that are limited but cannot be counted in a scope."""
    allowed = _SCOPED.get(scope)
    if allowed is None:
        return []
    return [name for name in sorted(spec.get("hard") or ()) if name in _QUOTA_RESOURCES and name not in allowed]


def _scope_selector(spec: Object) -> list[Cause]:
    selector: Object = spec.get("scopeSelector") or {}
    found: list[Cause] = []
    for index, one in enumerate(selector.get("matchExpressions") or ()):
        at = f"spec.scopeSelector.matchExpressions[{index}]"
        scope, operator, values = one.get("scopeName", ""), one.get("operator", ""), one.get("values") or ()
        if scope not in SCOPES:
            found.append(invalid(f"{at}.scopeName", scope, "unsupported scope"))
        found += [invalid("spec.scopeSelector", selector, _UNSCOPED) for _ in _outside(scope, spec)]
        if scope not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
            detail = "must be 'Exist' only operator when scope is any of ResourceQuotaScopeTerminating, "
            detail += (
                "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort and ResourceQuotaScopeNotBestEffort"
            )
            found.append(invalid(f"{at}.operator", operator, detail))
        if operator in ("In", "NotIn"):
            if not values:
                found.append(
                    required(
                        f"{at}.values",
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    )
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector"
                found.append(invalid(f"{at}.values", list(values), detail))
        else:
            found.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
    return found


def update_resource_quota(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    if set(spec.get("scopes") or ()) != set(before.get("scopes") or ()):
        found.append(invalid("spec.scopes", spec.get("scopes"), "field is immutable"))
    if spec.get("scopeSelector") != before.get("scopeSelector"):
        found.append(invalid("spec.scopeSelector", spec.get("scopeSelector"), "field is immutable"))
    return found


def priority_class(obj: Object) -> list[Cause]:
    name, value = (obj.get("metadata") or {}).get("name", ""), obj.get("value", 0)
    found: list[Cause] = []
    if name.startswith("system-"):
        if name not in ("system-cluster-critical", "system-node-critical"):
            detail = "priority class names with 'system-' prefix are reserved for system use only"
            found.append(forbidden("metadata.name", f"{detail}. error: {name} is not a known system priority class"))
    elif value > MAX_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {MAX_PRIORITY}"
        found.append(forbidden("value", detail))
    policy = obj.get("preemptionPolicy")
    return found if policy is None else found + one_of("preemptionPolicy", policy, ("PreemptLowerPriority", "Never"))


def update_priority_class(obj: Object, old: Object) -> list[Cause]:
    if obj.get("value", 0) != old.get("value", 0):
        return [forbidden("value", "may not be changed in an update.")]
    return []


def runtime_class(obj: Object) -> list[Cause]:
    handler = obj.get("handler", "")
    found = [invalid("handler", handler, one) for one in names.label(handler)]
    fixed = (obj.get("overhead") or {}).get("podFixed")
    if fixed:
        found += containers.resources("overhead.podFixed", {"limits": fixed})
    scheduling = obj.get("scheduling") or {}
    found += metadata.labels("scheduling.nodeSelector", scheduling.get("nodeSelector"))
    return found + placement.tolerations("scheduling.tolerations", scheduling.get("tolerations") or ())
