"""One autoscaler under two API versions: autoscaling/v2 is what is stored, autoscaling/v1 is another view of it.

Version 1 knows one metric, the share of the requested CPU. Everything else travels in annotations, so that a client of
version 1 which writes back what it read loses nothing (Kubernetes' pkg/apis/autoscaling/v1/conversion.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.objects import json

Object = dict[str, Any]

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"

_ANNOTATIONS = (METRICS, CURRENT_METRICS, BEHAVIOR, CONDITIONS)
_ENTRIES = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}
_TARGETS = {
    "object": (("value", "targetValue"), ("averageValue", "averageValue")),
    "pods": (("averageValue", "targetAverageValue"),),
    "resource": (("averageUtilization", "targetAverageUtilization"), ("averageValue", "targetAverageValue")),
    "containerResource": (("averageUtilization", "targetAverageUtilization"), ("averageValue", "targetAverageValue")),
    "external": (("value", "targetValue"), ("averageValue", "targetAverageValue")),
}
_CURRENTS = {
    "object": (("value", "currentValue"), ("averageValue", "averageValue")),
    "pods": (("averageValue", "currentAverageValue"),),
    "resource": (("averageUtilization", "currentAverageUtilization"), ("averageValue", "currentAverageValue")),
    "containerResource": (
        ("averageUtilization", "currentAverageUtilization"),
        ("averageValue", "currentAverageValue"),
    ),
    "external": (("value", "currentValue"), ("averageValue", "currentAverageValue")),
}
_SELECTORS = {"object": "selector", "pods": "selector", "external": "metricSelector"}


def autoscaler_v2(obj: Mapping[str, Any]) -> Object:
    """The autoscaling/v2 form of an autoscaling/v1 HorizontalPodAutoscaler; annotations that make no sense are kept."""
    metadata, annotations = _split(obj)
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metrics = _read(annotations, METRICS, list)
    restored = [_restored(one, _TARGETS, "target") for one in metrics or ()]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        restored.append(_cpu("target", {"type": "Utilization", "averageUtilization": percent}))
    if restored:
        spec["metrics"] = restored
    behavior = _read(annotations, BEHAVIOR, dict)
    if behavior is not None:
        spec["behavior"] = behavior
    current = _read(annotations, CURRENT_METRICS, list)
    used = status.pop("currentCPUUtilizationPercentage", None)
    if current:
        status["currentMetrics"] = [_restored(one, _CURRENTS, "current") for one in current]
    elif used is not None:
        status["currentMetrics"] = [_cpu("current", {"averageUtilization": used})]
    conditions = _read(annotations, CONDITIONS, list)
    if conditions:
        status["conditions"] = conditions
    if annotations:
        metadata["annotations"] = annotations
    return {
        **obj,
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def autoscaler_v1(obj: Mapping[str, Any]) -> Object:
    """The autoscaling/v1 form of an autoscaling/v2 HorizontalPodAutoscaler."""
    metadata, annotations = _split(obj)
    for name in _ANNOTATIONS:
        annotations.pop(name, None)
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    others: list[Object] = []
    for metric in spec.pop("metrics", None) or ():
        percent = _cpu_percent(metric, "target")
        if percent is None:
            others.append(_flattened(metric, _TARGETS, "target"))
        else:
            spec["targetCPUUtilizationPercentage"] = percent
    current = status.pop("currentMetrics", None) or ()
    for metric in current:
        percent = _cpu_percent(metric, "current")
        if percent is not None:
            status["currentCPUUtilizationPercentage"] = percent
    kept = (
        (METRICS, others),
        (CURRENT_METRICS, [_flattened(one, _CURRENTS, "current") for one in current]),
        (BEHAVIOR, spec.pop("behavior", None)),
        (CONDITIONS, status.pop("conditions", None)),
    )
    for name, value in kept:
        if value:
            annotations[name] = json.encode(value).decode()
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    if annotations:
        metadata["annotations"] = annotations
    return {
        **obj,
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def _split(obj: Mapping[str, Any]) -> tuple[Object, dict[str, str]]:
    """Copies of the metadata, without its annotations, and of these."""
    metadata = dict(obj.get("metadata") or {})
    return metadata, dict(metadata.pop("annotations", None) or {})


def _read(annotations: dict[str, str], name: str, wanted: type) -> Any:
    """Take what an annotation holds; None, leaving it where it is, if that cannot be read."""
    text = annotations.get(name)
    if text is None:
        return None
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    if not isinstance(value, wanted) or (isinstance(value, list) and not all(isinstance(one, dict) for one in value)):
        return None
    del annotations[name]
    return value


def _cpu(word: str, value: Object) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", word: value}}


def _cpu_percent(metric: Mapping[str, Any], word: str) -> int | None:
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    percent: int | None = (resource.get(word) or {}).get("averageUtilization")
    return percent


def _flattened(metric: Mapping[str, Any], table: Mapping[str, Any], word: str) -> Object:
    """A metric of version 2 as version 1 wrote it: values beside the name instead of in a struct."""
    entry = _ENTRIES.get(metric.get("type", ""), "")
    source = dict(metric.get(entry) or {})
    values = source.pop(word, None) or {}
    identifier = source.pop("metric", None) or {}
    made: Object = {}
    if "describedObject" in source:
        made["target"] = source.pop("describedObject")
    if identifier:
        made["metricName"] = identifier.get("name", "")
        if identifier.get("selector") is not None:
            made[_SELECTORS[entry]] = identifier["selector"]
    made |= source
    for name, flat in table.get(entry, ()):
        if values.get(name) is not None:
            made[flat] = values[name]
    return {"type": metric.get("type", ""), entry: made}


def _restored(metric: Mapping[str, Any], table: Mapping[str, Any], word: str) -> Object:
    """What `_flattened` made, turned back."""
    entry = _ENTRIES.get(metric.get("type", ""), "")
    source = dict(metric.get(entry) or {})
    values: Object = {}
    for name, flat in table.get(entry, ()):
        if flat in source:
            values[name] = source.pop(flat)
    if word == "target":
        values = {"type": _target_type(values), **values}
    made: Object = {}
    if entry == "object":
        made["describedObject"] = source.pop("target", {})
    if entry in _SELECTORS:
        identifier = {"name": source.pop("metricName", "")}
        selector = source.pop(_SELECTORS[entry], None)
        made["metric"] = identifier if selector is None else identifier | {"selector": selector}
    return {"type": metric.get("type", ""), entry: made | source | {word: values}}


def _target_type(values: Mapping[str, Any]) -> str:
    if "averageUtilization" in values:
        return "Utilization"
    if "averageValue" in values:
        return "AverageValue"
    return "Value"
