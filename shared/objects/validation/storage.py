"""Volumes and the claims on them, storage classes, and what CSI drivers register."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects import quantities
from shared.objects.validation import names, placement, volumes
from shared.objects.validation.causes import Cause, forbidden, invalid, not_negative, one_of, required, unsupported

Object = Mapping[str, Any]

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
VOLUME_MODES = ("Block", "Filesystem")
MAX_DRIVER_NAME = 63

_VOLUME_SETTINGS = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)
_BOUND_ONLY = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def persistent_volume(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _access_modes("spec.accessModes", spec.get("accessModes") or (), "")
    found += _capacity(spec.get("capacity") or {})
    sources = [key for key in spec if key not in _VOLUME_SETTINGS]
    found += [forbidden(f"spec.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
    if not sources:
        found.append(required("spec", "must specify a volume type"))
    else:
        found += volumes.source(f"spec.{sources[0]}", sources[0], spec[sources[0]])
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    if "local" in spec and not spec.get("nodeAffinity"):
        found.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    if spec.get("nodeAffinity") is not None and not terms:
        at = "spec.nodeAffinity.required"
        if spec["nodeAffinity"].get("required") is None:
            found.append(required(at, "must specify required node constraints"))
        else:
            found.append(required(f"{at}.nodeSelectorTerms", "must have at least one node selector term"))
    for index, term in enumerate(terms):
        found += placement.node_term(f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]", term)
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy:
        found += one_of("spec.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES)
        if policy == "Recycle" and (spec.get("hostPath") or {}).get("path") == "/":
            found.append(
                forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")
            )
    return found + _class_and_mode(spec)


def _access_modes(at: str, modes: Any, detail: str) -> list[Cause]:
    if not modes:
        return [required(at, detail)]
    found = [unsupported(at, one, ACCESS_MODES) for one in modes if one not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        found.append(forbidden(at, "may not use ReadWriteOncePod with other access modes"))
    return found


def _capacity(capacity: Object) -> list[Cause]:
    found: list[Cause] = [] if capacity else [required("spec.capacity")]
    if capacity and ("storage" not in capacity or len(capacity) > 1):
        found.append(unsupported("spec.capacity", dict(capacity), ("storage",)))
    return found + [cause for name, amount in capacity.items() for cause in _positive(f"spec.capacity[{name}]", amount)]


def _positive(at: str, amount: str) -> list[Cause]:
    return [invalid(at, amount, "must be greater than zero")] if quantities.parse(amount) <= 0 else []


def _class_and_mode(spec: Object) -> list[Cause]:
    found: list[Cause] = []
    name, mode = spec.get("storageClassName"), spec.get("volumeMode")
    if name:
        found += [invalid("spec.storageClassName", name, one) for one in names.subdomain(name)]
    if mode is not None:
        found += one_of("spec.volumeMode", mode, VOLUME_MODES)
    return found


def update_persistent_volume(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    changed = [key for key in {**spec, **before} if key not in _VOLUME_SETTINGS and spec.get(key) != before.get(key)]
    if changed:
        found.append(
            forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    if spec.get("volumeMode") != before.get("volumeMode"):
        found.append(invalid("spec.volumeMode", spec.get("volumeMode"), "field is immutable"))
    if before.get("nodeAffinity") is not None and spec.get("nodeAffinity") != before["nodeAffinity"]:
        found.append(invalid("spec.nodeAffinity", spec.get("nodeAffinity"), "field is immutable"))
    return found


def persistent_volume_claim(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _access_modes("spec.accessModes", spec.get("accessModes") or (), "at least 1 access mode is required")
    found += placement.label_selector("spec.selector", spec.get("selector"))
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    at = "spec.resources[storage]"
    found += [required(at)] if storage is None else _positive(at, storage)
    return found + _class_and_mode(spec)


def update_persistent_volume_claim(obj: Object, old: Object) -> list[Cause]:
    spec, before = dict(obj.get("spec") or {}), dict(old.get("spec") or {})
    bound = (old.get("status") or {}).get("phase") == "Bound"
    found: list[Cause] = []
    if not before.get("volumeName"):
        # the binder names the volume
        before["volumeName"] = spec.get("volumeName")
    if before.get("storageClassName") is None:
        # the default class may be given afterwards (KEP-3333)
        before["storageClassName"] = spec.get("storageClassName")
    if bound:
        before["volumeAttributesClassName"] = spec.get("volumeAttributesClassName")
        wanted, had = _requests(spec), _requests(before)
        floor = ((old.get("status") or {}).get("capacity") or {}).get("storage")
        asked = wanted.get("storage", "0")
        shrinks = quantities.parse(asked) < quantities.parse(had.get("storage", "0"))
        if shrinks and (floor is None or quantities.parse(asked) <= quantities.parse(floor)):
            detail = "field can not be less than status.capacity"
            found.append(forbidden("spec.resources.requests.storage", detail))
        before["resources"] = {**(before.get("resources") or {}), "requests": wanted}
    if any(spec.get(key) != before.get(key) for key in {**spec, **before}):
        found.append(forbidden("spec", _BOUND_ONLY))
    return found


def _requests(spec: Object) -> dict[str, str]:
    return dict((spec.get("resources") or {}).get("requests") or {})


def storage_class(obj: Object) -> list[Cause]:
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        found = [required("provisioner", provisioner)]
    else:
        found = [invalid("provisioner", provisioner, one) for one in names.qualified_name(provisioner.lower())]
    for key in obj.get("parameters") or {}:
        if not key:
            found.append(invalid("parameters", key, "field can not be empty."))
    found += one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    mode = obj.get("volumeBindingMode")
    if mode is None:
        return [*found, required("volumeBindingMode")]
    return found + one_of("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer"))


def update_storage_class(obj: Object, old: Object) -> list[Cause]:
    return [
        forbidden(key, f"updates to {key} are forbidden.")
        for key in ("parameters", "provisioner", "reclaimPolicy")
        if obj.get(key) != old.get(key)
    ]


def volume_attributes_class(obj: Object) -> list[Cause]:
    found = _driver("driverName", obj.get("driverName", ""))
    return (
        found if obj.get("parameters") else [*found, required("parameters", "must contain at least one key/value pair")]
    )


def update_volume_attributes_class(obj: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    if obj.get("driverName") != old.get("driverName"):
        found.append(forbidden("driverName", "updates to driverName are forbidden."))
    if obj.get("parameters") != old.get("parameters"):
        found.append(forbidden("parameters", "updates to parameters are forbidden."))
    return found


def _driver(at: str, name: str) -> list[Cause]:
    if not name:
        return [required(at)]
    if len(name) > MAX_DRIVER_NAME:
        return [Cause("FieldValueTooLong", f"Too long: may not be more than {MAX_DRIVER_NAME} bytes", at)]
    return [invalid(at, name, one) for one in names.subdomain(name.lower())]


def csi_driver(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _driver("metadata.name", (obj.get("metadata") or {}).get("name", ""))
    found += [required(f"spec.{key}") for key in ("attachRequired", "podInfoOnMount") if spec.get(key) is None]
    for mode in spec.get("volumeLifecycleModes") or ():
        found += one_of("spec.volumeLifecycleModes", mode, ("Ephemeral", "Persistent"))
    policy = spec.get("fsGroupPolicy")
    if policy is not None:
        found += one_of("spec.fsGroupPolicy", policy, ("ReadWriteOnceWithFSType", "File", "None"))
    return found


def update_csi_driver(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    return [
        invalid(f"spec.{key}", spec.get(key), "field is immutable")
        for key in ("attachRequired", "volumeLifecycleModes")
        if spec.get(key) != before.get(key)
    ]


def csi_node(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        at = f"spec.drivers[{index}]"
        name, node = driver.get("name", ""), driver.get("nodeID", "")
        found += _driver(f"{at}.name", name)
        if name in seen:
            found.append(Cause("FieldValueDuplicate", f'Duplicate value: "{name}"', f"{at}.name"))
        seen.add(name)
        if not node:
            found.append(required(f"{at}.nodeID"))
        found += not_negative(f"{at}.allocatable.count", (driver.get("allocatable") or {}).get("count"))
        for key in driver.get("topologyKeys") or ():
            found += [invalid(f"{at}.topologyKeys", key, one) for one in names.qualified_name(key)]
    return found


def csi_storage_capacity(obj: Object) -> list[Cause]:
    name = obj.get("storageClassName", "")
    found = placement.label_selector("nodeTopology", obj.get("nodeTopology"))
    found += [invalid("storageClassName", name, one) for one in names.subdomain(name)] if name else []
    if not name:
        found.append(required("storageClassName"))
    for key in ("capacity", "maximumVolumeSize"):
        amount = obj.get(key)
        if amount is not None and quantities.parse(amount) < 0:
            found.append(invalid(key, amount, "must be greater than or equal to 0"))
    return found


def volume_attachment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    source = spec.get("source") or {}
    found = _driver("spec.attacher", spec.get("attacher", ""))
    named, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if named is not None and inline is not None:
        found.append(forbidden("spec.source", "must not specify both inlineVolumeSpec and persistentVolumeName"))
    elif inline is None and named is None:
        found.append(required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
    elif named == "":
        found.append(required("spec.source.persistentVolumeName"))
    node = spec.get("nodeName", "")
    return found + (
        [invalid("spec.nodeName", node, one) for one in names.subdomain(node)] if node else [required("spec.nodeName")]
    )
