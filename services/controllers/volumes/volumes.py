"""Volumes: which phase each is in, and what becomes of one whose claim is gone.

A directory of the built-in provisioner is removed by its node (see `provisioning`); for a node that is gone for good
nobody could, so its volumes are let go here.

Source: Kubernetes' persistent volume controller (syncVolume); "Persistent volumes", phases and reclaiming.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.controllers import instants
from services.controllers.actions import NOTHING, Action, Delete, Key, Moment, Note, Object, Patch, Plan
from services.controllers.claims import ref_of
from services.controllers.view import NODES, View
from services.controllers.volumes.claims import reaches
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.volumebinding import BOUND_BY_CONTROLLER, CLAIMS, LOCAL_PATH, PROVISIONED_BY, VOLUMES

# How long the nodes of a volume must have been missing before its directory is given up, in seconds.
NODE_LOST_S = 60.0


def decide(volume: Object, claim: Object | None, now: float) -> Plan:
    """The phase of a volume and what follows from it; `claim` is the one its claimRef names, if it exists."""
    held = volume["spec"].get("claimRef")
    if meta.is_deleting(volume):
        return NOTHING
    if not held or not held.get("uid"):
        return Plan(_phase(volume, "Available", now))
    if claim is not None and meta.uid(claim) == held["uid"]:
        named = claim["spec"].get("volumeName") or ""
        if named == meta.name(volume):
            return Plan(_phase(volume, "Bound", now))
        if not named:
            # the claim's own reconciliation completes the binding
            return NOTHING
        if PROVISIONED_BY in meta.annotations(volume):
            return _release(volume, now)
        by_controller = BOUND_BY_CONTROLLER in meta.annotations(volume)
        freed = {"claimRef": None if by_controller else {"uid": None, "resourceVersion": None}}
        metadata: Object = {"resourceVersion": volume["metadata"]["resourceVersion"]}
        if by_controller:
            metadata["annotations"] = {BOUND_BY_CONTROLLER: None}
        return Plan((Patch(ref_of(*VOLUMES, volume), {"metadata": metadata, "spec": freed}),))
    return _release(volume, now)


def _release(volume: Object, now: float) -> Plan:
    phase = (volume.get("status") or {}).get("phase")
    released = () if phase in ("Released", "Failed") else _phase(volume, "Released", now)
    policy = volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"
    made_by = meta.annotations(volume).get(PROVISIONED_BY)
    if policy == "Retain" or phase == "Failed":
        return Plan(released)
    if policy == "Delete" and made_by == LOCAL_PATH:
        return Plan((*released, Delete(ref_of(*VOLUMES, volume), uid=meta.uid(volume))))
    if policy == "Delete" and made_by:
        # the provisioner that made it deletes it
        return Plan(released)
    verb = "Recycle" if policy == "Recycle" else "Delete"
    text = f'no volume plugin can {verb.lower()} volume "{meta.name(volume)}": remove its data and the object by hand'
    note = Note(volume, f"VolumeFailed{verb}", text, "Warning")
    return Plan((*released, note, *_phase(volume, "Failed", now, text)))


def _phase(volume: Object, phase: str, now: float, message: str = "") -> tuple[Action, ...]:
    status = volume.get("status") or {}
    if (status.get("phase"), status.get("message") or "") == (phase, message):
        return ()
    body = {"phase": phase, "message": message or None, "lastPhaseTransitionTime": instants.text(now)}
    change = {"metadata": {"uid": meta.uid(volume)}, "status": body}
    return (Patch(ref_of(*VOLUMES, volume), change, "merge", "status"),)


class PersistentVolumes:
    """Reconciles volumes; woken by them, by the claims they name, and by nodes that go away.

    Since when the nodes of a volume under deletion are missing is remembered in memory only.
    """

    name = "persistentvolume_reclaim"
    workers = 1

    def __init__(self) -> None:
        self._missing_since: dict[str, float] = {}

    def keys(self, view: View) -> Iterable[Key]:
        """Every volume."""
        return [meta.key(volume) for volume in view.every(*VOLUMES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The volume itself; of a claim, the volumes that name it; of a node, those that are being deleted."""
        if ref[:2] == VOLUMES:
            return [("", ref.name)]
        if ref[:2] == CLAIMS:
            names = {(version or {}).get("spec", {}).get("volumeName") for version in (obj, previous)}
            held = (ref.namespace, ref.name)
            return [meta.key(v) for v in view.every(*VOLUMES) if meta.name(v) in names or _claim_key(v) == held]
        if ref[:2] == NODES and obj is None:
            return [meta.key(volume) for volume in view.every(*VOLUMES) if meta.is_deleting(volume)]
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Decide about one volume."""
        volume = view.get(*VOLUMES, *key)
        if volume is None:
            self._missing_since.pop(key[1], None)
            return NOTHING
        if meta.is_deleting(volume):
            return self._abandon(volume, view, moment.now)
        held = _claim_key(volume)
        return decide(volume, view.get(*CLAIMS, *held) if held else None, moment.now)

    def _abandon(self, volume: Object, view: View, now: float) -> Plan:
        """Let a directory go whose node no longer exists."""
        name, finalizers = meta.name(volume), volume["metadata"].get("finalizers") or []
        if LOCAL_PATH not in finalizers or any(reaches(volume, node) for node in view.every(*NODES)):
            self._missing_since.pop(name, None)
            return NOTHING
        left = self._missing_since.setdefault(name, now) + NODE_LOST_S - now
        if left > 0:
            return Plan((), left)
        kept = [one for one in finalizers if one != LOCAL_PATH]
        text = "the node of the volume no longer exists; its directory was not removed"
        metadata = {"resourceVersion": volume["metadata"]["resourceVersion"], "finalizers": kept}
        note = Note(volume, "VolumeAbandoned", text, "Warning")
        return Plan((note, Patch(ref_of(*VOLUMES, volume), {"metadata": metadata})))


def _claim_key(volume: Object) -> Key | None:
    held = volume["spec"].get("claimRef")
    return (str(held.get("namespace") or ""), str(held.get("name") or "")) if held else None
