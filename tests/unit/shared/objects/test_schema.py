import pytest

from shared.objects import groups, registry, schema

SERVED = {
    "v1": (
        "bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims "
        "persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services"
    ),
    "apiregistration.k8s.io/v1": "apiservices",
    "apps/v1": "controllerrevisions daemonsets deployments replicasets statefulsets",
    "events.k8s.io/v1": "events",
    "authentication.k8s.io/v1": "selfsubjectreviews tokenreviews",
    "authorization.k8s.io/v1": (
        "localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews"
    ),
    "autoscaling/v2": "horizontalpodautoscalers",
    "autoscaling/v1": "horizontalpodautoscalers",
    "batch/v1": "cronjobs jobs",
    "certificates.k8s.io/v1": "certificatesigningrequests",
    "networking.k8s.io/v1": "ingressclasses ingresses ipaddresses networkpolicies servicecidrs",
    "policy/v1": "poddisruptionbudgets",
    "rbac.authorization.k8s.io/v1": "clusterrolebindings clusterroles rolebindings roles",
    "storage.k8s.io/v1": (
        "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses"
    ),
    "admissionregistration.k8s.io/v1": (
        "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations "
        "validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations"
    ),
    "apiextensions.k8s.io/v1": "customresourcedefinitions",
    "scheduling.k8s.io/v1": "priorityclasses",
    "coordination.k8s.io/v1": "leases",
    "node.k8s.io/v1": "runtimeclasses",
    "discovery.k8s.io/v1": "endpointslices",
    "resource.k8s.io/v1": "deviceclasses resourceclaims resourceclaimtemplates resourceslices",
    "flowcontrol.apiserver.k8s.io/v1": "flowschemas prioritylevelconfigurations",
}
"""In the order of discovery."""


def every_struct() -> list[schema.Struct]:
    """All declared structs, found through the kinds and what they hold."""
    found: dict[str, schema.Struct] = {}
    waiting = [one for name in groups.MODULES for one in schema.declared(name)]
    for one in waiting:
        found[f"{one.package}.{one.name}"] = one
    return list(found.values())


def test_exactly_the_named_resources_are_served() -> None:
    served: dict[str, list[str]] = {}
    for one in registry.all_resources():
        served.setdefault(one.api_version, []).append(one.plural)
    assert {version: " ".join(sorted(plurals)) for version, plurals in served.items()} == SERVED
    assert list(served) == list(SERVED)


def test_every_type_named_in_the_table_is_declared() -> None:
    for struct in every_struct():
        for field in struct.fields.values():
            assert field.struct is not None or field.type in schema.SCALARS | schema.SPECIAL


def test_protobuf_numbers_are_unique_within_a_struct() -> None:
    for struct in every_struct():
        numbers = [field.number for field in struct.fields.values() if field.number]
        assert len(numbers) == len(set(numbers)), struct


def test_list_keys_are_fields_of_the_elements() -> None:
    for struct in every_struct():
        for field in struct.fields.values():
            keys = {*field.map_keys, *filter(None, [field.merge_key])}
            if keys:
                assert field.struct is not None
                assert keys <= field.struct.fields.keys(), (struct, field.name)


def test_a_resource_is_found_by_url_and_by_kind() -> None:
    deployments = registry.by_plural("apps", "v1", "deployments")
    assert deployments is not None
    assert registry.by_kind("apps/v1", "Deployment") is deployments
    assert (deployments.api_version, deployments.group_resource) == ("apps/v1", "deployments.apps")
    scale = deployments.subresource("scale")
    assert scale is not None
    assert (scale.group, scale.version, scale.kind) == ("autoscaling", "v1", "Scale")
    status = deployments.subresource("status")
    assert status is not None
    assert (status.group, status.version, status.kind) == ("apps", "v1", "Deployment")


def test_what_is_not_served_is_not_found() -> None:
    assert registry.by_plural("apps", "v1", "podsets") is None
    assert registry.by_plural("apps", "v9", "deployments") is None
    assert registry.by_kind("v1", "PodList") is None


def test_cluster_scoped_kinds_with_selectors_of_their_own_cannot_be_selected_by_namespace() -> None:
    nodes, pods = registry.by_plural("", "v1", "nodes"), registry.by_plural("", "v1", "pods")
    assert nodes is not None
    assert pods is not None
    assert nodes.field_selectors == ("metadata.name", "spec.unschedulable")
    assert "metadata.namespace" in pods.field_selectors


def test_what_cannot_be_listed_has_no_field_selectors() -> None:
    reviews = registry.by_plural("authorization.k8s.io", "v1", "subjectaccessreviews")
    assert reviews is not None
    assert reviews.field_selectors == ()


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "PodList"),
        ("apps/v1", "DeploymentList"),
        ("apps/v1", "DeleteOptions"),
        ("v1", "Status"),
        ("policy/v1", "Eviction"),
    ],
)
def test_kinds_include_lists_and_what_every_group_shares(api_version: str, kind: str) -> None:
    found = schema.kind(api_version, kind)
    assert found is not None
    assert found.name == kind


def test_an_unknown_kind_is_none() -> None:
    assert schema.kind("v1", "Gadget") is None
    assert schema.kind("nope.example/v1", "ConfigMap") is None
    assert schema.kind("v1", "PodSpec") is None
