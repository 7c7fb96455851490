"""Changes of the state -> the events that watchers see of them.

Objects that come to match the selectors of a watch appear as ADDED, objects that no longer do as DELETED.
"""

from collections.abc import Iterable
from functools import lru_cache

from services.apiserver import conversion
from services.apiserver.protocol import Event, Object
from services.apiserver.selection import Selection
from shared.objects import json
from shared.objects.registry import Resource
from shared.state.cache import Change, Record


def translate(resource: Resource, selection: Selection, changes: Iterable[Change]) -> list[Event]:
    """The events that a watcher with these selectors sees of some changes."""
    events = []
    for change in changes:
        record, previous = change.record, change.previous
        is_chosen = change.type != "DELETED" and selection.matches(resource, record)
        was_chosen = previous is not None and (selection.is_open or selection.matches(resource, previous))
        if is_chosen:
            events.append(of_record(resource, "MODIFIED" if was_chosen else "ADDED", record))
        elif was_chosen and change.type == "DELETED":
            events.append(of_record(resource, "DELETED", record))
        elif was_chosen and previous is not None:
            events.append(_left(resource, previous, change.revision))
    return events


def of_record(resource: Resource, kind: str, record: Record) -> Event:
    """An event that shows a stored object; watchers that are told of it at the same time share one."""
    if conversion.storage_of(resource) is resource:
        return _stored(kind, record)
    return _converted(resource, kind, record)


def bookmark(resource: Resource, revision: int, annotations: dict[str, str]) -> Event:
    """Everything up to a revision has been told."""
    metadata: Object = {"resourceVersion": str(revision)}
    if annotations:
        metadata["annotations"] = annotations
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return Event("BOOKMARK", json.encode(obj), obj)


def error(status: Object) -> Event:
    """The end of a watch that failed."""
    return Event("ERROR", json.encode(status), status)


# watchers are told of a change within a few milliseconds, so the changes of a few turns of the loop are enough
@lru_cache(maxsize=128)
def _stored(kind: str, record: Record) -> Event:
    return Event(kind, record.json)


@lru_cache(maxsize=128)
def _converted(resource: Resource, kind: str, record: Record) -> Event:
    obj = conversion.view(resource, record)
    return Event(kind, json.encode(obj), obj)


def _left(resource: Resource, previous: Record, revision: int) -> Event:
    """An object that left the selectors is shown as it last matched, at the revision that took it out."""
    obj = conversion.view(resource, previous)
    shown = obj | {"metadata": obj["metadata"] | {"resourceVersion": str(revision)}}
    return Event("DELETED", json.encode(shown), shown)
