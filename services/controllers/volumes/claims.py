"""Claims: each is bound to a volume that is there, or gets one made, or says for what it waits.

Binding writes the volume first and the claim second, each conditional on the version that was decided on; a crash in
between leaves a volume that is reserved for the claim, which the next look completes.

Source: Kubernetes' persistent volume controller (syncClaim), KEP-3333 (default class given afterwards).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.controllers.actions import NOTHING, Action, Create, Key, Moment, Note, Object, Patch, Plan
from services.controllers.claims import ref_of
from services.controllers.view import NODES, View
from services.controllers.volumes.provisioning import local_volume, reference, refusal, volume_name
from shared.events.subjects import Ref
from shared.objects import meta, placement
from shared.objects.volumebinding import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    CLAIMS,
    CLASSES,
    DEFAULT_CLASS,
    LOCAL_PATH,
    NO_PROVISIONER,
    PROVISIONERS,
    SELECTED_NODE,
    VOLUMES,
    best,
    capacity,
    class_of,
    is_bound,
    node_terms,
    requested,
    reserved_for,
    unfit,
    waits_for_consumer,
)


@dataclass(frozen=True, slots=True)
class Situation:
    """A claim and what there is for it. `node` is the one that was selected for its first pod, if one was."""

    claim: Object
    volumes: Sequence[Object]
    classes: Sequence[Object]
    node: Object | None = None
    spare_node: Object | None = None

    @property
    def storage_class(self) -> Object | None:
        return next((one for one in self.classes if meta.name(one) == class_of(self.claim)), None)

    def volume(self, name: str) -> Object | None:
        return next((one for one in self.volumes if meta.name(one) == name), None)


def decide(situation: Situation) -> Plan:
    """What to do about one claim now."""
    claim = situation.claim
    if meta.is_deleting(claim) and not is_bound(claim):
        return NOTHING
    if is_bound(claim):
        return _keep(situation)
    if claim["spec"].get("storageClassName") is None and not claim["spec"].get("volumeName"):
        default = default_class(situation.classes)
        if default is not None:
            return Plan((_patch(claim, {"spec": {"storageClassName": meta.name(default)}}),))
    if claim["spec"].get("volumeName"):
        return _bind_named(situation)
    delayed = waits_for_consumer(claim, situation.storage_class)
    candidates = [v for v in situation.volumes if not delayed or reserved_for(v, claim)]
    volume = best(claim, candidates, lambda one: reaches(one, situation.node))
    if volume is not None:
        return Plan(bind(claim, volume))
    if delayed:
        text = "waiting for first consumer to be created before binding"
        return Plan((Note(claim, "WaitForFirstConsumer", text), *_phase(claim, "Pending")))
    return _provide(situation)


def reaches(volume: Object, node: Object | None) -> bool:
    """Whether a volume can be used on a node; without a node, whether some node can be expected to."""
    terms = node_terms(volume)
    if terms is None or node is None:
        return True
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    return placement.selects({"affinity": affinity}, node)


def default_class(classes: Iterable[Object]) -> Object | None:
    """The newest class that is marked as default, by name among equally old ones."""
    marked = [one for one in classes if any(meta.annotations(one).get(key) == "true" for key in DEFAULT_CLASS)]
    by_name = sorted(marked, key=meta.name)
    return max(by_name, key=lambda one: one["metadata"].get("creationTimestamp") or "", default=None)


def bind(claim: Object, volume: Object) -> tuple[Action, ...]:
    """Tie a claim and a volume to each other."""
    actions: list[Action] = []
    held = volume["spec"].get("claimRef") or {}
    if not held.get("uid"):
        body: Object = {"spec": {"claimRef": reference(claim)}}
        if not held:
            body["metadata"] = {"annotations": {BOUND_BY_CONTROLLER: "yes"}}
        actions.append(_patch(volume, body))
    notes = {BIND_COMPLETED: "yes"}
    if not claim["spec"].get("volumeName"):
        notes[BOUND_BY_CONTROLLER] = "yes"
    actions.append(_patch(claim, {"metadata": {"annotations": notes}, "spec": {"volumeName": meta.name(volume)}}))
    return (*actions, *_bound_status(claim, volume))


def _bind_named(situation: Situation) -> Plan:
    claim = situation.claim
    volume = situation.volume(claim["spec"]["volumeName"])
    if volume is None:
        return Plan(_phase(claim, "Pending"))
    if volume["spec"].get("claimRef") and not reserved_for(volume, claim):
        other = "/".join(str(volume["spec"]["claimRef"].get(key)) for key in ("namespace", "name"))
        text = f'volume "{meta.name(volume)}" already bound to a different claim: {other}'
        return Plan((Note(claim, "FailedBinding", text, "Warning"), *_phase(claim, "Pending")))
    if why := unfit(volume, claim):
        text = f'Cannot bind to requested volume "{meta.name(volume)}": {why}'
        return Plan((Note(claim, "VolumeMismatch", text, "Warning"), *_phase(claim, "Pending")))
    return Plan(bind(claim, volume))


def _keep(situation: Situation) -> Plan:
    """Look after a bound claim: its volume may be gone, taken, or too small by now."""
    claim = situation.claim
    name = claim["spec"].get("volumeName")
    volume = situation.volume(name) if name else None
    if volume is None:
        return _lost(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
    if volume["spec"].get("claimRef") and not reserved_for(volume, claim):
        text = "Two claims are bound to the same volume, this one is bound incorrectly"
        return _lost(claim, "ClaimMisbound", text)
    actions: list[Action] = []
    if not (volume["spec"].get("claimRef") or {}).get("uid"):
        actions.append(_patch(volume, {"spec": {"claimRef": reference(claim)}}))
    if requested(claim) > capacity(volume) and _may_grow(situation, volume):
        size = claim["spec"]["resources"]["requests"]["storage"]
        volume = {**volume, "spec": {**volume["spec"], "capacity": {"storage": size}}}
        actions.append(_patch(volume, {"spec": {"capacity": {"storage": size}}}))
        actions.append(Note(claim, "VolumeResizeSuccessful", "Resize volume succeeded"))
    return Plan((*actions, *_bound_status(claim, volume)))


def _may_grow(situation: Situation, volume: Object) -> bool:
    made_here = meta.annotations(volume).get("pv.kubernetes.io/provisioned-by") == LOCAL_PATH
    return made_here and bool((situation.storage_class or {}).get("allowVolumeExpansion"))


def _lost(claim: Object, reason: str, text: str) -> Plan:
    change = _phase(claim, "Lost")
    return Plan((Note(claim, reason, text, "Warning"), *change)) if change else NOTHING


def _provide(situation: Situation) -> Plan:
    """No volume is there: have one made, or say why not."""
    claim, storage_class = situation.claim, situation.storage_class
    name = class_of(claim)
    if not name:
        text = "no persistent volumes available for this claim and no storage class is set"
        return Plan((Note(claim, "FailedBinding", text), *_phase(claim, "Pending")))
    if storage_class is None:
        text = f'storageclass.storage.k8s.io "{name}" not found'
        return Plan((Note(claim, "ProvisioningFailed", text, "Warning"), *_phase(claim, "Pending")))
    provisioner = storage_class["provisioner"]
    if provisioner == NO_PROVISIONER:
        text = f'no persistent volumes available for this claim and storage class "{name}" has no provisioner'
        return Plan((Note(claim, "FailedBinding", text), *_phase(claim, "Pending")))
    named = meta.annotations(claim).get(PROVISIONERS[-1]) == provisioner
    marks = () if named else (_patch(claim, {"metadata": {"annotations": dict.fromkeys(PROVISIONERS, provisioner)}}),)
    if provisioner != LOCAL_PATH:
        text = (
            "Waiting for a volume to be created either by the external provisioner "
            f"'{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify "
            "that the provisioner is running and correctly registered."
        )
        return Plan((*marks, Note(claim, "ExternalProvisioning", text), *_phase(claim, "Pending")))
    if marks:
        return Plan((*marks, *_phase(claim, "Pending")))
    return _provide_directory(situation, storage_class)


def _provide_directory(situation: Situation, storage_class: Object) -> Plan:
    claim = situation.claim
    selected = meta.annotations(claim).get(SELECTED_NODE)
    node = situation.node if selected else situation.spare_node
    why = refusal(claim, node)
    if node is None or why:
        text = f'failed to provision volume with StorageClass "{meta.name(storage_class)}": {why}'
        actions: list[Action] = [Note(claim, "ProvisioningFailed", text, "Warning")]
        if selected and node is None:
            # the pod must be given another node; the scheduler selects again once this is gone
            actions.append(_patch(claim, {"metadata": {"annotations": {SELECTED_NODE: None}}}))
        return Plan((*actions, *_phase(claim, "Pending")))
    made = local_volume(claim, storage_class, node)
    note = Note(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {volume_name(claim)}")
    return Plan((Create(Ref(*VOLUMES, "", volume_name(claim)), made, existing="fine"), note))


def _patch(obj: Object, body: Object) -> Patch:
    """A merge patch that fails if the object is no longer the one that was looked at."""
    metadata = {**(body.get("metadata") or {}), "resourceVersion": obj["metadata"]["resourceVersion"]}
    kind = VOLUMES if obj["kind"] == "PersistentVolume" else CLAIMS
    return Patch(ref_of(*kind, obj), {**body, "metadata": metadata})


def _phase(claim: Object, phase: str) -> tuple[Action, ...]:
    return () if (claim.get("status") or {}).get("phase") == phase else (_status(claim, {"phase": phase}),)


def _bound_status(claim: Object, volume: Object) -> tuple[Action, ...]:
    status = claim.get("status") or {}
    wanted = {
        "phase": "Bound",
        "accessModes": list(volume["spec"].get("accessModes") or ()),
        "capacity": dict(volume["spec"].get("capacity") or {}),
    }
    return () if all(status.get(key) == value for key, value in wanted.items()) else (_status(claim, wanted),)


def _status(claim: Object, status: Object) -> Patch:
    return Patch(ref_of(*CLAIMS, claim), {"metadata": {"uid": meta.uid(claim)}, "status": status}, "merge", "status")


class PersistentVolumeClaims:
    """Reconciles claims; woken by them, by volumes, classes, and the nodes selected for them."""

    # the events of claims bear the name that Kubernetes users know
    name = "persistentvolume"
    workers = 1

    def keys(self, view: View) -> Iterable[Key]:
        """Every claim."""
        return [meta.key(claim) for claim in view.every(*CLAIMS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The claim itself; of a volume, the claims it is or may be for; of a class or node, those that wait."""
        kind = ref[:2]
        if kind == CLAIMS:
            return [(ref.namespace, ref.name)] if obj is not None else []
        if kind == VOLUMES:
            return _of_volume(ref, obj, previous, view)
        if kind == CLASSES:
            return [meta.key(one) for one in view.every(*CLAIMS) if class_of(one) in ("", ref.name)]
        if kind == NODES and _offer(obj) != _offer(previous):
            return [meta.key(one) for one in view.every(*CLAIMS) if not is_bound(one)]
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Decide about one claim."""
        claim = view.get(*CLAIMS, *key)
        if claim is None:
            return NOTHING
        selected = meta.annotations(claim).get(SELECTED_NODE)
        node = view.get(*NODES, "", selected) if selected else None
        spare = None if selected or is_bound(claim) else _spare_node(claim, view)
        return decide(Situation(claim, view.every(*VOLUMES), view.every(*CLASSES), node, spare))


def _of_volume(ref: Ref, obj: Object | None, previous: Object | None, view: View) -> list[Key]:
    found: dict[Key, None] = {}
    for version in (obj, previous):
        held = (version or {}).get("spec", {}).get("claimRef")
        if held:
            found[(str(held.get("namespace")), str(held.get("name")))] = None
    for claim in view.every(*CLAIMS):
        named = claim["spec"].get("volumeName")
        if named == ref.name or (obj is not None and not named and class_of(claim) == class_of(obj)):
            found[meta.key(claim)] = None
    return list(found)


def _offer(node: Object | None) -> object:
    """All of a node that decides whether a directory for a claim can be made there."""
    return None if node is None else (meta.annotations(node), meta.labels(node), _is_open(node))


def _is_open(node: Object) -> bool:
    return meta.condition_true(node, "Ready") and not node.get("spec", {}).get("unschedulable")


def _spare_node(claim: Object, view: View) -> Object | None:
    """A node for a volume that is wanted before any pod: ready and open ones, spread by the claim's uid."""
    nodes = [node for node in view.every(*NODES) if _is_open(node)]
    return nodes[sum(meta.uid(claim).encode()) % len(nodes)] if nodes else None
