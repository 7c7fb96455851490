"""Who owns what after a create or an update: whoever changes a field takes it from its other managers.

An object without entries stays without until somebody applies to it; an object that is created gets its first entry.
Source: KEP-555; apimachinery's managedfields and structured-merge-diff's merge package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.objects import decoding, schema
from shared.objects.managed import entries, sets
from shared.objects.managed.comparison import Difference, Ignored, compare, counting
from shared.objects.managed.entries import Entry, Managed, Manager, Object
from shared.objects.managed.sets import Fields
from shared.objects.managed.shapes import Granular, shape_of
from shared.objects.repetition import remembered
from shared.objects.schema import Struct

_SERVER_OWNED = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    }
)
UNOWNED: Final[Ignored] = {"apiVersion": None, "kind": None, "metadata": _SERVER_OWNED}
"""What no manager ever owns; an `ignored` argument must contain it, see `unowned`."""


def unowned(*paths: str) -> Ignored:
    """UNOWNED and the fields that a path of the API resets, as `status` or `metadata.labels`."""
    made = dict(UNOWNED)
    for path in paths:
        name, _, below = path.partition(".")
        known = made.get(name, frozenset())
        made[name] = None if not below or known is None else known | {below}
    return made


@schema.planned
def blank(struct: Struct) -> Object:
    """What a new object is compared with: a kind with nothing but what Go writes always; not to be changed."""
    group, version = struct.group_version
    made: Object = {"apiVersion": f"{group}/{version}" if group else version, "kind": struct.name}
    if struct.custom is not None:
        return made | {"metadata": {}}
    decoding.conform(struct, made)
    return made


def created(struct: Struct, obj: Object, manager: Manager, now: str, ignored: Ignored = UNOWNED) -> list[Object]:
    """The entries of an object that an update operation creates, in its canonical form with defaults."""
    fields = _new_fields((struct, tuple(ignored.items())), _outline(counting(obj, ignored)))
    return [entries.encoded(Entry(manager, fields, now))] if fields else []


def _outline(obj: Mapping[str, Any]) -> Object:
    """What the set of a new object depends on: of labels and annotations it is the keys alone, so that objects from one
    template have one outline though each bears something of its own."""
    metadata = obj.get("metadata") or {}
    outlined = {name: list(value) if name in _MAPS else value for name, value in metadata.items()}
    return {**obj, "metadata": outlined}


_MAPS = ("labels", "annotations")


@remembered
def _new_fields(kind: tuple[Struct, tuple[tuple[str, frozenset[str] | None], ...]], outline: Object) -> Fields:
    struct, ignored = kind
    metadata = outline["metadata"]
    whole = {name: dict.fromkeys(value, "") if name in _MAPS else value for name, value in metadata.items()}
    new = {**outline, "metadata": whole}
    if "spec" in new:
        # sets name the spec last
        new["spec"] = new.pop("spec")
    return compare(shape_of(struct), blank(struct), new, dict(ignored)).changed


def updated(
    struct: Struct, live: Object, new: Object, manager: Manager, now: str, ignored: Ignored = UNOWNED
) -> list[Object]:
    """The entries of an object after an update by `manager`; the list of `live` itself if nothing changed.

    Entries in `new` that a client changed count; those that it left out or that are malformed do not, but a single
    empty entry forgets all of them. A subresource cannot change them.
    """
    before: list[Object] = live["metadata"].get("managedFields") or []
    given = new["metadata"].get("managedFields")
    kept: list[Object] | None = before
    if given and not manager.subresource and given != before:
        managed = _given(given, before)
        kept = None
    elif before:
        managed = entries.decode(before)
    else:
        return before
    if managed:
        difference = compare(shape_of(struct), live, new, ignored)
        if _take(managed, difference, manager, now):
            entries.cap_updaters(managed)
            kept = None
    return entries.encode(managed) if kept is None else kept


def _given(given: Sequence[Object], before: Sequence[Object]) -> Managed:
    if len(given) == 1 and not given[0]:
        return {}
    try:
        return entries.read(given) or entries.decode(before)
    except ValueError:
        return entries.decode(before)


def keep_reset(obj: Object) -> None:
    """Write the wish to forget all entries, in a body that is not yet decoded, so that decoding keeps it; in place.

    An empty list says it as well as a list of one empty entry, but Go would not tell an empty list from none.
    """
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") == []:
        metadata["managedFields"] = [{}]


def _take(managed: Managed, difference: Difference, manager: Manager, now: str) -> bool:
    """Give the difference to a manager, in place; returns whether any entry changed."""
    changed, removed = difference
    if not changed and not removed:
        return False
    touched = False
    identity = manager.identity
    gone = sets.united(changed, removed)
    for key, entry in list(managed.items()):
        rest = sets.without(entry.fields, removed if key == identity else gone)
        if rest is not entry.fields:
            touched = True
            replace(managed, key, entry, rest)
    if changed:
        own = managed.get(identity)
        fields: Fields = sets.united(own.fields, changed) if own is not None else changed
        if own is None or own.time != now or own.fields is not fields:
            managed[identity] = Entry(manager, fields, now)
            touched = True
    return touched


def replace(managed: Managed, identity: Manager, entry: Entry, fields: Fields) -> None:
    """Give an entry another set, in place; an entry that owns nothing goes."""
    if fields:
        managed[identity] = entry._replace(fields=fields)
    else:
        del managed[identity]


def introduce(shape: Granular, struct: Struct, live: Object, manager: Manager, now: str, ignored: Ignored) -> Managed:
    """The table of an object that nobody tracked: all it has belongs to one manager."""
    managed: Managed = {}
    _take(managed, compare(shape, blank(struct), live, ignored), manager, now)
    return managed
