"""What the server itself does to a CustomResourceDefinition on its way into the store; pure functions on dicts."""

from services.apiserver.protocol import Object

KEY = ("apiextensions.k8s.io", "customresourcedefinitions")
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
HEAVY = frozenset({"managedFields", "kubectl.kubernetes.io/last-applied-configuration"})


def initial_status(definition: Object) -> Object:
    """No names are accepted yet; objects will be stored in the storage version."""
    stored = [one["name"] for one in definition["spec"].get("versions") or () if one.get("storage")]
    return {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def remember_storage(definition: Object) -> None:
    """Note the storage version among those that objects may be stored in; in place."""
    status = definition.setdefault("status", {})
    stored = list(status.get("storedVersions") or ())
    for one in definition["spec"].get("versions") or ():
        if one.get("storage") and one["name"] not in stored:
            status["storedVersions"] = [*stored, one["name"]]


def hold(definition: Object) -> None:
    """A definition whose deletion begins waits until its objects are gone; in place."""
    metadata = definition["metadata"]
    finalizers = metadata.get("finalizers") or []
    if "deletionTimestamp" not in metadata and CLEANUP not in finalizers:
        metadata["finalizers"] = [*finalizers, CLEANUP]


def outline(definition: Object) -> Object:
    """A definition without its schemas, which are most of it: what names and its end depend on."""
    kept = ("name", "served", "storage")
    versions = [{key: one[key] for key in kept if key in one} for one in definition["spec"].get("versions") or ()]
    metadata = {key: value for key, value in definition["metadata"].items() if key not in HEAVY}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in HEAVY}
    return {
        "metadata": metadata | {"annotations": annotations},
        "spec": definition["spec"] | {"versions": versions},
        "status": definition.get("status") or {},
    }
