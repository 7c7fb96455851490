"""Counts in the status of workloads: a controller that miscounts must not make others believe it.

Source: k8s.io/kubernetes pkg/apis/apps/validation, pkg/apis/core/validation and pkg/apis/policy/validation (the
Validate...Status functions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.objects.validation.causes import Cause, invalid, not_negative

Object = Mapping[str, Any]


def deployment(obj: Object) -> list[Cause]:
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
    found = _counts(obj, ("observedGeneration", *counts, "terminatingReplicas", "collisionCount"))
    found += _within(obj, ("updatedReplicas", "readyReplicas", "availableReplicas"), "replicas", "status.replicas")
    return found + _within(obj, ("availableReplicas",), "readyReplicas", "readyReplicas")


def replica_set(obj: Object) -> list[Cause]:
    counts = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    found = _counts(obj, (*counts, "observedGeneration", "terminatingReplicas"))
    found += _within(obj, counts[1:], "replicas", "status.replicas")
    return found + _within(obj, ("availableReplicas",), "readyReplicas", "readyReplicas")


def stateful_set(obj: Object) -> list[Cause]:
    counts = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    found = _counts(obj, (*counts, "observedGeneration", "collisionCount"))
    found += _within(obj, counts[1:], "replicas", "status.replicas")
    return found + _within(obj, ("availableReplicas",), "readyReplicas", "status.readyReplicas")


def daemon_set(obj: Object) -> list[Cause]:
    counts = (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    )
    return _counts(obj, counts)


def disruption_budget(obj: Object) -> list[Cause]:
    return _counts(obj, ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"))


def autoscaler(obj: Object) -> list[Cause]:
    return _counts(obj, ("currentReplicas", "desiredReplicas"))


def _counts(obj: Object, names: Iterable[str]) -> list[Cause]:
    status = obj.get("status") or {}
    return [cause for name in names for cause in not_negative(f"status.{name}", status.get(name))]


def _within(obj: Object, names: Iterable[str], whole: str, shown: str) -> list[Cause]:
    """Complain about counts that are larger than the one that they are part of."""
    status = obj.get("status") or {}
    most = status.get(whole, 0)
    return [
        invalid(f"status.{name}", status.get(name, 0), f"cannot be greater than {shown}")
        for name in names
        if status.get(name, 0) > most
    ]
