"""The meta/v1 Table document and PartialObjectMetadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from shared.errors import BadRequest
from shared.objects import times
from shared.objects.registry import Resource
from shared.objects.schema import NAME_COLUMN, Column
from shared.objects.tables import cluster, network, pods, workloads
from shared.objects.tables.cells import Cells, Object, age

_CREATED_COLUMN = Column("Created At", "date", "", 0)
_INCLUDE = ("Metadata", "Object", "None", "")


def table(
    resource: Resource,
    objects: Iterable[Object],
    *,
    include_object: str = "Metadata",
    now: datetime | str | None = None,
) -> dict[str, Any]:
    """A Table of the objects; list metadata is the caller's to add. BadRequest for an unknown `include_object`."""
    moment = _moment(now)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": column_definitions(resource),
        "rows": [row(resource, obj, include_object=include_object, now=moment) for obj in objects],
    }


def row(
    resource: Resource, obj: Object, include_object: str = "Metadata", now: datetime | str | None = None
) -> dict[str, Any]:
    """One row: cells, the conditions of finished pods, and what `include_object` asks for of the object."""
    if include_object not in _INCLUDE:
        raise BadRequest(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{include_object}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        )
    cells = _CELLS.get((resource.group, resource.kind), _default_cells)
    made: dict[str, Any] = {"cells": cells(obj, _moment(now))}
    if resource.kind == "Pod":
        conditions = pods.row_conditions(obj)
        if conditions:
            made["conditions"] = conditions
    if include_object in ("Metadata", ""):
        made["object"] = partial_metadata(obj)
    elif include_object == "Object":
        made["object"] = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
    else:
        made["object"] = None
    return made


def column_definitions(resource: Resource) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "type": one.type, "format": one.format, "description": "", "priority": one.priority}
        for one in resource.columns or (NAME_COLUMN, _CREATED_COLUMN)
    ]


def partial_metadata(obj: Object) -> dict[str, Any]:
    """The object's metadata alone, as a meta.k8s.io/v1 PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _moment(now: datetime | str | None) -> datetime:
    if isinstance(now, datetime):
        return now
    return times.parse(now or times.now())


def _default_cells(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"].get("name", ""), obj["metadata"].get("creationTimestamp", "")]


def _name_and_age(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"].get("name", ""), age(obj, now)]


_CELLS: Mapping[tuple[str, str], Cells] = {
    ("", "ConfigMap"): cluster.config_map,
    ("", "Endpoints"): network.endpoints,
    ("", "Event"): cluster.event,
    ("", "Namespace"): cluster.namespace,
    ("", "Node"): cluster.node,
    ("", "Pod"): pods.pod,
    ("", "Secret"): cluster.secret,
    ("", "Service"): network.service,
    ("", "ServiceAccount"): _name_and_age,
    ("apps", "ControllerRevision"): workloads.controller_revision,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("batch", "Job"): workloads.job,
    ("coordination.k8s.io", "Lease"): cluster.lease,
    ("discovery.k8s.io", "EndpointSlice"): network.endpoint_slice,
    ("events.k8s.io", "Event"): cluster.grouped_event,
}
