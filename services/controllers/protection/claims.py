"""PersistentVolumeClaims stay while a pod on a node uses them (finalizer kubernetes.io/pvc-protection)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.controllers.actions import NOTHING, Key, Moment, Object, Plan
from services.controllers.protection import finalizers
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.volumebinding import CLAIMS, ephemeral_name

FINALIZER = "kubernetes.io/pvc-protection"


def claims_of(pod: Object) -> Iterator[str]:
    """Names of the claims that a pod mounts, those made for it included."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"]
        elif volume.get("ephemeral"):
            yield ephemeral_name(pod, volume["name"])


class ClaimProtection:
    """Keys are claims."""

    name = "pvc_protection"
    workers = 1

    def keys(self, view: View) -> Iterable[Key]:
        """Every claim."""
        return [meta.key(claim) for claim in view.every(*CLAIMS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The claim itself; the claims of a pod that went."""
        if ref[:2] == CLAIMS:
            return [(ref.namespace, ref.name)] if obj is not None else []
        if ref[:2] == PODS and obj is None and previous is not None:
            return [(ref.namespace, name) for name in claims_of(previous)]
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Protect or let go of one claim."""
        claim = view.get(*CLAIMS, *key)
        if claim is None:
            return NOTHING
        # no node starts a pod whose claim is being deleted, so only pods that are on one count
        used = meta.is_deleting(claim) and any(
            pod["spec"].get("nodeName") and key[1] in claims_of(pod) for pod in view.every(*PODS, key[0])
        )
        return finalizers.decide(*CLAIMS, claim, FINALIZER, used=used)
