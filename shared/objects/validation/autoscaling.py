"""Autoscalers of both versions and disruption budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects import conversion, quantities
from shared.objects.validation import names, placement
from shared.objects.validation.causes import Cause, forbidden, invalid, one_of, required

Object = Mapping[str, Any]

METRIC_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
MAX_PERIOD_SECONDS = 1800
MAX_STABILIZATION_SECONDS = 3600

_BOTH_TARGETS = "may not set both a target raw value and a target utilization"


def autoscaler(obj: Object) -> list[Cause]:
    """Complaints about an autoscaling/v2 HorizontalPodAutoscaler."""
    return _size(obj) + _metrics(obj) + _behavior(obj)


def first_autoscaler(obj: Object) -> list[Cause]:
    """Complaints about an autoscaling/v1 HorizontalPodAutoscaler; Kubernetes words them as for version 2."""
    return autoscaler(conversion.autoscaler_v2(obj))


def _size(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    found: list[Cause] = []
    if least is not None and least < 1:
        found.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        found.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    return found + _reference("spec.scaleTargetRef", spec.get("scaleTargetRef") or {})


def _reference(at: str, reference: Object) -> list[Cause]:
    found: list[Cause] = []
    for key in ("kind", "name"):
        value = reference.get(key, "")
        if not value:
            found.append(required(f"{at}.{key}"))
        else:
            found += [invalid(f"{at}.{key}", value, one) for one in names.path_segment(value)]
    return found


def _metrics(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, metric in enumerate((obj.get("spec") or {}).get("metrics") or ()):
        at = f"spec.metrics[{index}]"
        kind = metric.get("type", "")
        if not kind:
            found.append(required(f"{at}.type", "must specify a metric source type"))
            continue
        if kind not in METRIC_TYPES:
            found += one_of(f"{at}.type", kind, METRIC_TYPES)
            continue
        entry = kind[:1].lower() + kind[1:]
        if metric.get(entry) is None:
            found.append(required(f"{at}.{entry}", "must populate information for the given metric source"))
            continue
        others = [key for key in metric if key not in ("type", entry)]
        found += [
            forbidden(f"{at}.{key}", "must populate the given metric source only") for key in others if metric[key]
        ]
        found += _source(f"{at}.{entry}", entry, metric[entry])
    return found


def _source(at: str, entry: str, source: Object) -> list[Cause]:
    found: list[Cause] = []
    target = source.get("target") or {}
    if entry == "object":
        found += _reference(f"{at}.describedObject", source.get("describedObject") or {})
    if entry in ("resource", "containerResource"):
        if not source.get("name"):
            found.append(required(f"{at}.name", "must specify a resource name"))
        if entry == "containerResource" and not source.get("container"):
            found.append(required(f"{at}.container", "must specify a container"))
    else:
        identifier = source.get("metric") or {}
        name = identifier.get("name", "")
        if not name:
            found.append(required(f"{at}.metric.name"))
        found += placement.label_selector(f"{at}.metric.selector", identifier.get("selector"))
    return found + _target(f"{at}.target", entry, target)


def _target(at: str, entry: str, target: Object) -> list[Cause]:
    kind = target.get("type", "")
    found: list[Cause] = []
    if not kind:
        found.append(required(f"{at}.type", "must specify a metric target type"))
    elif kind not in ("Utilization", "Value", "AverageValue"):
        found.append(invalid(f"{at}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for key in ("value", "averageValue"):
        if target.get(key) is not None and quantities.parse(target[key]) <= 0:
            found.append(invalid(f"{at}.{key}", target[key], "must be positive"))
    percent, average, value = target.get("averageUtilization"), target.get("averageValue"), target.get("value")
    if percent is not None and percent < 1:
        found.append(invalid(f"{at}.averageUtilization", percent, "must be greater than 0"))
    if entry in ("resource", "containerResource"):
        if percent is None and average is None:
            found.append(
                required(f"{at}.averageUtilization", "must set either a target raw value or a target utilization")
            )
        if percent is not None and average is not None:
            found.append(forbidden(f"{at}.averageValue", _BOTH_TARGETS))
    elif entry == "pods":
        if average is None:
            found.append(required(f"{at}.averageValue", "must specify a positive target averageValue"))
    elif value is None and average is None:
        found.append(required(f"{at}.averageValue", "must set either a target value or averageValue"))
    return found


def _behavior(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    for name, rules in ((obj.get("spec") or {}).get("behavior") or {}).items():
        at = f"spec.behavior.{name}"
        seconds = rules.get("stabilizationWindowSeconds")
        if seconds is not None and seconds < 0:
            found.append(invalid(f"{at}.stabilizationWindowSeconds", seconds, "must be greater than or equal to zero"))
        if seconds is not None and seconds > MAX_STABILIZATION_SECONDS:
            detail = f"must be less than or equal to {MAX_STABILIZATION_SECONDS}"
            found.append(invalid(f"{at}.stabilizationWindowSeconds", seconds, detail))
        select = rules.get("selectPolicy")
        if select is not None:
            found += one_of(f"{at}.selectPolicy", select, ("Disabled", "Max", "Min"))
        policies = rules.get("policies") or ()
        if not policies:
            found.append(required(f"{at}.policies", "must specify at least one Policy"))
        for index, policy in enumerate(policies):
            found += _policy(f"{at}.policies[{index}]", policy)
    return found


def _policy(at: str, policy: Object) -> list[Cause]:
    value, seconds = policy.get("value", 0), policy.get("periodSeconds", 0)
    found = one_of(f"{at}.type", policy.get("type", ""), ("Percent", "Pods"))
    if value <= 0:
        found.append(invalid(f"{at}.value", value, "must be greater than zero"))
    if seconds <= 0:
        found.append(invalid(f"{at}.periodSeconds", seconds, "must be greater than zero"))
    if seconds > MAX_PERIOD_SECONDS:
        found.append(invalid(f"{at}.periodSeconds", seconds, f"must be less than or equal to {MAX_PERIOD_SECONDS}"))
    return found


def disruption_budget(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    found: list[Cause] = []
    if least is not None and most is not None:
        found.append(invalid("spec", dict(spec), "minAvailable and maxUnavailable cannot be both set"))
    for key, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is None:
            continue
        complaints = names.percent_or_number(value)
        found += [invalid(f"spec.{key}", value, one) for one in complaints]
        if not complaints and isinstance(value, str) and int(value[:-1]) > 100:
            found.append(invalid(f"spec.{key}", value, "must not be greater than 100%"))
    found += placement.label_selector("spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None:
        found += one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
    return found
