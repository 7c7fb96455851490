"""Finalizers that keep an object while something uses it: put on whoever lacks one, taken off when the use is over."""

from __future__ import annotations

from services.controllers.actions import NOTHING, Object, Plan, Update
from services.controllers.claims import ref_of
from shared.objects import meta


def decide(group: str, plural: str, obj: Object, finalizer: str, *, used: bool) -> Plan:
    """What to do about one object's protection."""
    metadata = obj["metadata"]
    present = metadata.get("finalizers") or []
    if meta.is_deleting(obj):
        wanted = present if used else [name for name in present if name != finalizer]
    else:
        wanted = present if finalizer in present else [*present, finalizer]
    if wanted == present:
        return NOTHING
    changed = {**obj, "metadata": {**metadata, "finalizers": wanted}}
    return Plan((Update(ref_of(group, plural, obj), changed),))
