"""VolumeAttributesClasses stay while a claim or a volume has them (finalizer kubernetes.io/vac-protection)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.controllers.actions import NOTHING, Key, Moment, Object, Plan
from services.controllers.protection import finalizers
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.volumebinding import CLAIMS, VOLUMES

CLASSES = ("storage.k8s.io", "volumeattributesclasses")
FINALIZER = "kubernetes.io/vac-protection"


def classes_of(obj: Object) -> Iterator[str]:
    """Names of the classes that a claim or a volume has, had, or is to get."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names = (
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return (name for name in names if name)


class AttributesClassProtection:
    """Keys are classes."""

    name = "vac_protection"
    workers = 1

    def keys(self, view: View) -> Iterable[Key]:
        """Every class."""
        return [meta.key(one) for one in view.every(*CLASSES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The class itself; classes that a claim or a volume no longer has."""
        if ref[:2] == CLASSES:
            return [("", ref.name)] if obj is not None else []
        if ref[:2] not in (CLAIMS, VOLUMES) or previous is None:
            return []
        kept = set(classes_of(obj)) if obj is not None else set()
        return [("", name) for name in set(classes_of(previous)) - kept]

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Protect or let go of one class."""
        found = view.get(*CLASSES, *key)
        if found is None:
            return NOTHING
        owners = [*view.every(*CLAIMS), *view.every(*VOLUMES)] if meta.is_deleting(found) else []
        used = any(key[1] in classes_of(owner) for owner in owners)
        return finalizers.decide(*CLASSES, found, FINALIZER, used=used)
