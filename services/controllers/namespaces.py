"""Termination of namespaces: delete what is in them, say what still holds them up, then let them go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from services.controllers import conditions, paths
from services.controllers.actions import NOTHING, Action, Delete, DeleteAll, Key, Moment, Object, Plan, Together, Update
from services.controllers.claims import ref_of
from services.controllers.replicasets import BURST
from services.controllers.view import View
from shared.events.subjects import Ref
from shared.objects import meta

NAMESPACES = ("", "namespaces")
FINALIZER = "kubernetes"

Contents = Sequence[tuple[Ref, Object]]


def decide(namespace: Object, contents: Contents, now: float) -> Plan:
    """One step: delete, report, or finalize once nothing is left and the report says so.

    The report before the end makes the finalizing decision one that was made twice, so that an object created at the
    last moment by an API server that had not yet heard of the termination is still found.
    """
    if not meta.is_deleting(namespace) or FINALIZER not in (namespace["spec"].get("finalizers") or ()):
        return NOTHING
    ref = ref_of(*NAMESPACES, namespace)
    going = [(where, obj) for where, obj in contents if not meta.is_deleting(obj)]
    deletions = tuple(Delete(where, uid=meta.uid(obj)) for where, obj in going[:BURST])
    actions: list[Action] = []
    status = {
        **namespace.get("status", {}),
        "phase": "Terminating",
        "conditions": _report(list(namespace.get("status", {}).get("conditions") or ()), contents, now),
    }
    if status != namespace.get("status", {}):
        actions.append(Update(ref, {**namespace, "status": status}, "status"))
    if deletions:
        actions.append(Together(deletions))
    if not contents and not actions:
        left = [name for name in namespace["spec"]["finalizers"] if name != FINALIZER]
        finalized = {**namespace, "spec": {**namespace["spec"], "finalizers": left}}
        return Plan((DeleteAll("", "events", ref.name), Update(ref, finalized, "finalize")))
    return Plan(tuple(actions))


def _report(current: list[Object], contents: Contents, now: float) -> list[Object]:
    resources = Counter(f"{ref.resource}.{ref.group}" for ref, _ in contents)
    finalizers = Counter(name for _, obj in contents for name in obj["metadata"].get("finalizers") or ())
    entries = [
        ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
    ]
    found = current
    for kind, reason, message in entries:
        found = conditions.put(found, conditions.make(kind, "False", reason, message, now))
    if resources:
        counts = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(resources.items()))
        remaining = ("True", "SomeResourcesRemain", f"Some resources are remaining: {counts}")
    else:
        remaining = ("False", "ContentRemoved", "All content successfully removed")
    if finalizers:
        counts = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        held = ("True", "SomeFinalizersRemain", f"Some content in the namespace has finalizers remaining: {counts}")
    else:
        held = ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
    found = _put_text(found, conditions.make("NamespaceContentRemaining", *remaining, now))
    return _put_text(found, conditions.make("NamespaceFinalizersRemaining", *held, now))


def _put_text(current: list[Object], new: Object) -> list[Object]:
    """Like conditions.put, but a new message replaces the old one in place."""
    old = conditions.find(current, new["type"])
    if old is None or old["status"] != new["status"]:
        return conditions.put(current, new)
    return [{**one, "message": new["message"]} if one is old else one for one in current]


class Namespaces:
    """Reconciles terminating namespaces; woken by them and by the end of each object in them."""

    name = "namespace"
    workers = 4

    def keys(self, view: View) -> Iterable[Key]:
        """Every namespace."""
        return [meta.key(namespace) for namespace in view.every(*NAMESPACES)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The namespace itself; of any other object, its namespace if that is terminating."""
        if ref[:2] == NAMESPACES:
            return [("", ref.name)]
        namespace = view.get(*NAMESPACES, "", ref.namespace) if ref.namespace else None
        return [("", ref.namespace)] if namespace is not None and meta.is_deleting(namespace) else []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Gather the contents and take a step."""
        namespace = view.get(*NAMESPACES, *key)
        if namespace is None or not meta.is_deleting(namespace):
            return NOTHING
        return decide(namespace, contents_of(key[1], view), moment.now)


def contents_of(namespace: str, view: View) -> list[tuple[Ref, Object]]:
    """Every object in a namespace whose resource is served."""
    found = []
    for group, plural in view.resources():
        resource = paths.served(group, plural)
        if resource is not None and resource.namespaced:
            found += [(ref_of(group, plural, obj), obj) for obj in view.every(group, plural, namespace)]
    return found
