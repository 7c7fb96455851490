"""What the server makes of an object before it is validated and stored, kind by kind: which part a client may set on
which path, when the generation moves, and what is computed once at creation. Pure functions on dicts."""

import base64
from collections.abc import Callable
from functools import lru_cache

from services.apiserver import addressing, certificates, conditions, definitions, jobs
from services.apiserver.protocol import Object
from shared.objects import meta, times
from shared.objects.registry import Resource
from shared.objects.repetition import remembered, same
from shared.objects.usage.quality import quality_class

# kinds whose metadata.generation counts the changes of what the user asked for (registry strategies of Kubernetes)
WITHOUT_GENERATION = frozenset(
    {
        ("", "configmaps"),
        ("", "endpoints"),
        ("", "events"),
        ("", "limitranges"),
        ("", "namespaces"),
        ("", "nodes"),
        ("", "persistentvolumeclaims"),
        ("", "persistentvolumes"),
        ("", "resourcequotas"),
        ("", "secrets"),
        ("", "serviceaccounts"),
        ("", "services"),
        ("apps", "controllerrevisions"),
        ("autoscaling", "horizontalpodautoscalers"),
        ("certificates.k8s.io", "certificatesigningrequests"),
        ("coordination.k8s.io", "leases"),
        ("events.k8s.io", "events"),
        ("node.k8s.io", "runtimeclasses"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "roles"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "volumeattachments"),
    }
)
# kinds that count generations although nothing but their creation sets one
CONSTANT_GENERATION = frozenset({("scheduling.k8s.io", "priorityclasses")})
# a PUT to a name that does not exist creates these (AllowCreateOnUpdate)
CREATED_BY_UPDATE = frozenset(
    {
        ("", "endpoints"),
        ("", "events"),
        ("", "limitranges"),
        ("", "services"),
        ("coordination.k8s.io", "leases"),
        ("events.k8s.io", "events"),
        ("node.k8s.io", "runtimeclasses"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "roles"),
    }
)
# a completed DELETE answers the object instead of a Status (ReturnDeletedObject)
RETURNED_WHEN_DELETED = frozenset(
    {
        ("", "persistentvolumeclaims"),
        ("", "persistentvolumes"),
        ("", "pods"),
        ("", "podtemplates"),
        ("", "resourcequotas"),
        ("", "serviceaccounts"),
        ("", "services"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "volumeattachments"),
    }
)
# kinds whose status a client may set when it creates the object (a node registers with its status)
STATUS_AT_CREATION = frozenset({("", "nodes")})
INITIAL_STATUS: dict[tuple[str, str], Callable[[Object], Object]] = {
    ("", "namespaces"): lambda obj: {"phase": "Active"},
    ("", "pods"): lambda obj: _pod_status(obj),
    ("apiextensions.k8s.io", "customresourcedefinitions"): lambda obj: definitions.initial_status(obj),
    ("", "services"): lambda obj: {"loadBalancer": {}},
    ("", "persistentvolumes"): lambda obj: {"phase": "Pending", "lastPhaseTransitionTime": times.now()},
    ("", "persistentvolumeclaims"): lambda obj: {"phase": "Pending"},
    ("networking.k8s.io", "ingresses"): lambda obj: {"loadBalancer": {}},
    ("apps", "daemonsets"): lambda obj: dict.fromkeys(
        ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
    ),
    ("apps", "replicasets"): lambda obj: {"replicas": 0},
    ("autoscaling", "horizontalpodautoscalers"): lambda obj: {"desiredReplicas": 0},
    ("", "replicationcontrollers"): lambda obj: {"replicas": 0},
    ("apps", "statefulsets"): lambda obj: {"replicas": 0, "availableReplicas": 0},
    ("policy", "poddisruptionbudgets"): lambda obj: dict.fromkeys(
        ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0
    ),
}
# kinds of which an object may share parts with the one before it: nothing on the way of an update changes in place what
# lies deeper than their metadata
SHARING = frozenset({("", "pods")})
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
UNCOUNTED = frozenset({"metadata", "status", "apiVersion", "kind"})
"""What does not move the generation; a custom resource without status subresource counts its status."""
SYSTEM_METADATA = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def key(resource: Resource) -> tuple[str, str]:
    return resource.group, resource.plural


# bounded, because custom resources come and go
@lru_cache(maxsize=256)
def has_status(resource: Resource) -> bool:
    """Whether status is written through its own subresource."""
    return resource.subresource("status") is not None


def identify(obj: Object) -> None:
    """Reset the metadata that a client may not set at creation, and say who the object is and since when; in place."""
    metadata = obj["metadata"]
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "resourceVersion"):
        metadata.pop(name, None)
    metadata.pop("generation", None)
    metadata["uid"] = meta.new_uid()
    metadata["creationTimestamp"] = times.now()


def prepare_create(resource: Resource, obj: Object) -> None:
    """Reset what else a client may not set at creation and compute what is computed once; in place."""
    kind = key(resource)
    if kind not in WITHOUT_GENERATION:
        obj["metadata"]["generation"] = 1
    if has_status(resource) and kind not in STATUS_AT_CREATION:
        initial = INITIAL_STATUS.get(kind)
        obj["status"] = initial(obj) if initial else {}
        if resource.schema.custom is not None:
            del obj["status"]
    _prepare(kind, obj)
    at_creation = AT_CREATION.get(kind)
    if at_creation is not None:
        at_creation(obj)


def take_settled(resource: Resource, obj: Object, old: Object, subresource: str) -> None:
    """Take from the stored object at once what `prepare_update` will take in any case, so that nothing more is done
    to what the client said of it; in place."""
    if key(resource) in SHARING:
        part = "spec" if subresource == "status" else "status"
        if part in old:
            obj[part] = old[part]


def share_spec(resource: Resource, obj: Object, old: Object) -> None:
    """Let a spec that is equal to the stored one, to the order of its fields, be the same one, so that all that compare
    them after this see it at a glance; in place."""
    if key(resource) not in SHARING:
        return
    before = old.get("spec")
    if before is not None and same(obj.get("spec"), before):
        obj["spec"] = before


def prepare_update(resource: Resource, obj: Object, old: Object, subresource: str) -> None:
    """Take from the stored object what this path may not change and move the generation; in place."""
    kind = key(resource)
    metadata, old_metadata = obj["metadata"], old["metadata"]
    # another uid is left to validation, which refuses it
    metadata.setdefault("uid", old_metadata["uid"])
    for name in SYSTEM_METADATA:
        _restore(metadata, old_metadata, name)
    metadata.pop("selfLink", None)
    metadata.pop("managedFields", None)
    metadata["resourceVersion"] = old_metadata["resourceVersion"]
    if subresource == "status":
        _keep_all_but_status(resource, obj, old)
    elif subresource == "approval":
        certificates.keep_all_but_conditions(obj, old)
    elif has_status(resource):
        _restore(obj, old, "status")
    at_update = AT_UPDATE.get((*kind, subresource)) or AT_UPDATE.get((*kind, "*"))
    if at_update is not None:
        at_update(obj, old)
    _prepare(kind, obj)
    if kind in WITHOUT_GENERATION or kind in CONSTANT_GENERATION:
        return
    uncounted = UNCOUNTED if has_status(resource) or resource.schema.custom is None else UNCOUNTED - {"status"}
    if _intent(obj, uncounted) != _intent(old, uncounted):
        obj["metadata"]["generation"] = old_metadata.get("generation", 0) + 1


def initial_deletion(resource: Resource, obj: Object) -> None:
    """What beginning the deletion changes besides metadata; in the object itself, not in what it holds."""
    if key(resource) == ("", "namespaces"):
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}


def is_held(resource: Resource, obj: Object) -> bool:
    """Whether something must still happen before a deleted object may go."""
    if obj["metadata"].get("finalizers"):
        return True
    return key(resource) == ("", "namespaces") and bool(obj.get("spec", {}).get("finalizers"))


def _prepare(kind: tuple[str, str], obj: Object) -> None:
    if kind == ("", "secrets"):
        _encode_string_data(obj)
    elif kind == ("", "namespaces"):
        metadata = obj["metadata"]
        metadata["labels"] = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata["name"]}


def _finalize_namespace(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    finalizers = spec.get("finalizers") or []
    spec["finalizers"] = finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]


def _count_first_template(obj: Object) -> None:
    obj["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = "1"


AT_CREATION: dict[tuple[str, str], Callable[[Object], None]] = {
    ("", "namespaces"): _finalize_namespace,
    ("apps", "daemonsets"): _count_first_template,
    ("batch", "jobs"): jobs.generate_selector,
}
"""What else is computed when an object of a kind is created; in place."""


def _keep_spec(obj: Object, old: Object) -> None:
    _restore(obj, old, "spec")


def _keep_all_but_finalizers(obj: Object, old: Object) -> None:
    finalizers = obj.get("spec", {}).get("finalizers")
    obj.clear()
    obj |= meta.copy(old)
    obj["spec"] = {"finalizers": finalizers} if finalizers else {}


def _keep_all_but_ephemeral_containers(obj: Object, old: Object) -> None:
    changed = obj.get("spec", {}).get("ephemeralContainers")
    obj.clear()
    obj |= meta.copy(old)
    if changed is None:
        obj["spec"].pop("ephemeralContainers", None)
    else:
        obj["spec"]["ephemeralContainers"] = changed


def _keep_addresses(obj: Object, old: Object) -> None:
    addressing.keep_allocated(obj, old)
    addressing.drop_unneeded(obj, old)


def _count_templates(obj: Object, old: Object) -> None:
    """A DaemonSet counts the changes of its template in an annotation, as extensions/v1beta1 did in a field."""
    known = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "1")
    changed = obj.get("spec", {}).get("template") != old.get("spec", {}).get("template")
    number = str(int(known) + 1) if changed and known.isdigit() else known
    annotations = obj["metadata"].get("annotations") or {}
    obj["metadata"]["annotations"] = annotations | {TEMPLATE_GENERATION: number}


def _intent(obj: Object, uncounted: frozenset[str]) -> Object:
    """What the generation counts: everything but metadata and status (EndpointSlices have no spec)."""
    return {name: value for name, value in obj.items() if name not in uncounted}


def _keep_all_but_status(resource: Resource, obj: Object, old: Object) -> None:
    status = obj.get("status")
    metadata = obj["metadata"] if resource.schema.custom is None else meta.copy(old["metadata"])
    obj.clear()
    obj |= {name: value for name, value in old.items() if name not in ("metadata", "status")}
    obj["metadata"] = metadata
    if status is not None:
        obj["status"] = status
    _restore(metadata, old["metadata"], "ownerReferences")
    if resource.group in ("apps", "batch"):
        # these strategies guard against controllers that write labels through status
        _restore(metadata, old["metadata"], "labels")
    if key(resource) == ("", "pods"):
        quality = old.get("status", {}).get("qosClass", "BestEffort")
        if "qosClass" not in obj.get("status", {}):
            obj["status"] = {**obj.get("status", {}), "qosClass": quality}


def _keep_all_but_resources(obj: Object, old: Object) -> None:
    """The resize subresource takes the resources of the containers that there are, and nothing else."""
    wanted = {
        (kind, one.get("name")): one.get("resources")
        for kind in ("containers", "initContainers")
        for one in (obj.get("spec") or {}).get(kind) or ()
    }
    metadata = obj["metadata"]
    kept = meta.copy(old)
    for kind in ("containers", "initContainers"):
        for one in kept["spec"].get(kind) or ():
            if (kind, one["name"]) in wanted:
                one["resources"] = wanted[kind, one["name"]] or {}
    obj.clear()
    obj |= kept
    obj["metadata"]["resourceVersion"] = metadata["resourceVersion"]


AT_UPDATE: dict[tuple[str, str, str], Callable[[Object, Object], None]] = {
    ("", "namespaces", ""): _keep_spec,
    ("", "namespaces", "finalize"): _keep_all_but_finalizers,
    ("", "pods", "ephemeralcontainers"): _keep_all_but_ephemeral_containers,
    ("", "pods", "resize"): _keep_all_but_resources,
    ("", "services", ""): _keep_addresses,
    ("apiextensions.k8s.io", "customresourcedefinitions", ""): lambda obj, old: definitions.remember_storage(obj),
    ("apps", "daemonsets", "*"): _count_templates,
    ("certificates.k8s.io", "certificatesigningrequests", ""): _keep_spec,
    ("certificates.k8s.io", "certificatesigningrequests", "status"): certificates.keep_decisions,
}
"""What else a path of a kind keeps or computes, by (group, plural, subresource), "*" for all; in place."""


def _encode_string_data(obj: Object) -> None:
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        for name, value in plain.items():
            data[name] = base64.b64encode(value.encode()).decode()


def _pod_status(obj: Object) -> Object:
    status: Object = {"phase": "Pending"}
    spec = obj.get("spec", {})
    if spec.get("schedulingGates"):
        status["conditions"] = [conditions.gated()]
    status["qosClass"] = _quality(None, spec)
    return status


@remembered
def _quality(_: None, spec: Object) -> str:
    """The quality class; quantities are parsed for it, and it is the same for every pod of a template."""
    return quality_class(spec)


def _restore(new: Object, old: Object, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)
