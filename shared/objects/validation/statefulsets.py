"""StatefulSets: order, update strategy, what becomes of the claims, and the few things that may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects.validation import names, workloads
from shared.objects.validation.causes import Cause, forbidden, invalid, not_negative, one_of, required

Object = Mapping[str, Any]

_CHANGEABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def stateful_set(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    policy = spec.get("podManagementPolicy", "")
    found: list[Cause] = []
    if not policy:
        found.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        found.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    found += _strategy("spec.updateStrategy", spec.get("updateStrategy") or {})
    for key in ("whenDeleted", "whenScaled"):
        value = (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get(key)
        if value is not None:
            found += one_of(f"spec.persistentVolumeClaimRetentionPolicy.{key}", value, ("Delete", "Retain"))
    for key in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        found += not_negative(f"spec.{key}", spec.get(key))
    found += not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    return found + workloads.selector_and_template(_with_claims(spec), "statefulset")


def _with_claims(spec: Object) -> dict[str, Any]:
    """The spec with the volumes that its pods get from the claim templates, which containers may mount."""
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    present = list(pod.get("volumes") or ())
    names_present = {volume.get("name") for volume in present}
    for claim in spec.get("volumeClaimTemplates") or ():
        name = (claim.get("metadata") or {}).get("name", "")
        if name not in names_present:
            present.append({"name": name, "persistentVolumeClaim": {"claimName": name}})
    return {**spec, "template": {**template, "spec": {**pod, "volumes": present}}}


def _strategy(at: str, strategy: Object) -> list[Cause]:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if not kind:
        return [required(f"{at}.type")]
    if kind not in ("RollingUpdate", "OnDelete"):
        return [invalid(at, dict(strategy), "must be 'RollingUpdate' or 'OnDelete'")]
    if kind == "OnDelete":
        if rolling is None:
            return []
        return [invalid(f"{at}.rollingUpdate", dict(rolling), "only allowed for updateStrategy 'RollingUpdate'")]
    rolling = rolling or {}
    found = not_negative(f"{at}.rollingUpdate.partition", rolling.get("partition"))
    unavailable = rolling.get("maxUnavailable")
    if unavailable is not None:
        field = f"{at}.rollingUpdate.maxUnavailable"
        found += [invalid(field, unavailable, one) for one in names.percent_or_number(unavailable)]
        if unavailable in (0, "0%"):
            found.append(invalid(field, unavailable, "cannot be 0"))
    return found


def update(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    changed = [key for key in {**spec, **before} if key not in _CHANGEABLE and spec.get(key) != before.get(key)]
    if not changed:
        return []
    *most, last = (f"'{key}'" for key in _CHANGEABLE)
    allowed = f"{', '.join(most)} and {last}"
    return [forbidden("spec", f"updates to statefulset spec for fields other than {allowed} are forbidden")]
