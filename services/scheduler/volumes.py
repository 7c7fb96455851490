"""What a pod's volumes demand of its node.

A claim that is bound ties the pod to where its volume is. One that waits for its first consumer ties nothing yet:
the chosen node is written on the claim, the pod is put aside, and once the binder has bound the claim the pod comes
back and finds its node as the only one that fits. So a binding never points at storage that could not be had.

Source: Kubernetes "Storage capacity and topology" and the messages of kube-scheduler's VolumeBinding plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.scheduler import selection
from services.scheduler.snapshot import FINAL_PHASES, Key, Mask, Nodes
from shared.events.subjects import Ref
from shared.objects import meta, volumebinding
from shared.objects.volumebinding import CLAIMS, CLASSES, NO_PROVISIONER, SELECTED_NODE, VOLUMES

CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
IN_USE = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Needs:
    """The demands of one pod. `trouble` holds it up wherever it might go; `terms` lists, for each volume that is
    bound to nodes, the alternatives; `wanted` are claims that wait for the choice, `offers` the volumes each may get
    (None stands for one that can be had anywhere), `alone` the claims that only one pod may use.
    """

    trouble: str = ""
    exclusive: bool = False
    terms: tuple[tuple[Object, ...], ...] = ()
    selected: frozenset[str] = frozenset()
    wanted: tuple[Key, ...] = ()
    offers: tuple[tuple[tuple[Object, ...] | None, ...], ...] = ()
    alone: tuple[Key, ...] = ()

    def failures(self, nodes: Nodes) -> Iterator[tuple[str, Mask]]:
        """Reason and nodes, as an evaluation charges them."""
        if self.exclusive:
            yield IN_USE, np.ones(len(nodes.names), dtype=bool)
        for alternatives in self.terms:
            yield CONFLICT, ~_any(nodes, alternatives)
        if self.selected:
            others = np.array([name not in self.selected for name in nodes.names], dtype=bool)
            yield NO_VOLUME, others | (len(self.selected) > 1)
        for offers in self.offers:
            mask = np.zeros(len(nodes.names), dtype=bool)
            for offer in offers:
                mask |= True if offer is None else _any(nodes, offer)
            yield NO_VOLUME, ~mask


NOTHING = Needs()


@dataclass(slots=True)
class VolumeView:
    """Follows claims, volumes, classes, and who uses which claim."""

    claims: dict[Key, Object] = field(default_factory=dict)
    volumes: dict[str, Object] = field(default_factory=dict)
    classes: dict[str, Object] = field(default_factory=dict)
    _users: dict[Key, dict[Key, None]] = field(default_factory=dict)
    _used: dict[Key, tuple[Key, ...]] = field(default_factory=dict)

    def take(self, ref: Ref, obj: Object | None) -> bool:
        """Take over a change of storage; whether the ref is about storage at all."""
        key = (ref.namespace, ref.name)
        if ref[:2] == CLAIMS:
            _put(self.claims, key, obj)
        elif ref[:2] == VOLUMES:
            _put(self.volumes, ref.name, obj)
        elif ref[:2] == CLASSES:
            _put(self.classes, ref.name, obj)
        else:
            return False
        return True

    def take_pod(self, key: Key, pod: Object | None) -> None:
        """Remember which claims a pod that has a node uses."""
        placed = pod is not None and pod["spec"].get("nodeName")
        used: tuple[Key, ...] = ()
        if pod is not None and placed and (pod.get("status") or {}).get("phase") not in FINAL_PHASES:
            used = tuple((key[0], name) for name in volumebinding.claim_names(pod).values())
        for claim in self._used.pop(key, ()):
            users = self._users[claim]
            users.pop(key, None)
            if not users:
                del self._users[claim]
        if used:
            self._used[key] = used
            for claim in used:
                self._users.setdefault(claim, {})[key] = None

    def needs(self, pod: Object) -> Needs:
        """What the volumes of a waiting pod demand."""
        names = volumebinding.claim_names(pod)
        if not names:
            return NOTHING
        namespace = pod["metadata"]["namespace"]
        own = {volume["name"] for volume in pod["spec"]["volumes"] if volume.get("ephemeral")}
        terms: list[tuple[Object, ...]] = []
        selected: set[str] = set()
        wanted: list[Key] = []
        offers: list[tuple[tuple[Object, ...] | None, ...]] = []
        alone: list[Key] = []
        for volume, name in names.items():
            claim = self.claims.get((namespace, name))
            if trouble := self._trouble(claim, name, pod, ephemeral=volume in own):
                return Needs(trouble)
            assert claim is not None
            if "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ()):
                alone.append((namespace, name))
            if volumebinding.is_bound(claim):
                found = volumebinding.node_terms(self.volumes[claim["spec"]["volumeName"]])
                if found is not None:
                    terms.append(tuple(found))
            elif node := meta.annotations(claim).get(SELECTED_NODE):
                selected.add(node)
                wanted.append((namespace, name))
            else:
                wanted.append((namespace, name))
                offers.append(self._offers(claim))
        taken = any(key in self._users for key in alone)
        return Needs("", taken, tuple(terms), frozenset(selected), tuple(wanted), tuple(offers), tuple(alone))

    def _trouble(self, claim: Object | None, name: str, pod: Object, *, ephemeral: bool) -> str:
        if claim is None and ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if ephemeral and not meta.is_controlled_by(claim, pod):
            return f"PVC {meta.namespace(claim)}/{name} was not created for pod {'/'.join(meta.key(pod))}"
        if meta.is_deleting(claim):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if (claim.get("status") or {}).get("phase") == "Lost":
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{_volume(claim)}"'
        if volumebinding.is_bound(claim):
            present = _volume(claim) in self.volumes
            return "" if present else f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume'
        storage_class = self.classes.get(volumebinding.class_of(claim))
        if _volume(claim) or (storage_class or {}).get("volumeBindingMode") != volumebinding.WAIT:
            return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _offers(self, claim: Object) -> tuple[tuple[Object, ...] | None, ...]:
        storage_class = self.classes[volumebinding.class_of(claim)]
        if storage_class["provisioner"] != NO_PROVISIONER:
            topologies = storage_class.get("allowedTopologies")
            return (None,) if not topologies else (tuple(_as_term(one) for one in topologies),)
        found: list[tuple[Object, ...] | None] = []
        for volume in self.volumes.values():
            # asked one by one: each may be the best on some node
            if volumebinding.best(claim, [volume], lambda _: True) is not None:
                terms = volumebinding.node_terms(volume)
                found.append(None if terms is None else tuple(terms))
        return tuple(found)


def _as_term(topology: Object) -> Object:
    """A TopologySelectorTerm as a node selector term."""
    expressions = topology.get("matchLabelExpressions") or ()
    return {"matchExpressions": [{**one, "operator": "In"} for one in expressions]}


def _any(nodes: Nodes, alternatives: tuple[Object, ...]) -> Mask:
    mask = np.zeros(len(nodes.names), dtype=bool)
    for term in alternatives:
        mask |= selection.matches(nodes, term)
    return mask


def _put(table: dict[Any, Object], key: Any, obj: Object | None) -> None:
    if obj is None:
        table.pop(key, None)
    else:
        table[key] = obj


def _volume(claim: Object) -> str:
    return str(claim["spec"].get("volumeName") or "")
