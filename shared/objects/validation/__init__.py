"""Whether an object may be as it is: Kubernetes' validation, with its reasons and field paths.

Validation comes after decoding and defaults: values have the right types, and defaulted fields are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.objects import schema
from shared.objects.registry import Resource
from shared.objects.schema import Struct
from shared.objects.validation import batch, cluster, configuration, metadata, network, pods, workloads
from shared.objects.validation.causes import Cause, invalid

__all__ = ["Cause", "validate_create", "validate_update"]

Object = Mapping[str, Any]


def validate_create(resource: Resource, obj: Object) -> list[Cause]:
    """What is wrong with a new object, in no particular order; an empty list if it may be stored."""
    validate = _CREATE.get((resource.group, resource.kind))
    return metadata.create(resource, obj) + (validate(obj) if validate is not None else [])


def validate_update(resource: Resource, obj: Object, old: Object, subresource: str = "") -> list[Cause]:
    """What is wrong with putting `obj` in the place of `old`, through a subresource or not."""
    found = metadata.update(obj, old)
    key = (resource.group, resource.kind)
    if subresource == "status":
        return found
    if subresource == "ephemeralcontainers":
        return found + pods.update_ephemeral_containers(obj, old)
    changed = _content(obj) != _content(old)
    if not changed:
        return found
    found += [
        invalid(".".join(path), new, "field is immutable")
        for path in _immutable(resource.schema)
        if (new := _at(obj, path)) != _at(old, path)
    ]
    create, update = _CREATE.get(key), _UPDATE.get(key)
    if create is not None:
        found += create(obj)
    if update is not None:
        found += update(obj, old)
    return list(dict.fromkeys(found))


def _content(obj: Object) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


@schema.planned
def _immutable(kind: Struct) -> tuple[tuple[str, ...], ...]:
    """The immutable fields of a kind and of its spec."""
    paths = [(name,) for name, field in kind.fields.items() if field.immutable]
    spec = kind.fields.get("spec")
    inner = spec.struct if spec is not None else None
    if inner is not None:
        paths += [("spec", name) for name, field in inner.fields.items() if field.immutable]  # type: ignore[misc]
    return tuple(paths)


def _at(obj: Object, path: tuple[str, ...]) -> Any:
    value: Any = obj
    for part in path:
        value = (value or {}).get(part)
    return value


_CREATE: dict[tuple[str, str], Callable[[Object], list[Cause]]] = {
    ("", "ConfigMap"): configuration.config_map,
    ("", "Endpoints"): network.endpoints,
    ("", "Event"): cluster.event,
    ("", "Node"): cluster.node,
    ("", "Pod"): pods.pod,
    ("", "Secret"): configuration.secret,
    ("", "Service"): network.service,
    ("apps", "ControllerRevision"): workloads.controller_revision,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("batch", "Job"): batch.job,
    ("coordination.k8s.io", "Lease"): cluster.lease,
    ("discovery.k8s.io", "EndpointSlice"): network.endpoint_slice,
    ("events.k8s.io", "Event"): cluster.grouped_event,
}
_UPDATE: dict[tuple[str, str], Callable[[Object, Object], list[Cause]]] = {
    ("", "ConfigMap"): configuration.update_config_map,
    ("", "Node"): cluster.update_node,
    ("", "Pod"): pods.update,
    ("", "Secret"): configuration.update_secret,
    ("", "Service"): network.update_service,
    ("apps", "ControllerRevision"): workloads.update_controller_revision,
    ("batch", "Job"): batch.update,
}
