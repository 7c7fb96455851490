"""The meta/v1 Table document and PartialObjectMetadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from shared.errors import BadRequest
from shared.objects import times
from shared.objects.registry import Resource
from shared.objects.schema import NAME_COLUMN, Column
from shared.objects.tables import access, autoscaling, cluster, network, pods, storage, workloads
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
    rows = [row(resource, obj, include_object=include_object, now=moment) for obj in objects]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": column_definitions(resource),
        # Kubernetes' default table has no rows where the tables of a kind's own have none of them
        "rows": rows if rows or _cells(resource) is not _default_cells else None,
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
    cells = _cells(resource)
    made: dict[str, Any] = {"cells": cells(obj, _moment(now))}
    if resource.kind == "Pod" and not resource.group:
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


def _cells(resource: Resource) -> Cells:
    if resource.schema.custom is not None:
        return resource.schema.custom.columns.cells
    if (resource.group, resource.version, resource.kind) == ("autoscaling", "v1", "HorizontalPodAutoscaler"):
        return autoscaling.first_autoscaler
    return _CELLS.get((resource.group, resource.kind), _default_cells)


def column_definitions(resource: Resource) -> list[dict[str, Any]]:
    if resource.schema.custom is not None:
        return resource.schema.custom.columns.definitions()
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
    ("", "ComponentStatus"): cluster.component_status,
    ("", "ConfigMap"): cluster.config_map,
    ("", "Endpoints"): network.endpoints,
    ("", "Event"): cluster.event,
    ("", "Namespace"): cluster.namespace,
    ("", "Node"): cluster.node,
    ("", "PersistentVolume"): storage.persistent_volume,
    ("", "PersistentVolumeClaim"): storage.persistent_volume_claim,
    ("", "Pod"): pods.pod,
    ("", "PodTemplate"): workloads.pod_template,
    ("", "ReplicationController"): workloads.replication_controller,
    ("", "ResourceQuota"): cluster.resource_quota,
    ("", "Secret"): cluster.secret,
    ("", "Service"): network.service,
    ("", "ServiceAccount"): _name_and_age,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): access.mutating_policy,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): access.policy_binding,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): access.webhook_configuration,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): access.validating_policy,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): access.policy_binding,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): access.webhook_configuration,
    ("apiregistration.k8s.io", "APIService"): access.api_service,
    ("apps", "ControllerRevision"): workloads.controller_revision,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling.autoscaler,
    ("autoscaling", "Scale"): autoscaling.scale,
    ("batch", "CronJob"): workloads.cron_job,
    ("batch", "Job"): workloads.job,
    ("certificates.k8s.io", "CertificateSigningRequest"): access.certificate_request,
    ("coordination.k8s.io", "Lease"): cluster.lease,
    ("discovery.k8s.io", "EndpointSlice"): network.endpoint_slice,
    ("events.k8s.io", "Event"): cluster.grouped_event,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): access.flow_schema,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): access.priority_level,
    ("networking.k8s.io", "IPAddress"): network.ip_address,
    ("networking.k8s.io", "Ingress"): network.ingress,
    ("networking.k8s.io", "IngressClass"): network.ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): network.network_policy,
    ("networking.k8s.io", "ServiceCIDR"): network.service_cidr,
    ("node.k8s.io", "RuntimeClass"): cluster.runtime_class,
    ("policy", "PodDisruptionBudget"): autoscaling.disruption_budget,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): access.role_binding,
    ("rbac.authorization.k8s.io", "RoleBinding"): access.role_binding,
    ("resource.k8s.io", "DeviceClass"): _name_and_age,
    ("resource.k8s.io", "ResourceClaim"): cluster.resource_claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): _name_and_age,
    ("resource.k8s.io", "ResourceSlice"): cluster.resource_slice,
    ("scheduling.k8s.io", "PriorityClass"): cluster.priority_class,
    ("storage.k8s.io", "CSIDriver"): storage.csi_driver,
    ("storage.k8s.io", "CSINode"): storage.csi_node,
    ("storage.k8s.io", "StorageClass"): storage.storage_class,
    ("storage.k8s.io", "VolumeAttachment"): storage.volume_attachment,
    ("storage.k8s.io", "VolumeAttributesClass"): storage.volume_attributes_class,
}
