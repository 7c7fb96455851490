"""Claims for devices and what drivers publish (KEP-4381)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects.validation import names
from shared.objects.validation.causes import Cause, duplicate, invalid, one_of, required

Object = Mapping[str, Any]

MAX_REQUESTS = 32
MAX_SLICE_DEVICES = 128


def resource_claim(obj: Object) -> list[Cause]:
    return _claim("spec.devices", (obj.get("spec") or {}).get("devices") or {})


def resource_claim_template(obj: Object) -> list[Cause]:
    inner = ((obj.get("spec") or {}).get("spec") or {}).get("devices") or {}
    return _claim("spec.spec.devices", inner)


def _claim(at: str, devices: Object) -> list[Cause]:
    requests = devices.get("requests") or ()
    found: list[Cause] = []
    if len(requests) > MAX_REQUESTS:
        text = f"Too many: {len(requests)}: must have at most {MAX_REQUESTS} items"
        found.append(Cause("FieldValueTooMany", text, f"{at}.requests"))
    seen: set[str] = set()
    for index, request in enumerate(requests):
        field = f"{at}.requests[{index}]"
        name = request.get("name", "")
        found += (
            [invalid(f"{field}.name", name, one) for one in names.label(name)] if name else [required(f"{field}.name")]
        )
        if name in seen:
            found.append(duplicate(f"{field}.name", name))
        seen.add(name)
        exactly, options = request.get("exactly"), request.get("firstAvailable") or ()
        if (exactly is None) == (not options):
            detail = "exactly one of `exactly` or `firstAvailable` is required"
            found.append(required(field, detail) if exactly is None else invalid(field, None, detail))
        elif exactly is not None:
            found += _request(f"{field}.exactly", exactly)
        for place, option in enumerate(options):
            found += _request(f"{field}.firstAvailable[{place}]", option)
    return found


def _request(at: str, request: Object) -> list[Cause]:
    name, mode, count = request.get("deviceClassName", ""), request.get("allocationMode", ""), request.get("count", 0)
    found = [invalid(f"{at}.deviceClassName", name, one) for one in names.subdomain(name)] if name else []
    if not name:
        found.append(required(f"{at}.deviceClassName"))
    found += one_of(f"{at}.allocationMode", mode, ("All", "ExactCount"))
    if mode == "All" and count:
        found.append(invalid(f"{at}.count", count, "must not be specified when allocationMode is 'All'"))
    if mode == "ExactCount" and count <= 0:
        found.append(invalid(f"{at}.count", count, "must be greater than zero"))
    return found + _selectors(f"{at}.selectors", request.get("selectors") or ())


def _selectors(at: str, selectors: Any) -> list[Cause]:
    found: list[Cause] = []
    for index, one in enumerate(selectors):
        if one.get("cel") is None:
            found.append(required(f"{at}[{index}].cel"))
        elif not one["cel"].get("expression"):
            found.append(required(f"{at}[{index}].cel.expression"))
    return found


def device_class(obj: Object) -> list[Cause]:
    return _selectors("spec.selectors", (obj.get("spec") or {}).get("selectors") or ())


def resource_slice(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    driver, pool = spec.get("driver", ""), spec.get("pool") or {}
    found = [invalid("spec.driver", driver, one) for one in names.subdomain(driver)] if driver else []
    if not driver:
        found.append(required("spec.driver"))
    if not pool.get("name"):
        found.append(required("spec.pool.name"))
    if pool.get("resourceSliceCount", 0) <= 0:
        count = pool.get("resourceSliceCount", 0)
        found.append(invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    places = [key for key in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection") if spec.get(key)]
    detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    if not places:
        found.append(required("spec", detail))
    elif len(places) > 1:
        found.append(invalid("spec", places, detail))
    devices = spec.get("devices") or ()
    if len(devices) > MAX_SLICE_DEVICES:
        text = f"Too many: {len(devices)}: must have at most {MAX_SLICE_DEVICES} items"
        found.append(Cause("FieldValueTooMany", text, "spec.devices"))
    seen: set[str] = set()
    for index, device in enumerate(devices):
        name = device.get("name", "")
        found += [invalid(f"spec.devices[{index}].name", name, one) for one in names.label(name)]
        if name in seen:
            found.append(duplicate(f"spec.devices[{index}].name", name))
        seen.add(name)
    return found


def update_resource_slice(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    found = [
        invalid(f"spec.{key}", spec.get(key), "field is immutable")
        for key in ("driver", "nodeName")
        if spec.get(key) != before.get(key)
    ]
    name = (spec.get("pool") or {}).get("name")
    if name != (before.get("pool") or {}).get("name"):
        found.append(invalid("spec.pool.name", name, "field is immutable"))
    return found
