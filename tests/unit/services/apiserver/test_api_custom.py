"""Custom resources through the front door: definitions come, are served, change and go."""

from typing import Any

import pytest

from shared.errors import ApiError, Conflict, Invalid, MethodNotAllowed
from tests.unit.services.apiserver.custom_objects import (
    BOATS,
    DEFINITIONS,
    boat,
    define,
    definition,
    spec_of,
    until_condition,
    until_gone,
    version,
)
from tests.unit.services.apiserver.memory_api import ALICE, MemoryApi

MERGE = {"content-type": "application/merge-patch+json"}
COUNTED = spec_of({"seats": {"type": "integer", "minimum": 1}, "name": {"type": "string", "default": "nameless"}})


async def test_a_definition_is_established_and_served_at_once(api: MemoryApi) -> None:
    created = await api.create(DEFINITIONS, definition())
    assert created["spec"]["names"] == {"plural": "boats", "kind": "Boat", "singular": "boat", "listKind": "BoatList"}
    assert created["spec"]["conversion"] == {"strategy": "None"}
    found = await until_condition(api, "boats.river.example", "Established")
    assert found["status"]["acceptedNames"]["listKind"] == "BoatList"
    assert found["status"]["storedVersions"] == ["v1"]
    made = await api.create(BOATS, boat(spec={"x": 1}))
    assert made["metadata"]["generation"] == 1
    listed = await api.get(BOATS)
    assert (listed["kind"], [one["kind"] for one in listed["items"]]) == ("BoatList", ["Boat"])


async def test_discovery_and_openapi_follow_the_definitions(api: MemoryApi) -> None:
    names = {"shortNames": ["bt"], "categories": ["fleet"]}
    subresources = {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}
    before = await api.get("/apis")
    await define(api, version(schema=COUNTED, subresources=subresources), names=names)
    resources = (await api.get("/apis/river.example/v1"))["resources"]
    assert [one["name"] for one in resources] == ["boats", "boats/status", "boats/scale"]
    assert (resources[0]["shortNames"], resources[0]["categories"]) == (["bt"], ["fleet"])
    assert resources[2]["group"] == "autoscaling"
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    outcome = await api.call("GET", "/apis", headers={"accept": accept})
    assert "river.example" in [one["metadata"]["name"] for one in outcome["items"]]
    assert "apis/river.example/v1" in (await api.get("/openapi/v3"))["paths"]
    document = await api.get("/openapi/v3/apis/river.example/v1")
    schema = document["components"]["schemas"]["example.river.v1.Boat"]
    assert schema["properties"]["spec"]["properties"]["seats"]["minimum"] == 1
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "river.example", "version": "v1", "kind": "Boat"}]
    patch = document["paths"]["/apis/river.example/v1/namespaces/{namespace}/boats/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    await api.delete(f"{DEFINITIONS}/boats.river.example")
    await until_gone(api, f"{DEFINITIONS}/boats.river.example")
    assert await api.get("/apis") == before
    assert "apis/river.example/v1" not in (await api.get("/openapi/v3"))["paths"]


async def test_deleting_a_definition_deletes_its_objects(api: MemoryApi) -> None:
    await define(api)
    await api.create(BOATS, boat("one"))
    held = boat("two")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    await api.create(BOATS, held)
    answer = await api.delete(f"{DEFINITIONS}/boats.river.example")
    assert answer["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await until_condition(api, "boats.river.example", "Terminating")
    await until_gone(api, f"{BOATS}/one")
    refused = await api.failure("POST", BOATS, boat("three"))
    assert isinstance(refused, MethodNotAllowed)
    assert (await api.get(f"{BOATS}/two"))["metadata"]["deletionTimestamp"]
    await api.patch(f"{BOATS}/two", {"metadata": {"finalizers": None}})
    await until_gone(api, f"{DEFINITIONS}/boats.river.example")
    assert await api.get(BOATS) == b"404 page not found\n"


async def test_a_definition_can_be_made_again_after_it_went(api: MemoryApi) -> None:
    await define(api)
    await api.create(BOATS, boat())
    await api.delete(f"{DEFINITIONS}/boats.river.example")
    await until_gone(api, f"{DEFINITIONS}/boats.river.example")
    await define(api)
    assert (await api.get(BOATS))["items"] == []


async def test_taken_names_are_not_accepted_until_they_are_free(api: MemoryApi) -> None:
    await define(api, names={"shortNames": ["b"]})
    await api.create(DEFINITIONS, definition(plural="barges", kind="Boat", names={"shortNames": ["b"]}))
    found = await until_condition(api, "barges.river.example", "NamesAccepted", "False")
    conditions = {one["type"]: one for one in found["status"]["conditions"]}
    assert conditions["NamesAccepted"]["reason"] == "ListKindConflict"
    assert conditions["Established"]["reason"] == "NotAccepted"
    assert await api.code("GET", "/apis/river.example/v1/namespaces/default/barges") == 404
    await api.delete(f"{DEFINITIONS}/boats.river.example")
    await until_condition(api, "barges.river.example", "Established")
    assert await api.code("GET", "/apis/river.example/v1/namespaces/default/barges") == 200


async def test_every_served_version_shows_the_same_object(api: MemoryApi) -> None:
    await define(
        api,
        version("v1beta1", storage=False, deprecated=True),
        version("v1"),
        {**version("v1alpha1", storage=False), "served": False},
    )
    made = await api.create(BOATS.replace("v1", "v1beta1"), boat(spec={"a": 1}, at="v1beta1"))
    assert made["apiVersion"] == "river.example/v1beta1"
    assert api.warnings == ["river.example/v1beta1 Boat is deprecated; use river.example/v1 Boat"]
    assert (await api.get(f"{BOATS}/b"))["apiVersion"] == "river.example/v1"
    listed = await api.get(BOATS.replace("v1", "v1beta1"))
    assert {one["apiVersion"] for one in listed["items"]} == {"river.example/v1beta1"}
    assert await api.get(BOATS.replace("v1", "v1alpha1")) == b"404 page not found\n"
    group = await api.get("/apis/river.example")
    assert [one["version"] for one in group["versions"]] == ["v1", "v1beta1"]
    wrong = await api.failure("POST", BOATS, boat("c", at="v1beta1"))
    assert "does not match the expected API version" in wrong.message


async def test_versions_that_only_a_webhook_could_convert_are_refused(api: MemoryApi) -> None:
    webhook = {"clientConfig": {"url": "https://example.com/"}, "conversionReviewVersions": ["v1"]}
    conversion = {"strategy": "Webhook", "webhook": webhook}
    await define(api, version("v1"), version("v2", storage=False), conversion=conversion)
    await api.create(BOATS, boat())
    assert (await api.get(f"{BOATS}/b"))["apiVersion"] == "river.example/v1"
    refused = await api.failure("GET", f"{BOATS.replace('v1', 'v2')}/b")
    assert (refused.code, "conversion webhooks are not called" in refused.message) == (500, True)
    assert await api.code("POST", BOATS.replace("v1", "v2"), boat("c", at="v2")) == 500


async def test_unknown_fields_are_pruned_and_reported(api: MemoryApi) -> None:
    await define(api, version(schema=COUNTED))
    body = boat(spec={"seats": 2, "bogus": 1}, other=1)
    made = await api.create(BOATS, body)
    assert made["spec"] == {"seats": 2, "name": "nameless"}
    assert "other" not in made
    assert api.warnings == ['unknown field "other"', 'unknown field "spec.bogus"']
    strict = await api.failure("POST", f"{BOATS}?fieldValidation=Strict", body | {"metadata": {"name": "c", "x": 1}})
    assert 'unknown field "metadata.x", unknown field "other", unknown field "spec.bogus"' in strict.message
    await api.create(f"{BOATS}?fieldValidation=Ignore", body | {"metadata": {"name": "d"}})
    assert api.warnings == []


async def test_defaults_are_applied_when_reading_too(api: MemoryApi) -> None:
    await define(api, version(schema=COUNTED))
    await api.create(BOATS, boat(spec={"seats": 2}))
    wider = spec_of({"seats": {"type": "integer"}, "flag": {"type": "string", "default": "none"}}, default={})
    await api.patch(f"{DEFINITIONS}/boats.river.example", {"spec": {"versions": [version(schema=wider)]}})
    assert (await api.get(f"{BOATS}/b"))["spec"] == {"seats": 2, "flag": "none"}
    assert (await api.get(BOATS))["items"][0]["spec"] == {"seats": 2, "flag": "none"}


async def test_status_and_spec_do_not_touch_each_other(api: MemoryApi) -> None:
    await define(api, version(subresources={"status": {}}))
    made = await api.create(BOATS, boat(spec={"a": 1}, status={"x": 1}))
    assert "status" not in made
    changed = await api.patch(
        f"{BOATS}/b/status", {"spec": {"a": 2}, "status": {"x": 1}, "metadata": {"labels": {"l": "1"}}}
    )
    assert (changed["spec"], changed["status"], changed["metadata"]["generation"]) == ({"a": 1}, {"x": 1}, 1)
    assert "labels" not in changed["metadata"]
    again = await api.patch(f"{BOATS}/b", {"spec": {"a": 2}, "status": {"x": 9}})
    assert (again["spec"], again["status"], again["metadata"]["generation"]) == ({"a": 2}, {"x": 1}, 2)


async def test_the_scale_of_a_custom_resource_lies_where_its_definition_says(api: MemoryApi) -> None:
    scale = {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.sel"}
    await define(api, version(subresources={"status": {}, "scale": scale}))
    await api.create(BOATS, boat(spec={"n": 2}))
    await api.patch(f"{BOATS}/b/status", {"status": {"n": 1, "sel": "a=b"}})
    shown = await api.get(f"{BOATS}/b/scale")
    assert (shown["spec"], shown["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    await api.patch(f"{BOATS}/b/scale", {"spec": {"replicas": 5}})
    assert (await api.get(f"{BOATS}/b"))["spec"] == {"n": 5}
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "b"}, "spec": {"replicas": -1}}
    refused = await api.failure("PUT", f"{BOATS}/b/scale", body)
    assert refused.details is not None
    assert refused.details["causes"][0]["field"] == ".spec.n"


async def test_patches_but_no_strategic_ones(api: MemoryApi) -> None:
    await define(api)
    await api.create(BOATS, boat(spec={"a": [1, 2]}))
    assert (await api.patch(f"{BOATS}/b", [{"op": "add", "path": "/spec/a/0", "value": 0}], "json"))["spec"] == {
        "a": [0, 1, 2]
    }
    assert (await api.patch(f"{BOATS}/b", {"spec": {"a": None, "b": 1}}))["spec"] == {"b": 1}
    with pytest.raises(ApiError) as caught:
        await api.patch(f"{BOATS}/b", {"spec": {"b": 2}}, "strategic")
    assert caught.value.code == 415
    protobuf = {"content-type": "application/vnd.kubernetes.protobuf"}
    assert await api.code("POST", BOATS, b"k8s\x00", headers=protobuf) == 415
    assert await api.code("GET", BOATS, headers={"accept": "application/vnd.kubernetes.protobuf"}) == 406
    both = {"accept": "application/vnd.kubernetes.protobuf,application/json"}
    assert (await api.get(BOATS, headers=both))["kind"] == "BoatList"


async def test_server_side_apply_knows_the_lists_of_the_schema(api: MemoryApi) -> None:
    row = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "v": {"type": "integer"}}}
    rows = {"type": "array", "items": row, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]}
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await define(api, version(schema=spec_of({"rows": rows, "free": free})))

    async def apply(manager: str, spec: Any, **query: str) -> Any:
        options = "".join(f"&{name}={value}" for name, value in query.items())
        return await api.patch(f"{BOATS}/b?fieldManager={manager}{options}", boat(spec=spec), "apply")

    await apply("one", {"rows": [{"id": "a", "v": 1}], "free": {"x": {"y": 1, "l": [1]}}})
    made = await apply("two", {"rows": [{"id": "b", "v": 2}], "free": {"x": {"z": 0}}})
    assert [one["id"] for one in made["spec"]["rows"]] == ["a", "b"]
    assert made["spec"]["free"] == {"x": {"y": 1, "l": [1], "z": 0}}
    with pytest.raises(Conflict) as caught:
        await apply("two", {"rows": [{"id": "a", "v": 3}]})
    assert caught.value.details is not None
    assert caught.value.details["causes"][0]["field"] == '.spec.rows[id="a"].v'
    left = await apply("one", {"free": {"x": {"l": [1]}}})
    assert left["spec"] == {"rows": [{"id": "b", "v": 2}], "free": {"x": {"l": [1], "z": 0}}}


async def test_selectable_fields_select(api: MemoryApi) -> None:
    schema = spec_of({"colour": {"type": "string"}, "seats": {"type": "integer"}})
    fields = [{"jsonPath": ".spec.colour"}, {"jsonPath": ".spec.seats"}]
    await define(api, version(schema=schema, selectableFields=fields))
    await api.create(BOATS, boat("red", {"colour": "red", "seats": 2}))
    await api.create(BOATS, boat("blue", {"colour": "blue", "seats": 2}))
    listed = await api.get(f"{BOATS}?fieldSelector=spec.colour=red,spec.seats=2")
    assert [one["metadata"]["name"] for one in listed["items"]] == ["red"]
    assert await api.code("GET", f"{BOATS}?fieldSelector=spec.other=1") == 400
    document = await api.get("/openapi/v3/apis/river.example/v1")
    published = document["components"]["schemas"]["example.river.v1.Boat"]["x-kubernetes-selectable-fields"]
    assert published == [{"fieldPath": "spec.colour"}, {"fieldPath": "spec.seats"}]


async def test_columns_show_what_the_definition_asks_for(api: MemoryApi) -> None:
    columns = [
        {"name": "Seats", "type": "integer", "jsonPath": ".spec.seats"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    await define(api, version(additionalPrinterColumns=columns))
    status = {"conditions": [{"type": "Other", "status": "x"}, {"type": "Ready", "status": "True"}]}
    await api.create(BOATS, boat(spec={"seats": 4}, status=status))
    table = await api.get(BOATS, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Seats", "Ready", "Age"]
    assert table["rows"][0]["cells"][:3] == ["b", 4, "True"]
    partial = await api.get(
        BOATS, headers={"accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    )
    assert partial["items"][0]["kind"] == "PartialObjectMetadata"


async def test_a_watch_of_custom_resources_ends_when_their_definition_changes(api: MemoryApi) -> None:
    found = await define(api)
    async with api.watch(f"{BOATS}?resourceVersion={found['metadata']['resourceVersion']}") as events:
        await api.create(BOATS, boat())
        assert await events.take(1) == [("ADDED", "b")]
        await api.patch(f"{DEFINITIONS}/boats.river.example", {"spec": {"versions": [version(schema=COUNTED)]}})
        with pytest.raises(StopAsyncIteration):
            await events.next()


async def test_a_watch_hears_of_the_end_of_everything(api: MemoryApi) -> None:
    found = await define(api)
    await api.create(BOATS, boat())
    async with api.watch(f"{BOATS}?resourceVersion={found['metadata']['resourceVersion']}") as events:
        await api.delete(f"{DEFINITIONS}/boats.river.example")
        assert await events.take(2) == [("ADDED", "b"), ("DELETED", "b")]
        with pytest.raises(StopAsyncIteration):
            await events.next()


async def test_cluster_scoped_resources_have_no_namespace(api: MemoryApi) -> None:
    await define(api, scope="Cluster")
    assert "namespace" not in (await api.create("/apis/river.example/v1/boats", boat()))["metadata"]
    assert await api.code("GET", BOATS) == 404


async def test_rights_on_custom_resources_are_given_by_roles(api: MemoryApi) -> None:
    await define(api)
    assert await api.code("GET", BOATS, user=ALICE) == 403
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rule = {"apiGroups": ["river.example"], "resources": ["boats"], "verbs": ["list"]}
    await api.create(f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    subject = {"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    await api.create(f"{rbac}/rolebindings", {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": reference})
    assert await api.code("GET", BOATS, user=ALICE) == 200
    assert await api.code("POST", BOATS, boat(), user=ALICE) == 403


async def test_a_storage_version_stays_declared_while_objects_may_be_stored_in_it(api: MemoryApi) -> None:
    await define(api, version("v1"), version("v2", storage=False))
    url = f"{DEFINITIONS}/boats.river.example"
    moved = await api.patch(url, {"spec": {"versions": [version("v1", storage=False), version("v2")]}})
    assert moved["status"]["storedVersions"] == ["v1", "v2"]
    refused = await api.failure("PATCH", url, {"spec": {"versions": [version("v2")]}}, headers=MERGE)
    assert isinstance(refused, Invalid)
    emptied = await api.failure("PATCH", f"{url}/status", {"status": {"storedVersions": ["v1"]}}, headers=MERGE)
    assert "must have the storage version v2" in emptied.message
    await api.patch(f"{url}/status", {"status": {"storedVersions": ["v2"]}})
    await api.patch(url, {"spec": {"versions": [version("v2")]}})
    assert await api.code("GET", BOATS.replace("v1", "v2")) == 200


async def test_rules_are_checked_on_writes(api: MemoryApi) -> None:
    rules = [
        {
            "rule": "self.seats <= self.most",
            "messageExpression": "'at most %d'.format([self.most])",
            "fieldPath": ".seats",
        },
        {"rule": "self.seats >= oldSelf.seats", "message": "seats are never removed", "reason": "FieldValueForbidden"},
    ]
    schema = spec_of({"seats": {"type": "integer"}, "most": {"type": "integer"}}, **{"x-kubernetes-validations": rules})
    await define(api, version(schema=schema))
    await api.create(BOATS, boat(spec={"seats": 2, "most": 3}))
    refused = await api.failure("POST", BOATS, boat("c", {"seats": 4, "most": 3}))
    assert refused.details is not None
    assert refused.details["causes"] == [
        {"reason": "FieldValueInvalid", "message": 'Invalid value: "object": at most 3', "field": "spec.seats"}
    ]
    with pytest.raises(Invalid, match="Forbidden: seats are never removed"):
        await api.patch(f"{BOATS}/b", {"spec": {"seats": 1}})


async def test_a_wrong_definition_is_refused_with_the_place_of_each_mistake(api: MemoryApi) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": {}}}}}
    refused = await api.failure("POST", DEFINITIONS, definition(version(schema=schema)))
    assert "spec.validation.openAPIV3Schema.properties[spec].properties[x].type: Required value" in refused.message
    assert (await api.get(DEFINITIONS))["items"] == []


async def test_dry_runs_store_nothing(api: MemoryApi) -> None:
    await define(api, version(schema=COUNTED))
    made = await api.create(f"{BOATS}?dryRun=All", boat(spec={"seats": 1}))
    assert made["spec"]["name"] == "nameless"
    assert (await api.get(BOATS))["items"] == []


async def test_numbers_are_kept_as_go_keeps_them(api: MemoryApi) -> None:
    await define(api)
    made = await api.create(
        BOATS,
        b'{"apiVersion":"river.example/v1","kind":"Boat","metadata":{"name":"b"},"spec":[1.0,1e30,123456789012345678901234,0.5]}',
    )
    assert made["spec"] == [1, 1e30, 1.2345678901234568e23, 0.5]
    assert isinstance(made["spec"][0], int)


async def test_collections_of_custom_resources_are_deleted_by_selector(api: MemoryApi) -> None:
    await define(api)
    for name in ("a", "b", "c"):
        body = boat(name)
        body["metadata"]["labels"] = {"side": "port" if name == "a" else "starboard"}
        await api.create(BOATS, body)
    await api.delete(f"{BOATS}?labelSelector=side=starboard")
    assert [one["metadata"]["name"] for one in (await api.get(BOATS))["items"]] == ["a"]


async def test_generated_names_and_pages_work_as_for_any_kind(api: MemoryApi) -> None:
    await define(api)
    for _ in range(3):
        body = boat()
        body["metadata"] = {"generateName": "raft-"}
        await api.create(BOATS, body)
    page = await api.get(f"{BOATS}?limit=2")
    assert len(page["items"]) == 2
    rest = await api.get(f"{BOATS}?limit=2&continue={page['metadata']['continue']}")
    assert len(rest["items"]) == 1
    assert all(one["metadata"]["name"].startswith("raft-") for one in page["items"] + rest["items"])
