"""Ownership by create and update."""

from typing import Any

import pytest

from shared.objects import managed
from shared.objects.managed import entries
from tests.unit.shared.objects.managed.managed_objects import EARLY, LATE, Managed


@pytest.fixture
def config() -> Managed:
    made = Managed("ConfigMap")
    made.create("creator", {"metadata": {"labels": {"l": "1"}}, "data": {"a": "1"}})
    return made


def test_the_creator_owns_what_it_wrote_with_maps_and_without_what_every_object_has(config: Managed) -> None:
    assert config.fields == {
        "creator": {"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}}
    }


def test_defaults_belong_to_the_creator_and_structs_that_are_always_there_to_nobody() -> None:
    deployment = Managed("Deployment", "apps/v1")
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    deployment.create("m", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
    spec = deployment.fields["m"]["f:spec"]
    assert spec["f:selector"] == {}
    assert spec["f:strategy"]["f:rollingUpdate"] == {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}
    assert "." not in spec["f:template"]
    containers = spec["f:template"]["f:spec"]["f:containers"]
    assert list(containers) == ['k:{"name":"c"}']
    assert containers['k:{"name":"c"}']["f:ports"] == {
        ".": {},
        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
    }
    assert containers['k:{"name":"c"}']["f:resources"] == {}


def test_an_update_takes_what_it_changes_and_ends_ownership_of_what_it_removes(config: Managed) -> None:
    config.update("putter", {"metadata": {"labels": None}, "data": {"a": "1", "b": "2"}})
    assert config.fields == {"creator": {"f:data": {".": {}, "f:a": {}}}, "putter": {"f:data": {"f:b": {}}}}
    config.update("putter", {"data": {"a": "changed", "b": "2"}})
    assert config.fields == {"creator": {"f:data": {}}, "putter": {"f:data": {"f:a": {}, "f:b": {}}}}


def test_an_object_whose_fields_all_went_is_untracked_from_then_on(config: Managed) -> None:
    config.update("wiper", {"metadata": {"labels": None}, "data": None})
    assert config.entries == []
    config.update("wiper", {"data": {"z": "1"}})
    assert config.entries == []


def test_a_write_without_change_returns_the_very_entries(config: Managed) -> None:
    assert config.live is not None
    live = config.live
    by = managed.Manager("other", managed.UPDATE, "v1")
    same = live | {"metadata": live["metadata"] | {"generation": 7, "resourceVersion": "9"}}
    assert managed.updated(config.resource.schema, live, same, by, LATE) is live["metadata"]["managedFields"]


def test_the_time_of_an_entry_moves_with_its_own_changes_only(config: Managed) -> None:
    config.update("other", {"data": {"a": "2"}}, LATE)
    assert (config.time("creator"), config.time("other")) == (EARLY, LATE)
    config.update("creator", {"metadata": {"labels": {"l": "2"}}}, LATE)
    assert config.time("creator") == LATE


def test_an_empty_entry_forgets_all_entries(config: Managed) -> None:
    config.update("m", {"metadata": {"managedFields": [{}]}})
    assert config.entries == []


def test_an_empty_list_in_a_body_means_an_empty_entry() -> None:
    body: dict[str, Any] = {"metadata": {"managedFields": []}}
    managed.keep_reset(body)
    assert body == {"metadata": {"managedFields": [{}]}}


def test_a_client_may_rewrite_the_entries(config: Managed) -> None:
    entry = {"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    config.update("m", {"metadata": {"managedFields": [entry | {"fieldsV1": {"f:data": {".": {}, "f:a": {}}}}]}})
    assert config.fields == {"kubectl": {"f:data": {".": {}, "f:a": {}}}}


@pytest.mark.parametrize(
    "broken",
    [{"operation": "Own"}, {"apiVersion": ""}, {"fieldsType": "V2"}, {"fieldsV1": {"data": {}}}],
)
def test_malformed_entries_of_a_client_are_ignored(config: Managed, broken: dict[str, object]) -> None:
    before = config.entries
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}
    config.update("m", {"metadata": {"managedFields": [entry | broken]}})
    assert config.entries == before


def test_a_subresource_owns_under_its_own_name_and_cannot_rewrite_entries() -> None:
    pod = Managed("Pod")
    pod.create("maker", {"spec": {"containers": [{"name": "c", "image": "i"}]}})
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    ignored = managed.unowned("spec")
    pod.update(
        "kubelet", {"status": status, "metadata": {"managedFields": [{}]}}, subresource="status", ignored=ignored
    )
    entry = next(one for one in pod.entries if one["manager"] == "kubelet")
    assert entry["subresource"] == "status"
    ready: dict[str, Any] = {".": {}, "f:status": {}, "f:type": {}}
    assert entry["fieldsV1"] == {"f:status": {"f:conditions": {".": {}, 'k:{"type":"Ready"}': ready}, "f:phase": {}}}
    assert "maker" in pod.fields


def test_fields_that_a_path_resets_change_no_owner() -> None:
    pod = Managed("Pod")
    pod.create("maker", {"spec": {"containers": [{"name": "c", "image": "i"}]}})
    before = pod.entries
    pod.update("other", {"status": {"phase": "Failed"}}, ignored=managed.unowned("status"))
    assert pod.entries == before


def test_the_order_of_a_keyed_list_is_no_change() -> None:
    pod = Managed("Pod")
    both = [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]
    pod.create("maker", {"spec": {"containers": both}})
    before = pod.entries
    pod.update("other", {"spec": {"containers": both[::-1]}})
    assert pod.entries == before


def test_elements_of_sets_have_owners_of_their_own(config: Managed) -> None:
    config.update("one", {"metadata": {"finalizers": ["x/a"]}})
    config.update("two", {"metadata": {"finalizers": ["x/a", "x/b"]}})
    assert config.fields["one"]["f:metadata"]["f:finalizers"] == {".": {}, 'v:"x/a"': {}}
    assert config.fields["two"]["f:metadata"]["f:finalizers"] == {'v:"x/b"': {}}


def test_a_repeated_list_element_is_owned_as_one() -> None:
    pod = Managed("Pod")
    variable = {"name": "X", "value": "1"}
    pod.create("maker", {"spec": {"containers": [{"name": "c", "image": "i", "env": [variable, variable]}]}})
    container = pod.fields["maker"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert container["f:env"] == {".": {}, 'k:{"name":"X"}': {}}
    pod.update("fixer", {"spec": {"containers": [{"name": "c", "image": "i", "env": [variable]}]}})
    fixed = pod.fields["fixer"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert fixed["f:env"] == {'k:{"name":"X"}': {".": {}, "f:name": {}, "f:value": {}}}


def test_the_oldest_updaters_beyond_ten_become_ancient_changes(config: Managed) -> None:
    for number in range(12):
        data = {f"k{one}": "1" for one in range(number + 1)} | {"a": "1"}
        config.update(f"m{number:02}", {"data": data}, f"2026-02-{number + 1:02}T00:00:00Z")
    names = [entry["manager"] for entry in config.entries]
    assert len(names) == entries.MAX_UPDATERS
    assert names[0] == "ancient-changes"
    assert config.fields["ancient-changes"]["f:data"] == {".": {}, "f:a": {}, "f:k0": {}, "f:k1": {}, "f:k2": {}}


def test_a_manager_is_named_by_the_client_or_by_its_user_agent() -> None:
    assert managed.manager_name("helm", "Go-http-client/2.0") == "helm"
    assert managed.manager_name("", "kubectl/v1.36 (linux)") == "kubectl"
    assert managed.manager_name("", "a\x00b/1") == "ab"
    assert managed.manager_name("", "x" * 200) == "x" * 128
    assert managed.manager_name("", "") == "unknown"
