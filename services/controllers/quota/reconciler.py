"""ResourceQuotas: their status, set when they are made or changed and recounted when something gives back what it took.

The API server charges a quota in the same batch in which it stores what is charged. Both are on one number line, so a
count of what the cache holds at some revision is exact for the quota's revision at that point: whatever is charged
later makes this controller's update lose its race, and it counts again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from services.controllers.actions import NOTHING, Key, Moment, Object, Plan, Update
from services.controllers.quota import recount
from services.controllers.quota.recount import MEASURED
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.usage import counting

QUOTAS = ("", "resourcequotas")
RESYNC = 300.0
"""Seconds after which a quota is counted again although nothing seems to have changed."""
SETTLING = 2.0
"""Seconds after a quota got its first status in which an API server may still have let something pass uncounted."""


class Quotas:
    """Keys are quotas."""

    name = "resource_quota"
    workers = 2

    def keys(self, view: View) -> Iterable[Key]:
        """Every quota."""
        return [meta.key(quota) for quota in view.every(*QUOTAS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """A quota that was made or changed; all of a namespace in which an object went or came to take less.

        What is created was charged when it was admitted.
        """
        if ref[:2] == QUOTAS:
            changed = obj is not None and (previous is None or obj["spec"] != previous["spec"])
            own = [(ref.namespace, ref.name)] if changed else []
            return own if obj is not None and previous is not None else [*own, *self._others(ref, view)]
        if not ref.namespace or previous is None or not counting.counted(ref.group, ref.resource):
            return []
        # first of all, for most namespaces have none and measuring takes long
        quotas = view.every(*QUOTAS, ref.namespace)
        if not quotas or (obj is not None and (ref[:2] not in MEASURED or _takes(ref, obj) == _takes(ref, previous))):
            return []
        return [meta.key(quota) for quota in quotas]

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Count one quota."""
        quota = view.get(*QUOTAS, *key)
        if quota is None or meta.is_deleting(quota):
            return NOTHING
        contents = {kind: view.every(*kind, key[0]) for kind in view.resources()}
        present = quota.get("status") or {}
        status = recount.status(quota, contents, datetime.fromtimestamp(moment.now, UTC))
        again_after = RESYNC if "used" in present else SETTLING
        if recount.same(status, present):
            return Plan((), again_after)
        ref = Ref(*QUOTAS, *key)
        return Plan((Update(ref, {**quota, "status": status}, "status"),), again_after)

    def _others(self, ref: Ref, view: View) -> list[Key]:
        """Quotas count each other, too."""
        return [meta.key(quota) for quota in view.every(*QUOTAS, ref.namespace) if meta.name(quota) != ref.name]


def _takes(ref: Ref, obj: Object) -> object:
    return counting.usage(ref.group, ref.resource, obj, datetime.now(UTC))
