"""PersistentVolumes stay while they are bound to a claim (finalizer kubernetes.io/pv-protection)."""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers.actions import NOTHING, Key, Moment, Object, Plan
from services.controllers.protection import finalizers
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.volumebinding import VOLUMES

FINALIZER = "kubernetes.io/pv-protection"


class VolumeProtection:
    """Keys are volumes."""

    name = "pv_protection"
    workers = 1

    def keys(self, view: View) -> Iterable[Key]:
        """Every volume."""
        return [meta.key(volume) for volume in view.every(*VOLUMES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The volume itself."""
        return [("", ref.name)] if ref[:2] == VOLUMES and obj is not None else []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Protect or let go of one volume."""
        volume = view.get(*VOLUMES, *key)
        if volume is None:
            return NOTHING
        bound = (volume.get("status") or {}).get("phase") == "Bound"
        return finalizers.decide(*VOLUMES, volume, FINALIZER, used=bound)
