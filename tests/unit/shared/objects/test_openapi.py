import re

import pytest

from shared.objects import json, openapi

DEPLOYMENTS = "/apis/apps/v1/namespaces/{namespace}/deployments"


def test_the_index_names_every_served_group_version() -> None:
    assert openapi.index()["paths"]["apis/apps/v1"] == {"serverRelativeURL": "/openapi/v3/apis/apps/v1"}
    assert "api/v1" in openapi.index()["paths"]


@pytest.mark.parametrize("name", openapi.index()["paths"])
def test_every_reference_of_a_document_is_resolved_in_it(name: str) -> None:
    document = openapi.document(name)
    names = set(re.findall(r"#/components/schemas/([\w.-]+)", json.encode(document).decode()))
    assert names <= document["components"]["schemas"].keys()


def test_kubectl_finds_the_patch_operation_that_tells_of_field_validation() -> None:
    patch = openapi.document("apis/apps/v1")["paths"][f"{DEPLOYMENTS}/{{name}}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert sorted(one["name"] for one in patch["parameters"]) == ["dryRun", "fieldManager", "fieldValidation", "force"]
    assert sorted(patch["requestBody"]["content"]) == [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ]


def test_operations_are_named_and_typed_as_kubernetes_does() -> None:
    paths = openapi.document("apis/apps/v1")["paths"]
    assert paths[f"{DEPLOYMENTS}/{{name}}"]["delete"]["operationId"] == "deleteAppsV1NamespacedDeployment"
    assert paths["/apis/apps/v1/deployments"]["get"]["operationId"] == "listAppsV1DeploymentForAllNamespaces"
    scale = paths[f"{DEPLOYMENTS}/{{name}}/scale"]
    assert scale["get"]["x-kubernetes-group-version-kind"] == {"group": "autoscaling", "kind": "Scale", "version": "v1"}
    assert sorted(paths[DEPLOYMENTS]["post"]["responses"]) == ["200", "201", "202", "401"]


def test_schemas_carry_the_extensions_for_merging() -> None:
    schemas = openapi.document("api/v1")["components"]["schemas"]
    spec = schemas["io.k8s.api.core.v1.PodSpec"]
    assert spec["required"] == ["containers"]
    assert spec["properties"]["volumes"]["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    ports = schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"]
    assert ports["x-kubernetes-list-type"] == "map"
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"] == "TCP"
    assert schemas["io.k8s.api.core.v1.Secret"]["properties"]["data"]["additionalProperties"]["format"] == "byte"
    assert schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"] == "atomic"


def test_a_group_version_that_is_not_served_has_no_document() -> None:
    with pytest.raises(KeyError, match="apis/nope/v1"):
        openapi.document("apis/nope/v1")
