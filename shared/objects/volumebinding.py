"""Which volume fits a claim: one rule for the scheduler, which must not choose a node without any, and for the binder.

Source: Kubernetes "Persistent volumes" (binding, selectors, volume modes); the annotations are those that kubectl,
provisioners and backup tools read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from shared.objects import meta, quantities
from shared.objects.selectors import from_label_selector

CLAIMS = ("", "persistentvolumeclaims")
VOLUMES = ("", "persistentvolumes")
CLASSES = ("storage.k8s.io", "storageclasses")

LOCAL_PATH = "wherry.io/local-path"
"""The built-in provisioner: a directory on the node, its volumes' finalizer and their mark."""
DIRECTORY = "wherry.io/volumes-directory"
"""Annotation of a Node: where on it the directories of its volumes lie."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONERS = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT = "WaitForFirstConsumer"

Object = Mapping[str, Any]
Volume = TypeVar("Volume", bound=Mapping[str, Any])


def class_of(obj: Object) -> str:
    """Name of the storage class of a claim or volume, "" if it has none."""
    return str(obj["spec"].get("storageClassName") or "")


def requested(claim: Object) -> int:
    """Bytes that a claim asks for."""
    return quantities.value(str(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0"))


def capacity(volume: Object) -> int:
    """Bytes that a volume offers."""
    return quantities.value(str((volume["spec"].get("capacity") or {}).get("storage") or "0"))


def is_bound(claim: Object) -> bool:
    """Whether the binder has finished with a claim."""
    return BIND_COMPLETED in meta.annotations(claim)


def reserved_for(volume: Object, claim: Object) -> bool:
    """Whether a volume's claimRef names this claim, by uid if it has one."""
    reference = volume["spec"].get("claimRef") or {}
    if (reference.get("namespace"), reference.get("name")) != meta.key(claim):
        return False
    return not reference.get("uid") or reference["uid"] == meta.uid(claim)


def waits_for_consumer(claim: Object, storage_class: Object | None) -> bool:
    """Whether a claim is only to be bound once a pod that uses it has been given a node."""
    mode = (storage_class or {}).get("volumeBindingMode")
    return mode == WAIT and not meta.annotations(claim).get(SELECTED_NODE)


def unfit(volume: Object, claim: Object) -> str:
    """Why a volume cannot serve a claim, "" if it can; who holds it is not asked here."""
    wanted, offered = claim["spec"], volume["spec"]
    if (wanted.get("volumeMode") or "Filesystem") != (offered.get("volumeMode") or "Filesystem"):
        return "incompatible volumeMode"
    if capacity(volume) < requested(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if not set(wanted.get("accessModes") or ()) <= set(offered.get("accessModes") or ()):
        return "incompatible accessMode"
    if (wanted.get("volumeAttributesClassName") or "") != (offered.get("volumeAttributesClassName") or ""):
        return "volumeAttributesClassName does not match"
    return ""


def best(claim: Object, volumes: Iterable[Volume], reaches: Callable[[Volume], bool]) -> Volume | None:
    """The volume to bind a claim to: one that is reserved for it, else the smallest free one that fits.

    `reaches` says whether a volume can be used from where the claim will be needed.
    """
    selector = claim["spec"].get("selector")
    matcher = from_label_selector(selector) if selector is not None else None
    chosen: Volume | None = None
    for volume in volumes:
        if meta.is_deleting(volume):
            continue
        if volume["spec"].get("claimRef"):
            if reserved_for(volume, claim) and not unfit(volume, claim):
                return volume
            continue
        free = (volume.get("status") or {}).get("phase") == "Available"
        if not free or unfit(volume, claim) or (matcher is not None and not matcher.matches(meta.labels(volume))):
            continue
        if reaches(volume) and (chosen is None or capacity(volume) < capacity(chosen)):
            chosen = volume
    return chosen


def node_terms(volume: Object) -> list[Mapping[str, Any]] | None:
    """The node selector terms of which a node must satisfy one to use a volume; None if every node can."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return None if required is None else list(required.get("nodeSelectorTerms") or ())


def claim_names(pod: Object) -> dict[str, str]:
    """Claim name by volume name, of all volumes of a pod that are claims; ephemeral ones get theirs from the pod."""
    names = {}
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            names[volume["name"]] = str(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            names[volume["name"]] = ephemeral_name(pod, volume["name"])
    return names


def ephemeral_name(pod: Object, volume: str) -> str:
    """The name of the claim of a generic ephemeral volume (KEP-1698)."""
    return f"{pod['metadata']['name']}-{volume}"
