"""metadata.managedFields: the entries, what an update and an apply make of them, and when an apply is a conflict.

Everything is pure: objects in, objects and entries out. Source: the behaviour of Kubernetes' field manager.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from services.apiserver.apply import fieldsets, trees
from services.apiserver.apply.fieldsets import EMPTY, FieldSet, named
from services.apiserver.apply.shapes import Shape
from services.apiserver.apply.trees import Excluded
from services.apiserver.protocol import Object
from shared.errors import Conflict
from shared.objects import times

APPLY, UPDATE = "Apply", "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT = "ancient-changes"
# more updaters than this are merged into one entry, oldest first
MOST_UPDATERS = 10
_SYSTEM = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields")
# what the server itself sets is owned by nobody
UNOWNED: FieldSet = frozenset(
    {(named("apiVersion"),), (named("kind"),), (named("metadata"),)}
    | {(named("metadata"), named(name)) for name in (*_SYSTEM, "resourceVersion")}
)


class Manager(NamedTuple):
    """Who owns fields: a client's name, how it wrote, in which version and through which subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def shown(self) -> str:
        """As a conflict names it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@dataclass(frozen=True, slots=True)
class Owned:
    """The fields of a manager and when it last took one."""

    fields: FieldSet
    time: str = ""


Entries = Mapping[Manager, Owned]


def decode(listed: Iterable[Any] | None) -> dict[Manager, Owned]:
    """The entries of metadata.managedFields; those that name no fields are left out."""
    found: dict[Manager, Owned] = {}
    for one in listed or ():
        fields = fieldsets.decode(one.get("fieldsV1") or {})
        manager = Manager(
            one.get("manager", ""), one.get("operation", ""), one.get("apiVersion", ""), one.get("subresource", "")
        )
        if fields:
            found[manager] = Owned(fields, one.get("time", ""))
    return found


def encode(entries: Entries) -> list[Object]:
    """The list that metadata.managedFields holds."""
    encoded = []
    for manager, owned in sorted(entries.items(), key=lambda one: (one[0].operation, one[1].time, one[0])):
        entry: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
        if owned.time:
            entry["time"] = owned.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": fieldsets.encode(owned.fields)}
        if manager.subresource:
            entry["subresource"] = manager.subresource
        encoded.append(entry)
    return encoded


def is_same(one: Entries, other: Entries) -> bool:
    """Whether ownership is the same, whenever it was taken."""
    return {key: owned.fields for key, owned in one.items()} == {key: owned.fields for key, owned in other.items()}


def update(
    shape: Shape, old: Object, new: Object, entries: Entries, manager: Manager, excluded: Excluded
) -> dict[Manager, Owned]:
    """The entries after an update, which takes what it changes from whoever owned it."""
    changes = trees.compare(shape, old, new).without(excluded)
    taken = changes.added | changes.modified
    after = _released(entries, taken | changes.removed, UNOWNED)
    mine = frozenset(taken) - UNOWNED
    if mine:
        before = after.get(manager)
        after[manager] = Owned(mine | (before.fields if before else EMPTY), times.now())
    return _capped(after)


def apply(
    shape: Shape,
    live: Object,
    config: Object,
    entries: Entries,
    manager: Manager,
    excluded: Excluded,
    *,
    zero: Object,
    force: bool,
) -> tuple[Object, dict[Manager, Owned]]:
    """The object and entries after an apply; Conflict if it would change what others own, unless forced.

    `zero` is an object of the kind that says nothing, and `live` where there is nothing yet.
    """
    if not entries and live is not zero:
        # whatever is there belongs to nobody yet: it must not look as if the applier had made it
        before = Manager(BEFORE_FIRST_APPLY, UPDATE, manager.api_version)
        entries = update(shape, zero, live, {}, before, excluded)
    said = frozenset(path for path in trees.fields_of(shape, config) if not excluded(path))
    spoken = said - UNOWNED
    last = entries.get(manager, Owned(EMPTY))
    others = {key: owned for key, owned in entries.items() if key != manager}
    owned_now = said.union(*(owned.fields for owned in others.values()))
    merged = _pruned(shape, trees.merge(shape, live, config), last.fields, owned_now)
    changes = trees.compare(shape, live, merged).without(excluded)
    taken = changes.added | changes.modified
    conflicts = {key: found for key, owned in others.items() if (found := owned.fields & taken)}
    if conflicts and not force:
        raise _conflict(conflicts)
    after = _released(others, taken | changes.removed, UNOWNED)
    if spoken:
        changed = bool(taken or changes.removed)
        after[manager] = Owned(spoken, times.now() if changed else last.time)
    return merged, after


def _pruned(shape: Shape, merged: Object, last: FieldSet, owned: FieldSet) -> Object:
    """Without what the applier once spoke of, no longer does, and nobody else owns."""
    if not last:
        return merged
    gone = trees.with_named_parents(shape, last) - trees.with_named_parents(shape, owned)
    return trees.remove(shape, merged, gone)


def _released(entries: Entries, paths: Iterable[fieldsets.Path], unowned: FieldSet) -> dict[Manager, Owned]:
    lost = frozenset(paths) | unowned
    kept = {key: replace(owned, fields=owned.fields - lost) for key, owned in entries.items()}
    return {key: owned for key, owned in kept.items() if owned.fields}


def _capped(entries: dict[Manager, Owned]) -> dict[Manager, Owned]:
    updaters = sorted((key for key in entries if key.operation == UPDATE), key=lambda key: entries[key].time)
    for key in updaters[: max(len(updaters) - MOST_UPDATERS, 0)]:
        owned = entries.pop(key)
        ancient = Manager(ANCIENT, UPDATE, key.api_version)
        known = entries.get(ancient, Owned(EMPTY))
        entries[ancient] = Owned(known.fields | owned.fields, owned.time)
    return entries


def _conflict(conflicts: Mapping[Manager, FieldSet]) -> Conflict:
    causes, blocks, total = [], [], 0
    for manager, fields in sorted(conflicts.items()):
        paths = sorted(map(fieldsets.text, fields))
        total += len(paths)
        blocks.append(f"conflicts with {manager.shown()}:" + "".join(f"\n- {path}" for path in paths))
        message = f"conflict with {manager.shown()}"
        causes += [{"reason": "FieldManagerConflict", "message": message, "field": path} for path in paths]
    if total == 1:
        return Conflict(
            f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}", details={"causes": causes}
        )
    return Conflict(f"Apply failed with {total} conflicts: " + "\n".join(blocks), details={"causes": causes})
