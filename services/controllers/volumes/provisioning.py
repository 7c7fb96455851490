"""Local volumes on demand: the PersistentVolume of a directory on the node that was chosen for the claim's first pod.

The controller only writes the object. The node makes the directory when a pod mounts it and removes it, with its
content, once the object is being deleted; until then the finalizer keeps the object.
"""

from __future__ import annotations

from services.controllers.actions import Object
from shared.objects import meta
from shared.objects.volumebinding import DIRECTORY, LOCAL_PATH, PROVISIONED_BY, class_of

HOSTNAME = "kubernetes.io/hostname"
_MODES = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})


def volume_name(claim: Object) -> str:
    """The name of the volume made for a claim, as every Kubernetes provisioner chooses it."""
    return f"pvc-{meta.uid(claim)}"


def refusal(claim: Object, node: Object | None) -> str:
    """Why no directory can be provided for a claim on a node, "" if one can."""
    spec = claim["spec"]
    if (spec.get("volumeMode") or "Filesystem") != "Filesystem":
        return "the local-path provisioner makes directories and no block devices: set volumeMode to Filesystem"
    strange = [mode for mode in spec.get("accessModes") or () if mode not in _MODES]
    if strange:
        return f"a directory of one node cannot be {strange[0]}: set accessModes to ReadWriteOnce"
    if spec.get("selector"):
        return "the local-path provisioner cannot satisfy a selector: remove spec.selector"
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        return "the local-path provisioner cannot fill a volume from a data source: remove spec.dataSource"
    if node is None:
        return "no node is there to hold the volume"
    if not meta.annotations(node).get(DIRECTORY):
        return f"node {meta.name(node)} does not say where its volumes lie: annotation {DIRECTORY} is missing"
    return ""


def local_volume(claim: Object, storage_class: Object, node: Object) -> Object:
    """The volume of a claim on a node, reserved for the claim."""
    name = volume_name(claim)
    namespace, claim_name = meta.key(claim)
    directory = meta.annotations(node)[DIRECTORY]
    host = meta.labels(node).get(HOSTNAME) or meta.name(node)
    requirement = {"key": HOSTNAME, "operator": "In", "values": [host]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: LOCAL_PATH},
            "finalizers": [LOCAL_PATH],
        },
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": list(claim["spec"]["accessModes"]),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": class_of(claim),
            "volumeMode": "Filesystem",
            "local": {"path": f"{directory}/{name}_{namespace}_{claim_name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}},
            "claimRef": reference(claim),
            **({"mountOptions": list(storage_class["mountOptions"])} if storage_class.get("mountOptions") else {}),
        },
    }


def reference(claim: Object) -> Object:
    """The claimRef of a volume that belongs to a claim."""
    namespace, name = meta.key(claim)
    found = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name}
    return {**found, "uid": meta.uid(claim)}
