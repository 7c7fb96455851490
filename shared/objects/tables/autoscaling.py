"""Rows of what says how many pods there should be: autoscalers and disruption budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.objects import conversion
from shared.objects.tables.cells import NONE, UNSET, Object, age, name

_SHOWN_METRICS = 2
_UNKNOWN = "<unknown>"


def autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(spec.get("metrics") or (), status.get("currentMetrics") or ()),
        str(spec["minReplicas"]) if spec.get("minReplicas") is not None else UNSET,
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(obj, now),
    ]


def first_autoscaler(obj: Object, now: datetime) -> list[Any]:
    """An autoscaler as autoscaling/v1 shows it."""
    return autoscaler(conversion.autoscaler_v2(obj), now)


def _targets(specs: Sequence[Mapping[str, Any]], statuses: Sequence[Mapping[str, Any]]) -> str:
    if not specs:
        return NONE
    texts = [_target(one, statuses[index] if index < len(statuses) else {}) for index, one in enumerate(specs)]
    shown = ", ".join(texts[:_SHOWN_METRICS])
    return f"{shown} + {len(texts) - _SHOWN_METRICS} more..." if len(texts) > _SHOWN_METRICS else shown


def _target(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    kind = spec.get("type", "")
    if kind not in ("External", "Pods", "Object", "Resource", "ContainerResource"):
        return "<unknown type>"
    entry = kind[:1].lower() + kind[1:]
    source = spec.get(entry) or {}
    target, current = source.get("target") or {}, (status.get(entry) or {}).get("current") or {}
    of_resource = kind in ("Resource", "ContainerResource")
    prefix = f"{source.get('name', '')}: " if of_resource else ""
    if target.get("averageValue") is not None or kind == "Pods":
        average = "" if of_resource or kind == "Pods" else " (avg)"
        return f"{prefix}{current.get('averageValue', _UNKNOWN)}/{target.get('averageValue', '')}{average}"
    if of_resource:
        used, wanted = current.get("averageUtilization"), target.get("averageUtilization")
        shown = _UNKNOWN if used is None else f"{used}%"
        return f"{prefix}{shown}/{'<auto>' if wanted is None else f'{wanted}%'}"
    return f"{current.get('value', _UNKNOWN)}/{target.get('value', '')}"


def scale(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [name(obj), spec.get("replicas", 0), status.get("replicas", 0), age(obj, now)]


def disruption_budget(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        name(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        (obj.get("status") or {}).get("disruptionsAllowed", 0),
        age(obj, now),
    ]
