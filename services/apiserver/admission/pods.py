"""What every pod gets at creation: a limited stay on a failing node, and a priority (plugins DefaultTolerationSeconds
and Priority)."""

from functools import lru_cache
from typing import NamedTuple

from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.failures import forbidden
from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.events.subjects import Ref
from shared.objects.registry import Resource
from shared.state.cache import Record

CLASSES = ("scheduling.k8s.io", "priorityclasses")
TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
NO_EXECUTE = "NoExecute"
SYSTEM_PRIORITIES = {
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
}
"""Value and description of the classes that every cluster has."""
PREEMPTION = "PreemptLowerPriority"


class Priority(NamedTuple):
    """What a pod's priorityClassName comes to; `name` is that of the class, "" if it is none of the cluster's own."""

    name: str
    value: int
    preemption: str


def add_tolerations(spec: Object, seconds: int) -> None:
    """Tolerate a node that is not ready or unreachable for some seconds, unless the pod says otherwise; in place."""
    tolerations = spec.get("tolerations") or []
    missing = [key for key in TAINTS if not any(_covers(one, key) for one in tolerations)]
    added = [{"key": key, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds} for key in missing]
    if added:
        spec["tolerations"] = [*tolerations, *added]


def priority_of(store: Store, resource: Resource, pod: Object) -> Priority:
    """Resolve priorityClassName to a number; Forbidden if there is no such class."""
    name = pod["spec"].get("priorityClassName", "")
    if name in SYSTEM_PRIORITIES:
        return Priority("", SYSTEM_PRIORITIES[name][0], PREEMPTION)
    found = _class(store, name)
    if found is not None:
        preemption = found.get("preemptionPolicy", PREEMPTION)
        return Priority(found["metadata"]["name"], found.get("value", 0), preemption)
    if name:
        why = f"no PriorityClass with name {name} was found"
        raise forbidden(resource, pod["metadata"].get("name", ""), why)
    return Priority("", 0, PREEMPTION)


def check_priority(resource: Resource, pod: Object, priority: Priority) -> None:
    """Forbidden if a pod states another priority than it has."""
    for field, noun, computed in (
        ("priority", "integer value of priority", priority.value),
        ("preemptionPolicy", "string value of PreemptionPolicy", priority.preemption),
    ):
        given = pod["spec"].get(field)
        if given not in (None, computed):
            why = (
                f"the {noun} ({given}) must not be provided in pod spec; priority admission controller computed "
                f"{computed} from the given PriorityClass name"
            )
            raise forbidden(resource, pod["metadata"].get("name", ""), why)


def set_priority(spec: Object, priority: Priority) -> None:
    """Write the priority into a pod's spec; in place."""
    if priority.name:
        spec["priorityClassName"] = priority.name
    spec["priority"] = priority.value
    spec["preemptionPolicy"] = priority.preemption


def check_default_class(store: Store, asked: Attributes) -> None:
    """Forbidden if a PriorityClass is to become the default beside another one."""
    if asked.key != CLASSES or not asked.current.get("globalDefault"):
        return
    if asked.operation not in (CREATE, UPDATE):
        return
    others = (one.object["metadata"]["name"] for one in store.list_objects(asked.resource) if _is_default(one.object))
    name = next((other for other in others if other != asked.name), None)
    if name is not None:
        why = f"PriorityClass {name} is already marked as default. Only one default can exist"
        raise forbidden(asked.resource, asked.name, why)


def refuse_system_class(resource: Resource, name: str) -> None:
    """Forbidden for the classes that every cluster has."""
    if (resource.group, resource.plural) == CLASSES and name in SYSTEM_PRIORITIES:
        raise forbidden(resource, name, "this is a system priority class and cannot be deleted")


def _class(store: Store, name: str) -> Object | None:
    """The class of that name, or the cluster's default one for an empty name."""
    if name:
        record = store.state.cache.get(Ref(*CLASSES, "", name))
        return record.object if record is not None else None
    return _default(tuple(store.state.cache.list(*CLASSES)))


@lru_cache(maxsize=4)
def _default(classes: tuple[Record, ...]) -> Object | None:
    """The highest of the classes that are marked as the default; they seldom change, and every pod asks."""
    defaults = [one.object for one in classes if _is_default(one.object)]
    return max(defaults, key=lambda one: int(one.get("value", 0)), default=None)


def _is_default(priority_class: Object) -> bool:
    return bool(priority_class.get("globalDefault"))


def _covers(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", NO_EXECUTE)
