"""Server-side apply: a manager says what it wants of an object, and becomes the owner of exactly that.

What it does not say any longer goes unless others own it; what others own with another value is a conflict unless it is
forced. Everything here is a decision on one live object; whoever calls it stores the outcome.
Source: KEP-555; apimachinery's managedfields and structured-merge-diff's merge package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shared.errors import ApiError, BadRequest, Conflict
from shared.objects.managed import checking, entries, ownership, sets
from shared.objects.managed.comparison import Difference, Ignored, compare
from shared.objects.managed.entries import UPDATE, Entry, Managed, Manager, Object
from shared.objects.managed.extraction import fields_of
from shared.objects.managed.merging import merged
from shared.objects.managed.removal import pruned
from shared.objects.managed.sets import Fields
from shared.objects.managed.shapes import Granular, shape_of
from shared.objects.schema import Struct

BEFORE_FIRST_APPLY: Final = "before-first-apply"
KUBECTL: Final = "kubectl"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class Applied(NamedTuple):
    """`object` is not yet in canonical form and may share parts with the live object and the configuration."""

    object: Object
    entries: list[Object]


def apply(
    struct: Struct,
    live: Object | None,
    config: Object,
    manager: Manager,
    now: str,
    *,
    force: bool = False,
    ignored: Ignored = ownership.UNOWNED,
) -> Applied:
    """Apply a configuration of the kind to the live object, or to nothing if there is none.

    Conflict with a cause for every field that others own with another value, unless `force` takes them. BadRequest or
    a failure without reason (code 500) if the configuration does not fit the type.
    """
    shape = shape_of(struct)
    _check(shape, struct, config)
    present = ownership.blank(struct) if live is None else live
    managed = entries.decode(present["metadata"].get("managedFields") or ())
    if live is not None and not managed:
        before = Manager(BEFORE_FIRST_APPLY, UPDATE, manager.api_version, manager.subresource)
        managed = ownership.introduce(shape, struct, live, before, now, ignored)
    last = managed.get(manager.identity)
    spoken = fields_of(shape, config)
    owned = _counting(spoken, ignored)
    wanted: Managed = managed | {manager.identity: Entry(manager, owned, last.time if last else "")}
    obj = merged(shape, present, config)
    if last is not None:
        # what nobody owns counts here too, or the metadata of an object would go with its last label
        claimed = spoken
        for entry in wanted.values():
            claimed = sets.united(claimed, entry.fields)
        obj = pruned(shape, obj, last.fields, claimed)
    difference = compare(shape, present, obj)
    _settle(wanted, difference, manager, ignored, _allowed(shape, present, manager), force=force)
    if not owned:
        del wanted[manager.identity]
    elif difference.changed or difference.removed:
        wanted[manager.identity] = Entry(manager, owned, now)
    return Applied(_with_last_applied(obj, config, manager), entries.encode(wanted))


def _check(shape: Granular, struct: Struct, config: Object) -> None:
    metadata = config.get("metadata") or {}
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    found = checking.problems(shape, config)
    if found:
        namespace, name = (
            (metadata.get("namespace", ""), metadata.get("name", "")) if isinstance(metadata, dict) else ("", "")
        )
        group, version = struct.group_version
        where = f"{namespace}/{name}; {group}/{version}, Kind={struct.name}"
        raise ApiError(f"failed to create typed patch object ({where}): {checking.joined(found)}", code=500, reason="")


def _counting(fields: Fields, ignored: Ignored) -> Fields:
    made = dict(fields)
    for name, below in ignored.items():
        node = made.get(f"f:{name}")
        if node is None:
            continue
        rest = {} if below is None else {key: one for key, one in node.items() if key[2:] not in below}
        if rest:
            made[f"f:{name}"] = rest
        else:
            del made[f"f:{name}"]
    return made


def _settle(
    managed: Managed, difference: Difference, manager: Manager, ignored: Ignored, allowed: Fields, *, force: bool
) -> None:
    """Take the changed fields from their other managers, in place, or raise the Conflict."""
    changed, removed = _counting(difference.changed, ignored), _counting(difference.removed, ignored)
    others = [(key, entry) for key, entry in managed.items() if key != manager.identity]
    conflicts = []
    for _, entry in others:
        contested = sets.without(sets.shared(entry.fields, changed), allowed)
        if contested:
            conflicts.append((entry.manager, contested))
    if conflicts and not force:
        raise conflict(conflicts)
    gone = sets.united(changed, removed)
    for key, entry in others:
        rest = sets.without(entry.fields, gone)
        if rest is not entry.fields:
            ownership.replace(managed, key, entry, rest)


def conflict(conflicts: list[tuple[Manager, Fields]]) -> Conflict:
    """The answer to an apply of fields that others own."""
    found = [(manager, sets.text(path)) for manager, fields in sorted(conflicts) for path in sets.members(fields)]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in found
    ]
    if len(found) == 1:
        manager, path = found[0]
        return Conflict(f"Apply failed with 1 conflict: conflict with {manager}: {path}", details={"causes": causes})
    lines = []
    for manager, fields in sorted(conflicts):
        lines.append(f"conflicts with {manager}:")
        lines += [f"- {sets.text(path)}" for path in sets.members(fields)]
    text = "\n".join(lines)
    return Conflict(f"Apply failed with {len(found)} conflicts: {text}", details={"causes": causes})


def _last_applied(obj: Mapping[str, Any]) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(LAST_APPLIED) or "")


def _allowed(shape: Granular, live: Object, manager: Manager) -> Fields:
    """What kubectl may take over without force: what its client-side apply has set and nobody changed since."""
    text = _last_applied(live) if manager.name == KUBECTL else ""
    if not text:
        return {}
    try:
        config = json.loads(text)
        if not isinstance(config, dict):
            return {}
        difference = compare(shape, config, live)
        set_before = fields_of(shape, config)
    except ValueError:
        return {}
    return sets.without(set_before, sets.united(difference.changed, difference.removed))


def _with_last_applied(obj: Object, config: Object, manager: Manager) -> Object:
    """Keep kubectl's annotation current, so that a client-side apply later on finds what it expects."""
    if manager.name != KUBECTL or not _last_applied(obj):
        return obj
    metadata = dict(config["metadata"])
    annotations = {
        key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key != LAST_APPLIED
    }
    if annotations:
        metadata["annotations"] = annotations
    text = json.dumps(config | {"metadata": metadata}, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    stored = obj["metadata"]
    return obj | {"metadata": stored | {"annotations": stored["annotations"] | {LAST_APPLIED: text}}}
