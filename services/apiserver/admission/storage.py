"""Claims and volumes: the default class, protection while in use, growth only where the class allows it (plugins
DefaultStorageClass, StorageObjectInUseProtection and PersistentVolumeClaimResize)."""

from collections.abc import Sequence

from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects import quantities

CLAIM = ("", "persistentvolumeclaims")
VOLUME = ("", "persistentvolumes")
ATTRIBUTES_CLASS = ("storage.k8s.io", "volumeattributesclasses")
CLASSES = ("storage.k8s.io", "storageclasses")
FINALIZERS = {
    CLAIM: "kubernetes.io/pvc-protection",
    VOLUME: "kubernetes.io/pv-protection",
    ATTRIBUTES_CLASS: "kubernetes.io/vac-protection",
}
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
CANNOT_GROW = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


def complete(store: Store, asked: Attributes) -> None:
    """Protect a new claim, volume or attributes class, and give a claim the default class; in place."""
    finalizer = FINALIZERS.get(asked.key)
    if asked.operation != CREATE or asked.subresource or finalizer is None or asked.object is None:
        return
    metadata = asked.object["metadata"]
    present = metadata.get("finalizers") or []
    if finalizer not in present:
        metadata["finalizers"] = [*present, finalizer]
    if asked.key == CLAIM:
        _default_class(store, asked.object)


def check(store: Store, asked: Attributes) -> None:
    """Forbidden if a claim is to grow whose class does not allow it."""
    if asked.key != CLAIM or asked.operation != UPDATE or asked.subresource or asked.old is None:
        return
    old, new = _size(asked.old), _size(asked.current)
    if old is None or new is None or quantities.parse(new) <= quantities.parse(old):
        return
    name = class_of(asked.current)
    if name == "" or class_of(asked.old) == "":
        raise forbidden(asked.resource, asked.name, CANNOT_GROW)
    record = store.state.cache.get(Ref(*CLASSES, "", name))
    if record is None or not record.object.get("allowVolumeExpansion"):
        raise forbidden(asked.resource, asked.name, CANNOT_GROW)


def class_of(claim: Object) -> str:
    """The storage class of a claim, empty if it has none."""
    annotations = claim["metadata"].get("annotations") or {}
    return annotations.get(CLASS_ANNOTATION) or (claim.get("spec") or {}).get("storageClassName") or ""


def _default_class(store: Store, claim: Object) -> None:
    spec = claim.get("spec")
    annotations = claim["metadata"].get("annotations") or {}
    if not isinstance(spec, dict) or spec.get("storageClassName") is not None or CLASS_ANNOTATION in annotations:
        return
    found = default_of([record.object for record in store.state.cache.list(*CLASSES)], DEFAULT_ANNOTATIONS)
    if found is not None:
        spec["storageClassName"] = found["metadata"]["name"]


def default_of(classes: Sequence[Object], annotations: Sequence[str]) -> Object | None:
    """The class that is annotated as the default; of several the newest, then the first by name."""
    defaults = [
        one
        for one in classes
        if any((one["metadata"].get("annotations") or {}).get(name) == "true" for name in annotations)
    ]
    newest = max((one["metadata"].get("creationTimestamp", "") for one in defaults), default="")
    latest = [one for one in defaults if one["metadata"].get("creationTimestamp", "") == newest]
    return min(latest, key=lambda one: str(one["metadata"]["name"]), default=None)


def _size(claim: Object) -> str | None:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    size = requests.get("storage")
    return None if size is None else str(size)
