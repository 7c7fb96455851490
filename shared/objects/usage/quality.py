"""The quality-of-service class of a pod, fixed at creation by its requests and limits (PodStatus.qosClass)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects import quantities

Object = Mapping[str, Any]

COUNTED = ("cpu", "memory")


def quality_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, as Kubernetes' ComputePodQOS decides."""
    total = spec.get("resources") or {}
    if total.get("requests") or total.get("limits"):
        owners = [total]
    else:
        containers = [*spec.get("containers", ()), *(spec.get("initContainers") or ())]
        owners = [container.get("resources") or {} for container in containers]
    any_set, guaranteed = False, True
    requested: dict[str, object] = {}
    for resources in owners:
        requests = _positive(resources.get("requests"))
        limits = _positive(resources.get("limits"))
        any_set = any_set or bool(requests) or bool(limits)
        requested |= requests
        if set(limits) != set(COUNTED) or any(requests.get(name, limits[name]) != limits[name] for name in limits):
            guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(amounts: Object | None) -> dict[str, object]:
    parsed = {name: quantities.parse(str(amounts[name])) for name in COUNTED if amounts and name in amounts}
    return {name: value for name, value in parsed.items() if value > 0}
