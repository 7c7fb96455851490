from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadRequest, Invalid, RequestEntityTooLarge
from shared.objects import meta, patches, schema
from tests.unit.shared.objects.schema_objects import objects

POD = schema.struct("core/v1.Pod")
PLAIN = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("ab/~", max_size=2), PLAIN, max_size=3)
CONFIG = {"data": {"a": "1", "d": "3"}, "metadata": {"annotations": {"b/c": "2"}}, "list": [1, 2]}


def merged(spec: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    before = meta.copy(spec)
    made: dict[str, Any] = patches.strategic_merge(POD, {"spec": spec}, {"spec": patch})["spec"]
    assert spec == before
    return made


def test_merge_patch_removes_nulls_merges_maps_and_replaces_lists() -> None:
    patch = {"data": {"a": None, "c": "4"}, "list": [3], "new": {"x": None, "y": {"z": None}}}
    assert patches.merge_patch(CONFIG, patch) == {
        "data": {"d": "3", "c": "4"},
        "metadata": {"annotations": {"b/c": "2"}},
        "list": [3],
        "new": {"y": {}},
    }


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_idempotent_and_leaves_its_inputs_alone(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    before = meta.copy(obj), meta.copy(patch)
    once = patches.merge_patch(obj, patch)
    assert patches.merge_patch(once, patch) == once
    assert (obj, patch) == before


@given(OBJECTS)
def test_an_object_merged_into_nothing_is_itself(obj: dict[str, Any]) -> None:
    assert patches.merge_patch({}, obj) == obj
    assert patches.merge_patch(obj, {}) == obj


@pytest.mark.parametrize("patch", [[], "x", None, 5])
def test_a_merge_patch_must_be_an_object(patch: Any) -> None:
    with pytest.raises(BadRequest):
        patches.merge_patch({}, patch)
    with pytest.raises(BadRequest):
        patches.strategic_merge(POD, {}, patch)


@pytest.mark.parametrize(
    ("operations", "path", "wanted"),
    [
        ([{"op": "add", "path": "/data/x", "value": "9"}], "data", {"a": "1", "d": "3", "x": "9"}),
        ([{"op": "remove", "path": "/data/d"}], "data", {"a": "1"}),
        ([{"op": "replace", "path": "/data/none", "value": "x"}], "data", {"a": "1", "d": "3", "none": "x"}),
        (
            [{"op": "replace", "path": "/metadata/annotations/b~1c", "value": "22"}],
            "metadata",
            {"annotations": {"b/c": "22"}},
        ),
        ([{"op": "test", "path": "/data/missing", "value": None}], "data", {"a": "1", "d": "3"}),
        ([{"op": "copy", "from": "/data/a", "path": "/data/b"}], "data", {"a": "1", "b": "1", "d": "3"}),
        ([{"op": "move", "from": "/data/a", "path": "/data/b"}], "data", {"b": "1", "d": "3"}),
        (
            [{"op": "add", "path": "/list/-", "value": 3}, {"op": "add", "path": "/list/0", "value": 0}],
            "list",
            [0, 1, 2, 3],
        ),
        ([], "data", {"a": "1", "d": "3"}),
    ],
)
def test_json_patch_operations(operations: list[dict[str, Any]], path: str, wanted: Any) -> None:
    before = meta.copy(CONFIG)
    assert patches.json_patch(CONFIG, operations)[path] == wanted
    assert before == CONFIG


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/data/none"},
        {"op": "remove", "path": "/metadata/annotations/b~01c"},
        {"op": "test", "path": "/data/a", "value": "wrong"},
        {"op": "add", "path": "/no/such/parent", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "replace", "path": "/list/9", "value": 1},
        {"op": "frobnicate", "path": "/data/a"},
        {"op": "add"},
        {"path": "/data/a"},
        {"op": "add", "path": "data", "value": 1},
        {"op": "replace", "path": "", "value": []},
    ],
)
def test_an_operation_that_does_not_apply_is_invalid(operation: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        patches.json_patch(CONFIG, [operation])


def test_a_json_patch_must_be_a_short_list_of_objects() -> None:
    for operations in ({"op": "add"}, ["x"], None):
        with pytest.raises(BadRequest):
            patches.json_patch(CONFIG, operations)
    with pytest.raises(RequestEntityTooLarge):
        patches.json_patch(CONFIG, [{"op": "test", "path": "/data/a", "value": "1"}] * 10_001)


@given(OBJECTS, st.text("ab/~", min_size=1, max_size=2), PLAIN)
def test_an_added_value_can_be_tested_and_removed(obj: dict[str, Any], key: str, value: Any) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = patches.json_patch(
        obj, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    )
    assert patches.json_patch(added, [{"op": "remove", "path": path}]) == {k: v for k, v in obj.items() if k != key}


SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "app",
            "image": "i:1",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "args": ["x", "y"],
        },
        {"name": "side", "image": "i:1"},
    ],
    "volumes": [{"name": "v1", "emptyDir": {}}, {"name": "v2", "configMap": {"name": "c"}}],
    "tolerations": [{"key": "k1", "operator": "Exists"}],
    "imagePullSecrets": [{"name": "r1"}],
    "nodeSelector": {"disk": "ssd"},
}


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def test_lists_merge_by_their_key_and_atomic_lists_are_replaced() -> None:
    env = [{"name": "B", "value": "22"}, {"name": "C"}]
    made = merged(SPEC, {"containers": [{"name": "app", "env": env, "args": ["z"]}], "tolerations": []})
    app, side = made["containers"]
    assert app == {"name": "app", "image": "i:1", "env": [{"name": "A", "value": "1"}, *env], "args": ["z"]}
    assert side == SPEC["containers"][1]
    assert made["tolerations"] == []


def test_new_elements_come_first() -> None:
    made = merged(SPEC, {"containers": [{"name": "third", "image": "i"}], "imagePullSecrets": [{"name": "r2"}]})
    assert names(made["containers"]) == ["third", "app", "side"]
    assert names(made["imagePullSecrets"]) == ["r2", "r1"]


def test_an_order_is_kept() -> None:
    order = [{"name": "zeta"}, {"name": "app"}, {"name": "alpha"}]
    new = [{"name": "zeta", "image": "z"}, {"name": "alpha", "image": "a"}]
    made = merged(SPEC, {"$setElementOrder/containers": order, "containers": new})
    assert names(made["containers"]) == ["zeta", "app", "alpha", "side"]
    only = merged(SPEC, {"$setElementOrder/volumes": [{"name": "v2"}, {"name": "v1"}]})
    assert names(only["volumes"]) == ["v2", "v1"]


def test_elements_and_maps_can_be_deleted_and_replaced() -> None:
    assert names(merged(SPEC, {"containers": [{"$patch": "delete", "name": "side"}]})["containers"]) == ["app"]
    env = [{"$patch": "replace"}, {"name": "ONLY"}]
    assert merged(SPEC, {"containers": [{"name": "app", "env": env}]})["containers"][0]["env"] == [{"name": "ONLY"}]
    assert merged(SPEC, {"nodeSelector": {"$patch": "replace", "only": "this"}})["nodeSelector"] == {"only": "this"}
    assert merged(SPEC, {"nodeSelector": {"$patch": "delete"}})["nodeSelector"] == {}
    assert "nodeSelector" not in merged(SPEC, {"nodeSelector": None})


def test_retained_keys_drop_the_others() -> None:
    volume = {"name": "v1", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/h"}}
    assert merged(SPEC, {"volumes": [volume]})["volumes"][0] == {"name": "v1", "hostPath": {"path": "/h"}}


def test_primitive_lists_merge_as_sets() -> None:
    pod = {"metadata": {"finalizers": ["x/1", "x/2", "x/3"]}}

    def patched(**metadata: Any) -> list[str]:
        made: list[str] = patches.strategic_merge(POD, pod, {"metadata": metadata})["metadata"]["finalizers"]
        return made

    assert patched(finalizers=["x/9", "x/2"]) == ["x/9", "x/1", "x/2", "x/3"]
    assert patched(finalizers=["x/9"]) == ["x/9", "x/1", "x/2", "x/3"]
    assert patched(**{"$deleteFromPrimitiveList/finalizers": ["x/2"]}) == ["x/1", "x/3"]


def test_directives_are_never_stored() -> None:
    fresh = {
        "name": "n",
        "image": "i",
        "env": [{"name": "A"}, {"$patch": "delete", "name": "B"}],
        "$retainKeys": ["name", "image", "env"],
    }
    made = merged(SPEC, {"containers": [fresh], "affinity": {"$patch": "merge", "nodeAffinity": {"$patch": "replace"}}})
    assert "$" not in str(made)


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({"containers": [{"image": "no name"}]}, Invalid),
        ({"containers": ["text"]}, BadRequest),
        ({"containers": [{"$patch": "explode", "name": "app"}]}, BadRequest),
        ({"nodeSelector": {"$patch": "explode"}}, BadRequest),
        ({"$setElementOrder/containers": [{"name": "app"}], "containers": [{"name": "zeta"}]}, BadRequest),
        ({"$setElementOrder/containers": "app"}, BadRequest),
        ({"$deleteFromPrimitiveList/x": "a"}, BadRequest),
        ({"volumes": [{"name": "v1", "$retainKeys": ["name"], "hostPath": {"path": "/h"}}]}, BadRequest),
    ],
)
def test_a_malformed_directive_is_refused(patch: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        merged(SPEC, patch)


@given(objects(POD, depth=3))
def test_an_empty_strategic_patch_changes_nothing(pod: dict[str, Any]) -> None:
    assert patches.strategic_merge(POD, pod, {}) == pod
