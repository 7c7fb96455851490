"""Server-side apply: who owns what, what an apply takes away, and when it is a conflict."""

from typing import Any

import pytest

from shared.errors import BadRequest, Conflict, Invalid
from tests.unit.services.apiserver.memory_api import PATCHES, MemoryApi

URL = "/api/v1/namespaces/default/configmaps/c"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"


def config(labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "c"}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(*containers: dict[str, Any], replicas: int | None = None) -> dict[str, Any]:
    labels = {"app": "web"}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": list(containers)}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


async def apply(api: MemoryApi, body: dict[str, Any], manager: str, *, force: bool = False, url: str = URL) -> Any:
    asked = f"{url}?fieldManager={manager}" + ("&force=true" if force else "")
    return await api.patch(asked, body, "apply")


def owners(obj: dict[str, Any]) -> dict[str, Any]:
    return {one["manager"]: one["fieldsV1"] for one in obj["metadata"].get("managedFields", ())}


async def test_an_apply_creates_and_the_same_again_changes_nothing(api: MemoryApi) -> None:
    made = await apply(api, config(a="1"), "alpha")
    assert owners(made) == {"alpha": {"f:data": {"f:a": {}}}}
    assert await apply(api, config(a="1"), "alpha") == made


async def test_what_is_no_longer_applied_vanishes(api: MemoryApi) -> None:
    await apply(api, config({"x": "1"}, a="1", b="2"), "alpha")
    left = await apply(api, config(a="1"), "alpha")
    assert left["data"] == {"a": "1"}
    assert "labels" not in left["metadata"]


async def test_what_somebody_else_set_stays(api: MemoryApi) -> None:
    await apply(api, config(a="1"), "alpha")
    await api.patch(f"{URL}?fieldManager=editor", {"data": {"manual": "m"}})
    left = await apply(api, config(), "alpha")
    assert left["data"] == {"manual": "m"}


async def test_changing_what_others_own_is_a_conflict_that_force_wins(api: MemoryApi) -> None:
    await apply(api, config(k="1", z="1"), "alpha")
    with pytest.raises(Conflict) as refused:
        await apply(api, config(k="2"), "beta")
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "alpha": .data.k'
    assert refused.value.details == {
        "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "alpha"', "field": ".data.k"}]
    }
    forced = await apply(api, config(k="2"), "beta", force=True)
    assert forced["data"] == {"k": "2", "z": "1"}
    assert owners(forced) == {"alpha": {"f:data": {"f:z": {}}}, "beta": {"f:data": {"f:k": {}}}}


async def test_two_appliers_share_an_equal_value_until_both_let_go(api: MemoryApi) -> None:
    await apply(api, config(s="same"), "alpha")
    await apply(api, config(s="same"), "beta")
    assert (await apply(api, config(), "alpha"))["data"] == {"s": "same"}
    assert "data" not in await apply(api, config(), "beta")


async def test_containers_are_merged_by_name(api: MemoryApi) -> None:
    await apply(api, deployment({"name": "a", "image": "a:1"}), "alpha", url=DEPLOYMENT)
    both = await apply(api, deployment({"name": "b", "image": "b:1"}), "beta", url=DEPLOYMENT)
    assert [one["name"] for one in both["spec"]["template"]["spec"]["containers"]] == ["a", "b"]
    with pytest.raises(Conflict, match=r'\.spec\.template\.spec\.containers\[name="a"\]\.image'):
        await apply(api, deployment({"name": "a", "image": "a:2"}), "beta", url=DEPLOYMENT)


async def test_a_dropped_container_goes_with_the_defaults_nobody_asked_for(api: MemoryApi) -> None:
    two = deployment({"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"})
    await apply(api, two, "alpha", url=DEPLOYMENT)
    left = await apply(api, deployment({"name": "a", "image": "a:1"}), "alpha", url=DEPLOYMENT)
    assert [one["name"] for one in left["spec"]["template"]["spec"]["containers"]] == ["a"]


async def test_a_scale_takes_the_replicas_from_the_applier(api: MemoryApi) -> None:
    container = {"name": "a", "image": "a:1"}
    await apply(api, deployment(container, replicas=1), "alpha", url=DEPLOYMENT)
    await api.patch(f"{DEPLOYMENT}/scale?fieldManager=autoscaler", {"spec": {"replicas": 4}})
    with pytest.raises(Conflict, match=r'conflict with "autoscaler" with subresource "scale"'):
        await apply(api, deployment(container, replicas=1), "alpha", url=DEPLOYMENT)
    assert (await apply(api, deployment(container), "alpha", url=DEPLOYMENT))["spec"]["replicas"] == 4


async def test_ownership_that_was_emptied_begins_anew_with_an_apply(api: MemoryApi) -> None:
    await apply(api, config(a="1"), "alpha")
    assert owners(await api.patch(URL, {"metadata": {"managedFields": [{}]}})) == {}
    assert owners(await api.patch(URL, {"data": {"z": "1"}})) == {}
    begun = await apply(api, config(q="1"), "beta")
    assert owners(begun) == {
        "beta": {"f:data": {"f:q": {}}},
        "before-first-apply": {"f:data": {".": {}, "f:a": {}, "f:z": {}}},
    }


async def test_the_status_is_owned_through_its_own_path(api: MemoryApi) -> None:
    made = await apply(api, deployment({"name": "a", "image": "a:1"}), "alpha", url=DEPLOYMENT)
    status = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "status": {"replicas": 2}}
    changed = await apply(api, status, "controller", url=f"{DEPLOYMENT}/status")
    assert owners(changed)["controller"] == {"f:status": {"f:replicas": {}}}
    assert changed["spec"] == made["spec"]


async def test_an_apply_is_told_that_its_yaml_cannot_become_json(api: MemoryApi) -> None:
    headers = {"content-type": PATCHES["apply"]}
    failed = await api.failure("PATCH", f"{URL}?fieldManager=m", b"a: [unclosed\n", headers=headers)
    problem = "yaml: line 1: did not find expected ',' or ']'"
    assert failed.message == f"error decoding YAML: error converting YAML to JSON: {problem}"


async def test_the_namespace_of_an_apply_may_be_left_out_but_not_be_another(api: MemoryApi) -> None:
    made = await apply(api, config(a="1"), "alpha")
    assert made["metadata"]["namespace"] == "default"
    other = config(a="1")
    other["metadata"]["namespace"] = "other"
    with pytest.raises(BadRequest):
        await apply(api, other, "alpha")


@pytest.mark.parametrize(
    ("query", "body", "error"),
    [
        ("", config(), Invalid),
        ("?fieldManager=m", {"metadata": {"name": "c"}}, BadRequest),
        ("?fieldManager=m", config() | {"kind": "Secret"}, BadRequest),
        ("?fieldManager=m", config() | {"metadata": {"name": "other"}}, BadRequest),
        ("?fieldManager=m", config() | {"metadata": {"name": "c", "managedFields": []}}, BadRequest),
    ],
)
async def test_applies_that_are_refused(api: MemoryApi, query: str, body: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await api.patch(URL + query, body, "apply")


async def test_unknown_fields_and_repeated_keys_cannot_be_owned(api: MemoryApi) -> None:
    unknown = await api.failure(
        "PATCH", f"{URL}?fieldManager=m", config() | {"bogus": 1}, headers={"content-type": PATCHES["apply"]}
    )
    assert (unknown.code, unknown.reason) == (500, "")
    where = "failed to create typed patch object (/c; /v1, Kind=ConfigMap)"
    assert unknown.message == f"{where}: .bogus: field not declared in schema"
    twice = deployment({"name": "a", "image": "a:1"}, {"name": "a", "image": "a:2"})
    repeated = await api.failure(
        "PATCH", f"{DEPLOYMENT}?fieldManager=m", twice, headers={"content-type": PATCHES["apply"]}
    )
    assert repeated.message.endswith('.spec.template.spec.containers: duplicate entries for key [name="a"]')


async def test_a_scale_is_applied_like_any_object(api: MemoryApi) -> None:
    await apply(api, deployment({"name": "a", "image": "a:1"}, replicas=1), "alpha", url=DEPLOYMENT)
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 7}}
    with pytest.raises(Conflict, match=r"\.spec\.replicas"):
        await api.patch(f"{DEPLOYMENT}/scale?fieldManager=scaler", scale, "apply")
    answer = await api.patch(f"{DEPLOYMENT}/scale?fieldManager=scaler&force=true", scale, "apply")
    assert (answer["kind"], answer["spec"]) == ("Scale", {"replicas": 7})
    stored = await api.get(DEPLOYMENT)
    entry = next(one for one in stored["metadata"]["managedFields"] if one["manager"] == "scaler")
    assert (entry["operation"], entry["subresource"]) == ("Apply", "scale")
    assert entry["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert stored["spec"]["replicas"] == 7
