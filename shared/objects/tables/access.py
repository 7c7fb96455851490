"""Rows of who may do what, and of what stands at the door: bindings, certificate requests, admission, flow control."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.objects import meta, times
from shared.objects.tables.cells import NONE, UNSET, Object, age, name


def role_binding(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or ()

    def named(kind: str) -> str:
        return ", ".join(one.get("name", "") for one in subjects if one.get("kind") == kind)

    accounts = [
        f"{one.get('namespace', '')}/{one.get('name', '')}" for one in subjects if one.get("kind") == "ServiceAccount"
    ]
    return [
        name(obj),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        age(obj, now),
        named("User"),
        named("Group"),
        ", ".join(accounts),
    ]


def certificate_request(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    return [
        name(obj),
        age(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        NONE if seconds is None else times.duration(timedelta(seconds=seconds)),
        _certificate_condition(obj),
    ]


def _certificate_condition(obj: Object) -> str:
    status = obj.get("status") or {}
    given = {one.get("type") for one in status.get("conditions") or ()}
    parts = ["Denied" if "Denied" in given else "Approved" if "Approved" in given else "Pending"]
    if "Failed" in given:
        parts.append("Failed")
    if status.get("certificate"):
        parts.append("Issued")
    return ",".join(parts)


def webhook_configuration(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def validating_policy(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [name(obj), len(spec.get("validations") or ()), _parameter_kind(spec), age(obj, now)]


def mutating_policy(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [name(obj), len(spec.get("mutations") or ()), _parameter_kind(spec), age(obj, now)]


def _parameter_kind(spec: Mapping[str, Any]) -> str:
    kind = spec.get("paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"


def policy_binding(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef") or {}
    shown = UNSET
    if reference.get("name"):
        shown = "/".join(filter(None, (reference.get("namespace"), reference["name"])))
    return [name(obj), spec.get("policyName", ""), shown, age(obj, now)]


def flow_schema(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    dangling = meta.condition(obj, "Dangling")
    return [
        name(obj),
        (spec.get("priorityLevelConfiguration") or {}).get("name") or NONE,
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type") or NONE,
        age(obj, now),
        "?" if dangling is None else dangling.get("status", ""),
    ]


def priority_level(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    limited = spec.get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return [
        name(obj),
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", NONE),
        *(queuing.get(key, NONE) for key in ("queues", "handSize", "queueLengthLimit")),
        age(obj, now),
    ]


def api_service(obj: Object, now: datetime) -> list[Any]:
    service = (obj.get("spec") or {}).get("service")
    available = meta.condition(obj, "Available") or {}
    status, reason = available.get("status", "Unknown"), available.get("reason")
    return [
        name(obj),
        "Local" if service is None else f"{service.get('namespace', '')}/{service.get('name', '')}",
        f"{status} ({reason})" if reason and status != "True" else status,
        age(obj, now),
    ]
