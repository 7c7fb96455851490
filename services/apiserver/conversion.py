"""Objects that are served under two API versions and stored under one: Events, of core/v1 and of events.k8s.io/v1, and
HorizontalPodAutoscalers, stored as autoscaling/v2."""

import dataclasses
from functools import lru_cache

from services.apiserver.protocol import Object
from shared.objects import conversion, defaults, registry
from shared.objects.registry import Resource
from shared.state.cache import Record

EVENTS_GROUP = "events.k8s.io"
AUTOSCALERS = "horizontalpodautoscalers"
# (core/v1 field, events.k8s.io/v1 field)
EVENT_FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)


def is_event(resource: Resource) -> bool:
    """Whether objects of the resource live in the EVENTS stream."""
    return resource.plural == "events" and resource.group in ("", EVENTS_GROUP)


def is_old_autoscaler(resource: Resource) -> bool:
    """Whether the resource is the autoscaler in its first version."""
    return resource.group == "autoscaling" and resource.version == "v1" and resource.plural == AUTOSCALERS


@lru_cache(maxsize=2)
def _stored(group: str, version: str, plural: str) -> Resource:
    found = registry.by_plural(group, version, plural)
    assert found is not None
    return found


# bounded, because custom resources come and go
@lru_cache(maxsize=256)
def storage_of(resource: Resource) -> Resource:
    """The resource an object is stored as."""
    if resource.schema.custom is not None:
        # a custom resource as it is stored is never what it is served as: schemas, and with them defaults, change
        return dataclasses.replace(resource)
    if is_event(resource) and resource.group:
        return _stored("", "v1", "events")
    return _stored("autoscaling", "v2", AUTOSCALERS) if is_old_autoscaler(resource) else resource


def to_storage(resource: Resource, obj: Object) -> Object:
    """The stored form of an object of a resource."""
    if storage_of(resource) is resource:
        return obj
    if resource.schema.custom is not None:
        return resource.schema.custom.to_storage(obj)
    if is_old_autoscaler(resource):
        stored = conversion.autoscaler_v2(obj)
        # an autoscaler of the first version may leave its only metric unstated, the second one states it
        defaults.apply_defaults(storage_of(resource), stored)
        return stored
    renamed = {new: old for old, new in EVENT_FIELDS}
    stored = {renamed.get(key, key): value for key, value in obj.items()}
    return stored | {"apiVersion": "v1", "kind": "Event"}


def from_storage(resource: Resource, obj: Object) -> Object:
    """The served form of a stored object."""
    if storage_of(resource) is resource:
        return obj
    if resource.schema.custom is not None:
        return resource.schema.custom.view(obj)
    if is_old_autoscaler(resource):
        return conversion.autoscaler_v1(obj)
    renamed = dict(EVENT_FIELDS)
    served = {renamed.get(key, key): value for key, value in obj.items()}
    for name in ("reportingController", "reportingInstance"):
        if not served.get(name):
            served.pop(name, None)
    return served | {"apiVersion": resource.api_version, "kind": "Event"}


def view(resource: Resource, record: Record) -> Object:
    """The object of a record as the resource serves it; it is shared and must not be changed."""
    if resource.schema.custom is not None:
        return _custom_view(resource, record)
    return from_storage(resource, record.object)


@lru_cache(maxsize=1024)
def _custom_view(resource: Resource, record: Record) -> Object:
    return from_storage(resource, record.object)
