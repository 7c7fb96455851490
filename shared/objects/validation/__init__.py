"""Whether an object may be as it is: Kubernetes' validation, with its reasons and field paths.

Validation comes after decoding and defaults: values have the right types, and defaulted fields are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.objects import schema
from shared.objects.registry import Resource
from shared.objects.schema import Struct
from shared.objects.validation import (
    access,
    admission,
    autoscaling,
    batch,
    cluster,
    configuration,
    devices,
    ingress,
    metadata,
    network,
    pods,
    quotas,
    schedules,
    statefulsets,
    statuses,
    storage,
    workloads,
)
from shared.objects.validation.causes import Cause, invalid

__all__ = ["Cause", "validate_create", "validate_update"]

Object = Mapping[str, Any]


def validate_create(resource: Resource, obj: Object) -> list[Cause]:
    """What is wrong with a new object, in no particular order; an empty list if it may be stored."""
    if resource.schema.custom is not None:
        return metadata.create(resource, obj) + resource.schema.custom.validate(obj, None)
    found = metadata.create(resource, obj)
    for validate in (_create(resource), _NEW.get((resource.group, resource.kind))):
        found += validate(obj) if validate is not None else []
    return found


def _create(resource: Resource) -> Callable[[Object], list[Cause]] | None:
    if (resource.group, resource.version) == ("autoscaling", "v1"):
        return autoscaling.first_autoscaler
    return _CREATE.get((resource.group, resource.kind))


def validate_update(resource: Resource, obj: Object, old: Object, subresource: str = "") -> list[Cause]:
    """What is wrong with putting `obj` in the place of `old`, through a subresource or not."""
    found = metadata.update(obj, old)
    if resource.schema.custom is not None:
        return found + resource.schema.custom.validate(obj, old)
    key = (resource.group, resource.kind)
    if subresource == "status":
        judge = _STATUS.get(key)
        return found + judge(obj) if judge is not None else found
    if subresource == "resize":
        return found + pods.pod(obj) + pods.update_resize(obj, old)
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
    create, update = _create(resource), _UPDATE.get(key)
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


def _definition(definition: Object) -> list[Cause]:
    # what definitions take, CEL above all, is needed by no other process and seldom here
    from shared.objects.custom import definitions

    return definitions.create(definition)


def _update_definition(definition: Object, old: Object) -> list[Cause]:
    from shared.objects.custom import definitions

    return definitions.update(definition, old)


def _definition_status(definition: Object) -> list[Cause]:
    from shared.objects.custom import definitions

    return definitions.stored_versions(definition)


def _definition_costs(definition: Object) -> list[Cause]:
    from shared.objects.custom import definitions

    return definitions.costs(definition)


_NEW: dict[tuple[str, str], Callable[[Object], list[Cause]]] = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition_costs,
}
"""What holds for new objects alone; on updates what was accepted once must stay so."""

_STATUS: dict[tuple[str, str], Callable[[Object], list[Cause]]] = {
    ("", "ReplicationController"): statuses.replica_set,
    ("apps", "DaemonSet"): statuses.daemon_set,
    ("apps", "Deployment"): statuses.deployment,
    ("apps", "ReplicaSet"): statuses.replica_set,
    ("apps", "StatefulSet"): statuses.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): statuses.autoscaler,
    ("policy", "PodDisruptionBudget"): statuses.disruption_budget,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition_status,
}
_CREATE: dict[tuple[str, str], Callable[[Object], list[Cause]]] = {
    ("", "ConfigMap"): configuration.config_map,
    ("", "Endpoints"): network.endpoints,
    ("", "Event"): cluster.event,
    ("", "LimitRange"): quotas.limit_range,
    ("", "Namespace"): cluster.namespace,
    ("", "Node"): cluster.node,
    ("", "PersistentVolume"): storage.persistent_volume,
    ("", "PersistentVolumeClaim"): storage.persistent_volume_claim,
    ("", "Pod"): pods.pod,
    ("", "PodTemplate"): workloads.pod_template,
    ("", "ReplicationController"): workloads.replication_controller,
    ("", "ResourceQuota"): quotas.resource_quota,
    ("", "Secret"): configuration.secret,
    ("", "Service"): network.service,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): admission.mutating_policy,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): admission.mutating_binding,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): admission.mutating_webhooks,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): admission.validating_policy,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): admission.validating_binding,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): admission.validating_webhooks,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): admission.api_service,
    ("apps", "ControllerRevision"): workloads.controller_revision,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("apps", "StatefulSet"): statefulsets.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling.autoscaler,
    ("batch", "CronJob"): schedules.cron_job,
    ("batch", "Job"): batch.job,
    ("certificates.k8s.io", "CertificateSigningRequest"): access.certificate_request,
    ("coordination.k8s.io", "Lease"): cluster.lease,
    ("discovery.k8s.io", "EndpointSlice"): network.endpoint_slice,
    ("events.k8s.io", "Event"): cluster.grouped_event,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): access.flow_schema,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): access.priority_level,
    ("networking.k8s.io", "IPAddress"): ingress.ip_address,
    ("networking.k8s.io", "Ingress"): ingress.ingress,
    ("networking.k8s.io", "IngressClass"): ingress.ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): ingress.network_policy,
    ("networking.k8s.io", "ServiceCIDR"): ingress.service_cidr,
    ("node.k8s.io", "RuntimeClass"): quotas.runtime_class,
    ("policy", "PodDisruptionBudget"): autoscaling.disruption_budget,
    ("rbac.authorization.k8s.io", "ClusterRole"): access.cluster_role,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): access.cluster_role_binding,
    ("rbac.authorization.k8s.io", "Role"): access.role,
    ("rbac.authorization.k8s.io", "RoleBinding"): access.role_binding,
    ("resource.k8s.io", "DeviceClass"): devices.device_class,
    ("resource.k8s.io", "ResourceClaim"): devices.resource_claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): devices.resource_claim_template,
    ("resource.k8s.io", "ResourceSlice"): devices.resource_slice,
    ("scheduling.k8s.io", "PriorityClass"): quotas.priority_class,
    ("storage.k8s.io", "CSIDriver"): storage.csi_driver,
    ("storage.k8s.io", "CSINode"): storage.csi_node,
    ("storage.k8s.io", "CSIStorageCapacity"): storage.csi_storage_capacity,
    ("storage.k8s.io", "StorageClass"): storage.storage_class,
    ("storage.k8s.io", "VolumeAttachment"): storage.volume_attachment,
    ("storage.k8s.io", "VolumeAttributesClass"): storage.volume_attributes_class,
}
_UPDATE: dict[tuple[str, str], Callable[[Object, Object], list[Cause]]] = {
    ("", "ConfigMap"): configuration.update_config_map,
    ("", "Node"): cluster.update_node,
    ("", "PersistentVolume"): storage.update_persistent_volume,
    ("", "PersistentVolumeClaim"): storage.update_persistent_volume_claim,
    ("", "Pod"): pods.update,
    ("", "ResourceQuota"): quotas.update_resource_quota,
    ("", "Secret"): configuration.update_secret,
    ("", "Service"): network.update_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _update_definition,
    ("apps", "ControllerRevision"): workloads.update_controller_revision,
    ("apps", "StatefulSet"): statefulsets.update,
    ("batch", "Job"): batch.update,
    ("networking.k8s.io", "IngressClass"): ingress.update_ingress_class,
    ("resource.k8s.io", "ResourceSlice"): devices.update_resource_slice,
    ("scheduling.k8s.io", "PriorityClass"): quotas.update_priority_class,
    ("storage.k8s.io", "CSIDriver"): storage.update_csi_driver,
    ("storage.k8s.io", "StorageClass"): storage.update_storage_class,
    ("storage.k8s.io", "VolumeAttributesClass"): storage.update_volume_attributes_class,
}
