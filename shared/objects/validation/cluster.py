"""Namespaces, nodes, leases and events."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from shared.objects.validation import metadata, names
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, not_negative, one_of, required

Object = Mapping[str, Any]

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def namespace(obj: Object) -> list[Cause]:
    given = (obj.get("spec") or {}).get("finalizers") or ()
    return metadata.finalizers(given, lambda index: f"spec.finalizers[{index}]")


def node(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _taints("spec.taints", spec.get("taints") or ())
    single = spec.get("podCIDR")
    for index, cidr in enumerate(spec.get("podCIDRs") or ([single] if single else ())):
        try:
            ipaddress.ip_network(cidr)
        except ValueError:
            detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            found.append(invalid(f"spec.podCIDRs[{index}]", cidr, detail))
    return found


def _taints(at: str, taints: Any) -> list[Cause]:
    found: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        field = f"{at}[{index}]"
        key, effect = taint.get("key", ""), taint.get("effect", "")
        found += [invalid(f"{field}.key", key, one) for one in names.qualified_name(key)]
        found += [invalid(f"{field}.value", taint["value"], one) for one in names.label_value(taint.get("value", ""))]
        found += one_of(f"{field}.effect", effect, TAINT_EFFECTS) if effect else [required(f"{field}.effect")]
        if (key, effect) in seen:
            found.append(duplicate(field, taint))
        seen.add((key, effect))
    return found


def update_node(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        found.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        found.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
    return found


def lease(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        found.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    found += not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    if spec.get("holderIdentity") == "":
        found.append(invalid("spec.holderIdentity", "", "must not be empty"))
    return found


def event(obj: Object) -> list[Cause]:
    namespace = (obj.get("metadata") or {}).get("namespace", "")
    target = (obj.get("involvedObject") or {}).get("namespace", "")
    if target and target != namespace:
        return [invalid("involvedObject.namespace", target, "does not match event.namespace")]
    if not target and namespace not in ("default", "kube-system", ""):
        return [invalid("involvedObject.namespace", "", "does not match event.namespace")]
    if not obj.get("eventTime"):
        return []
    return [
        required(one) for one in ("reportingComponent", "reportingInstance", "action", "reason") if not obj.get(one)
    ]


def grouped_event(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    if not obj.get("eventTime"):
        found.append(required("eventTime"))
    found += [
        required(one) for one in ("reportingController", "reportingInstance", "action", "reason") if not obj.get(one)
    ]
    controller = obj.get("reportingController")
    if controller:
        found += [invalid("reportingController", controller, one) for one in names.qualified_name(controller)]
    found += one_of("type", obj.get("type", ""), ("Normal", "Warning"))
    return found
