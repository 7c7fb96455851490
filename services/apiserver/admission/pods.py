"""What every pod gets at creation: a limited stay on a failing node, and a priority (plugins DefaultTolerationSeconds
and Priority)."""

from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.objects import registry
from shared.objects.registry import Resource

TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
NO_EXECUTE = "NoExecute"
SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
PREEMPTION = "PreemptLowerPriority"


def add_tolerations(pod: Object, seconds: int) -> None:
    """Tolerate a node that is not ready or unreachable for some seconds, unless the pod says otherwise; in place."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    tolerations = spec.get("tolerations") or []
    missing = [key for key in TAINTS if not any(_covers(one, key) for one in tolerations)]
    added = [{"key": key, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds} for key in missing]
    if added:
        spec["tolerations"] = [*tolerations, *added]


def set_priority(store: Store, resource: Resource, pod: Object) -> None:
    """Resolve priorityClassName to a number; Forbidden if there is no such class."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    name = spec.get("priorityClassName", "")
    value, policy = 0, PREEMPTION
    if name in SYSTEM_PRIORITIES:
        value = SYSTEM_PRIORITIES[name]
    else:
        found = _class(store, name)
        if name and found is None:
            why = f"no PriorityClass with name {name} was found"
            raise forbidden(resource, pod["metadata"].get("name", ""), why)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
            value, policy = found.get("value", 0), found.get("preemptionPolicy", PREEMPTION)
    pod_name = pod["metadata"].get("name", "")
    for field, noun, computed in (
        ("priority", "integer value of priority", value),
        ("preemptionPolicy", "string value of PreemptionPolicy", policy),
    ):
        given = spec.get(field)
        if given not in (None, computed):
            why = (
                f"the {noun} ({given}) must not be provided in pod spec; priority admission controller computed "
                f"{computed} from the given PriorityClass name"
            )
            raise forbidden(resource, pod_name, why)
        spec[field] = computed


def check_default_class(store: Store, asked: Attributes) -> None:
    """Forbidden if a PriorityClass is to become the default beside another one."""
    if asked.key != ("scheduling.k8s.io", "priorityclasses") or not asked.current.get("globalDefault"):
        return
    if asked.operation not in (CREATE, UPDATE):
        return
    others = (one.object["metadata"]["name"] for one in store.list_objects(asked.resource) if _is_default(one.object))
    name = next((other for other in others if other != asked.name), None)
    if name is not None:
        why = f"PriorityClass {name} is already marked as default. Only one default can exist"
        raise forbidden(asked.resource, asked.name, why)


def _class(store: Store, name: str) -> Object | None:
    """The class of that name, or the cluster's default one for an empty name."""
    classes = registry.by_plural("scheduling.k8s.io", "v1", "priorityclasses")
    if classes is None:
        return None
    if name:
        record = store.peek(classes, "", name)
        return record.object if record is not None else None
    defaults = [one.object for one in store.list_objects(classes) if _is_default(one.object)]
    return max(defaults, key=lambda one: int(one.get("value", 0)), default=None)


def _is_default(priority_class: Object) -> bool:
    return bool(priority_class.get("globalDefault"))


def _covers(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", NO_EXECUTE)
