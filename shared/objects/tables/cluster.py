"""Rows of nodes, namespaces, configuration, quotas, classes, leases and events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.objects import meta, times
from shared.objects.tables.cells import NONE, Object, age, name

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def namespace(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def config_map(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def secret(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def lease(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), (obj.get("spec") or {}).get("holderIdentity", ""), age(obj, now)]


def node(obj: Object, now: datetime) -> list[Any]:
    info = (obj.get("status") or {}).get("nodeInfo") or {}
    return [
        name(obj),
        _node_status(obj),
        _roles(obj),
        age(obj, now),
        info.get("kubeletVersion", ""),
        _address(obj, "InternalIP"),
        _address(obj, "ExternalIP"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _node_status(obj: Object) -> str:
    ready = meta.condition(obj, "Ready")
    status = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else status


def _roles(obj: Object) -> str:
    roles: set[str] = set()
    for label, value in meta.labels(obj).items():
        if label.startswith(_ROLE_PREFIX) and label != _ROLE_PREFIX:
            roles.add(label.removeprefix(_ROLE_PREFIX))
        elif label == _ROLE_LABEL and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _address(obj: Object, kind: str) -> str:
    addresses = (obj.get("status") or {}).get("addresses") or ()
    return next((one["address"] for one in addresses if one.get("type") == kind), NONE)


def event(obj: Object, now: datetime) -> list[Any]:
    source = obj.get("source") or {}
    return _event(
        obj,
        now,
        target=obj.get("involvedObject") or {},
        message=obj.get("message", ""),
        component=source.get("component") or obj.get("reportingComponent", ""),
        host=source.get("host") or obj.get("reportingInstance", ""),
        first=obj.get("firstTimestamp"),
        last=obj.get("lastTimestamp"),
        count=obj.get("count", 0),
    )


def grouped_event(obj: Object, now: datetime) -> list[Any]:
    """An event as events.k8s.io/v1 shows it: the same facts under other names."""
    source = obj.get("deprecatedSource") or {}
    return _event(
        obj,
        now,
        target=obj.get("regarding") or {},
        message=obj.get("note", ""),
        component=source.get("component") or obj.get("reportingController", ""),
        host=source.get("host") or obj.get("reportingInstance", ""),
        first=obj.get("deprecatedFirstTimestamp"),
        last=obj.get("deprecatedLastTimestamp"),
        count=obj.get("deprecatedCount", 0),
    )


def _event(
    obj: Object,
    now: datetime,
    *,
    target: Object,
    message: str,
    component: str,
    host: str,
    first: str | None,
    last: str | None,
    count: int,
) -> list[Any]:
    first_seen = times.age(first or obj.get("eventTime"), now)
    last_seen = times.age(last, now) if last else first_seen
    series = obj.get("series")
    if series:
        last_seen, count = times.age(series.get("lastObservedTime"), now), series.get("count", 0)
    kind = target.get("kind", "").lower()
    return [
        last_seen,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{target['name']}" if target.get("name") else kind,
        target.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        message.strip(),
        first_seen,
        count or 1,
        name(obj),
    ]


def component_status(obj: Object, now: datetime) -> list[Any]:
    healthy = meta.condition({"status": obj}, "Healthy") or {}
    status = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.get("status", ""), "Unknown")
    return [name(obj), status, healthy.get("message", ""), healthy.get("error", "")]


def resource_quota(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    used = status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for resource, hard in sorted((status.get("hard") or {}).items()):
        column = limits if resource.startswith("limits") else requests
        column.append(f"{resource}: {used.get(resource, '0')}/{hard}")
    return [name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def priority_class(obj: Object, now: datetime) -> list[Any]:
    return [
        name(obj),
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        age(obj, now),
        obj.get("preemptionPolicy", ""),
    ]


def runtime_class(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), obj.get("handler", ""), age(obj, now)]


def resource_claim(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    states = ["deleted"] if meta.is_deleting(obj) else []
    if status.get("allocation"):
        states.append("allocated")
        states += ["reserved"] if status.get("reservedFor") else []
    elif not states:
        states.append("pending")
    return [name(obj), ",".join(states), age(obj, now)]


def resource_slice(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    pool = (spec.get("pool") or {}).get("name", "")
    return [name(obj), spec.get("nodeName") or "", spec.get("driver", ""), pool, age(obj, now)]
