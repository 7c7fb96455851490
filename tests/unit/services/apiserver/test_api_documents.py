"""Discovery, OpenAPI, version, health, and the answers to paths and methods that do not exist."""

import pytest

from tests.unit.services.apiserver.memory_api import MemoryApi

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def test_aggregated_discovery_names_subresources_and_short_names(api: MemoryApi) -> None:
    document = await api.get("/apis", headers={"accept": AGGREGATED})
    assert document["kind"] == "APIGroupDiscoveryList"
    apps = next(item for item in document["items"] if item["metadata"]["name"] == "apps")
    deployments = next(one for one in apps["versions"][0]["resources"] if one["resource"] == "deployments")
    assert deployments["shortNames"] == ["deploy"]
    scale = next(one for one in deployments["subresources"] if one["subresource"] == "scale")
    assert scale["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


async def test_clients_without_the_aggregated_form_get_lists(api: MemoryApi) -> None:
    assert (await api.get("/api"))["versions"] == ["v1"]
    assert "apps" in [group["name"] for group in (await api.get("/apis"))["groups"]]
    resources = {one["name"]: one for one in (await api.get("/api/v1"))["resources"]}
    assert resources["pods"]["shortNames"] == ["po"]
    assert resources["pods/log"]["verbs"] == ["get"]


async def test_the_openapi_index_leads_to_documents_that_patch_with_validation(api: MemoryApi) -> None:
    index = await api.get("/openapi/v3")
    url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
    document = await api.get(url)
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    parameters = [one["name"] for one in patch["parameters"]]
    assert "fieldValidation" in parameters


async def test_the_version_is_one_that_clients_can_compare(api: MemoryApi) -> None:
    document = await api.get("/version")
    assert (document["major"], document["minor"]) == ("1", "36")
    assert document["gitVersion"].startswith("v1.36.")


async def test_readiness_lists_its_checks_on_demand(api: MemoryApi) -> None:
    assert await api.get("/readyz") == b"ok"
    assert b"[+]state ok" in await api.get("/readyz?verbose")
    api.broker.stop()
    assert b"[-]bus failed" in await api.get("/readyz")
    assert await api.get("/livez") == b"ok"
    api.broker.start()


async def test_requests_can_be_measured(api: MemoryApi) -> None:
    assert b"apiserver_request_duration_seconds" in await api.get("/metrics")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/gadgets", 404),
        ("GET", "/api/v1/namespaces/default/pods/p/nosub", 404),
        ("GET", "/apis/apps/v1/namespaces/default/pods", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/pods/p", 404),
        ("GET", "/apis/apps/v9", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", "/api/v1/namespaces/default/configmaps", 405),
        ("POST", "/api/v1/namespaces/default/configmaps/x", 405),
        ("DELETE", "/api/v1/configmaps", 405),
        ("HEAD", "/api/v1/namespaces/default/configmaps", 405),
        ("POST", "/version", 405),
        ("GET", "/api/v1/namespaces/default/pods/p/binding", 405),
    ],
)
async def test_what_is_not_served(api: MemoryApi, method: str, path: str, code: int) -> None:
    assert await api.code(method, path, {}) == code


async def test_what_kubernetes_does_not_have_is_served_and_not_described(api: MemoryApi) -> None:
    names = {one["name"] for one in (await api.get("/api/v1"))["resources"]}
    assert "pods/exec" in names
    assert not names & {"pods/checkpoint", "pods/migrate"}


async def test_the_version_is_served_with_and_without_a_slash(api: MemoryApi) -> None:
    assert await api.get("/version/") == await api.get("/version")
