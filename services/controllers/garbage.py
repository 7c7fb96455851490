"""Garbage collection by ownerReferences: dependents go when their owners have gone, before them, or not at all.

Kubernetes keeps its own graph from watches of every kind and asks the API about each owner it does not know. Here all
kinds are on one number line: a view that has passed a dependent's revision has also passed the creation of its owner,
so an owner that the view does not show does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.controllers import paths
from services.controllers.actions import NOTHING, Action, Delete, Moment, Object, Patch, Plan, Together
from services.controllers.view import View, owners
from shared.events.subjects import Ref
from shared.objects import meta

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(slots=True)
class _Owners:
    """The owner references of an object by what has become of the owners."""

    solid: list[Object] = field(default_factory=list)
    absent: list[Object] = field(default_factory=list)
    waiting: list[Object] = field(default_factory=list)


class Garbage:
    """Reconciles single objects of any kind."""

    name = "garbage_collector"
    workers = 8

    def keys(self, view: View) -> Iterable[Ref]:
        """Every object that has owners or whose own deletion waits for its dependents."""
        found = []
        for group, plural in view.resources():
            for obj in view.every(group, plural):
                if owners(obj) or _waits(obj):
                    namespace, name = meta.key(obj)
                    found.append(Ref(group, plural, namespace, name))
        return found

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Ref]:
        """The object if its owners or its deletion changed; when one is gone, its dependents and waiting owners."""
        found: set[Ref] = set()
        before = owners(previous) if previous is not None else []
        if obj is not None:
            if _waits(obj) or (owners(obj) and owners(obj) != before):
                found.add(ref)
            if owners(obj) == before:
                before = []
        if previous is not None and (obj is None or meta.uid(obj) != meta.uid(previous)):
            found.update(view.dependents(meta.uid(previous)))
        for owner in before:
            where = view.by_uid(owner.get("uid", ""))
            if where is not None and _waits(view.at(where)):
                found.add(where)
        return found

    def plan(self, key: Ref, view: View, moment: Moment) -> Plan:
        """What to do about one object now."""
        obj = view.at(key)
        if obj is None or paths.served(key.group, key.resource) is None:
            return NOTHING
        return Plan(tuple(decide(key, obj, view)))


def decide(ref: Ref, obj: Object, view: View) -> list[Action]:
    """The actions for an object: as an owner that waits, or as a dependent."""
    if not meta.is_deleting(obj):
        return _as_dependent(ref, obj, view)
    finalizers = obj["metadata"].get("finalizers") or ()
    if ORPHAN in finalizers:
        return _let_dependents_live(ref, obj, view)
    if FOREGROUND in finalizers:
        return _delete_dependents_first(ref, obj, view)
    return []


def _as_dependent(ref: Ref, obj: Object, view: View) -> list[Action]:
    if not owners(obj):
        return []
    found = _classify(ref, obj, view)
    if found.solid:
        if not found.absent and not found.waiting:
            return []
        gone = {owner["uid"] for owner in (*found.absent, *found.waiting)}
        return [_without_owners(ref, obj, gone)]
    metadata = obj["metadata"]
    version, uid = metadata["resourceVersion"], metadata["uid"]
    dependents = [(one, view.at(one)) for one in view.dependents(uid)]
    if found.waiting and dependents:
        # A dependent that itself waits for this object would never let it go: such a cycle is not blocking.
        if any(other is not None and _waits(other) for _, other in dependents):
            changed = [{**owner, "blockOwnerDeletion": False} for owner in owners(obj)]
            if changed != owners(obj):
                return [Patch(ref, {"metadata": {"resourceVersion": version, "ownerReferences": changed}})]
        return [Delete(ref, uid, version, "Foreground")]
    finalizers = metadata.get("finalizers") or ()
    if ORPHAN in finalizers:
        return [Delete(ref, uid, version, "Orphan")]
    if FOREGROUND in finalizers:
        return [Delete(ref, uid, version, "Foreground")]
    return [Delete(ref, uid, version, "Background")]


def _delete_dependents_first(ref: Ref, obj: Object, view: View) -> list[Action]:
    uid = meta.uid(obj)
    pairs = [(one, view.at(one)) for one in view.dependents(uid)]
    dependents = [(one, other) for one, other in pairs if other is not None]
    blocking = any(
        owner.get("uid") == uid and owner.get("blockOwnerDeletion")
        for _, other in dependents
        for owner in owners(other)
    )
    if not blocking:
        return [_without_finalizer(ref, obj, FOREGROUND)]
    actions = []
    for one, other in dependents:
        if not meta.is_deleting(other) and paths.served(one.group, one.resource) is not None:
            actions += _as_dependent(one, other, view)
    simple = [action for action in actions if isinstance(action, Delete | Patch)]
    return [Together(tuple(simple))] if simple else []


def _let_dependents_live(ref: Ref, obj: Object, view: View) -> list[Action]:
    uid = meta.uid(obj)
    patches = []
    for one in view.dependents(uid):
        other = view.at(one)
        if other is not None:
            patches.append(_without_owners(one, other, {uid}))
    return [*([Together(tuple(patches))] if patches else []), _without_finalizer(ref, obj, ORPHAN)]


def _classify(ref: Ref, obj: Object, view: View) -> _Owners:
    found = _Owners()
    for owner in owners(obj):
        group, _, version = owner["apiVersion"].rpartition("/")
        resource = paths.of_kind(group, version, owner["kind"])
        if resource is None or (resource.namespaced and not ref.namespace):
            # Unknown to this API server, or impossible: never a reason to delete anything.
            found.solid.append(owner)
            continue
        where = Ref(group, resource.plural, ref.namespace if resource.namespaced else "", owner["name"])
        there = view.at(where)
        if there is None or meta.uid(there) != owner["uid"]:
            found.absent.append(owner)
        elif meta.is_deleting(there) and FOREGROUND in (there["metadata"].get("finalizers") or ()):
            found.waiting.append(owner)
        else:
            found.solid.append(owner)
    return found


def _waits(obj: Object | None) -> bool:
    if obj is None or not meta.is_deleting(obj):
        return False
    finalizers = obj["metadata"].get("finalizers") or ()
    return FOREGROUND in finalizers or ORPHAN in finalizers


def _without_owners(ref: Ref, obj: Object, gone: set[str]) -> Patch:
    left = [owner for owner in owners(obj) if owner["uid"] not in gone]
    version = obj["metadata"]["resourceVersion"]
    return Patch(ref, {"metadata": {"resourceVersion": version, "ownerReferences": left or None}})


def _without_finalizer(ref: Ref, obj: Object, name: str) -> Patch:
    left = [one for one in obj["metadata"].get("finalizers") or () if one != name]
    version = obj["metadata"]["resourceVersion"]
    return Patch(ref, {"metadata": {"resourceVersion": version, "finalizers": left or None}})
