"""Server-side apply, in the situations that were observed on the real server."""

from typing import Any

import pytest

from shared.errors import ApiError, BadRequest, Conflict
from shared.objects import managed
from tests.unit.shared.objects.managed.managed_objects import EARLY, LATE, Managed


@pytest.fixture
def config() -> Managed:
    return Managed("ConfigMap")


@pytest.fixture
def template() -> Managed:
    return Managed("Deployment", "apps/v1")


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers), **spec}}}}


def containers(template: Managed) -> list[dict[str, Any]]:
    assert template.live is not None
    found: list[dict[str, Any]] = template.live["spec"]["template"]["spec"].get("containers", [])
    return found


def test_the_applier_owns_the_leaves_of_what_it_says(config: Managed) -> None:
    config.apply("alpha", {"metadata": {"labels": {"l": "v"}}, "data": {"a": "1"}})
    assert config.fields == {"alpha": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}}


def test_applying_the_same_again_changes_nothing(config: Managed) -> None:
    config.apply("alpha", {"data": {"a": "1"}})
    before = config.entries
    config.apply("alpha", {"data": {"a": "1"}}, now=LATE)
    assert config.entries == before


def test_another_value_is_a_conflict_that_names_the_owner(config: Managed) -> None:
    config.apply("alpha", {"data": {"k": "1", "z": "1"}})
    with pytest.raises(Conflict) as caught:
        config.apply("beta", {"data": {"k": "2"}})
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "alpha": .data.k'
    assert caught.value.details == {
        "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "alpha"', "field": ".data.k"}]
    }


def test_conflicts_with_several_managers_are_listed_by_manager(config: Managed) -> None:
    config.apply("beta", {"data": {"k": "2"}})
    config.update("editor", {"data": {"k": "2", "n": "new", "z": "patched"}})
    with pytest.raises(Conflict) as caught:
        config.apply("gamma", {"data": {"z": "mine", "n": "mine", "k": "9"}})
    assert caught.value.message == (
        'Apply failed with 3 conflicts: conflicts with "beta":\n- .data.k\n'
        'conflicts with "editor" using v1:\n- .data.n\n- .data.z'
    )


def test_conflicts_name_the_subresource(config: Managed) -> None:
    config.apply("alpha", {"data": {"k": "1"}}, subresource="status")
    with pytest.raises(Conflict, match=r'conflict with "alpha" with subresource "status": \.data\.k'):
        config.apply("beta", {"data": {"k": "2"}})


def test_force_takes_the_field(config: Managed) -> None:
    config.apply("alpha", {"data": {"k": "1", "z": "1"}})
    config.apply("beta", {"data": {"k": "2"}}, force=True)
    assert config.fields == {"alpha": {"f:data": {"f:z": {}}}, "beta": {"f:data": {"f:k": {}}}}
    assert config.live is not None
    assert config.live["data"] == {"k": "2", "z": "1"}


def test_agreeing_on_a_value_shares_it_without_a_time(config: Managed) -> None:
    config.create("editor", {"data": {"n": "new", "z": "patched"}})
    config.apply("gamma", {"data": {"z": "patched"}}, now=LATE)
    assert config.fields["gamma"] == {"f:data": {"f:z": {}}}
    assert config.fields["editor"]["f:data"] == {".": {}, "f:n": {}, "f:z": {}}
    assert (config.time("gamma"), config.time("editor")) == (None, EARLY)


def test_a_dropped_field_stays_while_another_owns_it(config: Managed) -> None:
    config.apply("alpha", {"data": {"s": "same", "a": "1"}})
    config.apply("beta", {"data": {"s": "same", "b": "2"}})
    config.apply("alpha", {"data": {"a": "1"}})
    assert config.live is not None
    assert config.live["data"] == {"a": "1", "b": "2", "s": "same"}
    config.apply("beta", {"data": {"b": "2"}})
    assert config.live["data"] == {"a": "1", "b": "2"}


def test_what_nobody_says_any_longer_goes_with_the_map_it_was_in(config: Managed) -> None:
    config.apply("alpha", {"metadata": {"labels": {"x": "1"}}, "data": {"a": "1"}})
    config.update("manual", {"data": {"a": "1", "m": "m"}})
    config.apply("alpha", {})
    assert config.live is not None
    assert config.live["data"] == {"m": "m"}
    assert "labels" not in config.live["metadata"]
    assert config.live["metadata"]["name"] == "o"
    assert config.fields == {"manual": {"f:data": {"f:m": {}}}}


def test_a_map_that_is_named_without_content_keeps_what_nobody_owns_in_it(template: Managed) -> None:
    template.create("maker", pod({"name": "a", "image": "i"}))
    template.apply("alpha", {"spec": {"strategy": {"type": "Recreate"}}}, force=True)
    assert template.live is not None
    template.live["metadata"]["managedFields"] = [one for one in template.entries if one["manager"] == "alpha"]
    template.apply("alpha", {"spec": {}})
    assert [one["name"] for one in containers(template)] == ["a"]
    assert template.live["spec"]["strategy"]["type"] == "RollingUpdate"


def test_list_elements_of_several_managers_live_side_by_side(template: Managed) -> None:
    template.apply("alpha", pod({"name": "a", "image": "i", "args": ["p"]}, nodeSelector={"d": "s"}))
    template.apply("beta", pod({"name": "b", "image": "i"}))
    assert [one["name"] for one in containers(template)] == ["a", "b"]
    spec = template.fields["alpha"]["f:spec"]["f:template"]["f:spec"]
    assert spec["f:nodeSelector"] == {}
    assert spec["f:containers"] == {'k:{"name":"a"}': {".": {}, "f:args": {}, "f:image": {}, "f:name": {}}}


def test_the_key_of_a_list_element_includes_published_defaults(template: Managed) -> None:
    template.apply("alpha", pod({"name": "a", "image": "i", "ports": [{"containerPort": 80, "name": "w"}]}))
    template.apply("gamma", pod({"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}))
    assert [(one.get("name", ""), one["protocol"]) for one in containers(template)[0]["ports"]] == [
        ("w", "TCP"),
        ("", "UDP"),
    ]
    container = template.fields["alpha"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"a"}']
    assert container["f:ports"] == {
        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:name": {}}
    }


def test_an_element_goes_with_its_defaults_when_its_only_applier_drops_it(template: Managed) -> None:
    template.apply("alpha", pod({"name": "a", "image": "i"}))
    template.apply("beta", pod({"name": "b", "image": "i"}))
    template.apply("beta", pod())
    assert [one["name"] for one in containers(template)] == ["a"]
    assert list(template.fields) == ["alpha"]


def test_an_element_keeps_its_defaults_when_another_applier_still_wants_it(template: Managed) -> None:
    template.apply("alpha", pod({"name": "a", "image": "i", "args": ["p"]}))
    template.apply("gamma", pod({"name": "a", "env": [{"name": "Y", "value": "2"}]}))
    template.apply("alpha", pod({"name": "a", "image": "i"}))
    (container,) = containers(template)
    assert "args" not in container
    assert container["env"] == [{"name": "Y", "value": "2"}]
    assert container["imagePullPolicy"] == "Always"


def test_atomic_values_conflict_as_a_whole(template: Managed) -> None:
    template.apply("alpha", pod({"name": "a", "args": ["p"]}))
    with pytest.raises(Conflict, match=r'\.spec\.template\.spec\.containers\[name="a"\]\.args'):
        template.apply("gamma", pod({"name": "a", "args": ["q"]}))


@pytest.mark.parametrize(
    ("live", "applied", "expected"),
    [
        ("abc", "b", "abc"),
        ("abc", "cb", "acb"),
        ("abcd", "dx", "abcdx"),
        ("ab", "xa", "xab"),
        ("abc", "xcy", "abxcy"),
        ("abcd", "cad", "bcad"),
        ("", "ba", "ba"),
    ],
)
def test_merged_lists_take_the_order_of_the_configuration(
    template: Managed, live: str, applied: str, expected: str
) -> None:
    template.create("maker", pod(*({"name": name, "image": "i"} for name in live)))
    template.apply("alpha", pod(*({"name": name, "image": "i", "tty": True} for name in applied)))
    assert "".join(one["name"] for one in containers(template)) == expected


def test_the_first_apply_gives_the_untracked_rest_to_before_first_apply(config: Managed) -> None:
    config.create("maker", {"data": {"a": "1", "z": "1"}})
    config.update("maker", {"metadata": {"managedFields": [{}]}})
    config.apply("alpha", {"data": {"q": "1"}})
    assert config.fields == {
        "alpha": {"f:data": {"f:q": {}}},
        "before-first-apply": {"f:data": {".": {}, "f:a": {}, "f:z": {}}},
    }


def test_null_and_empty_values_are_owned_but_wipe_nothing(config: Managed) -> None:
    config.create("maker", {"data": {"a": "1"}})
    config.apply("alpha", {"data": {}, "binaryData": None})
    assert config.live is not None
    assert config.live["data"] == {"a": "1"}
    assert config.fields["alpha"] == {"f:binaryData": {}, "f:data": {}}


def test_fields_that_a_path_resets_are_neither_owned_nor_contested() -> None:
    workload = Managed("Deployment", "apps/v1")
    ignored = managed.unowned("status")
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {}}
    workload.create("maker", {"spec": spec, "status": {"replicas": 1}})
    workload.apply("alpha", {"spec": {"replicas": 1}, "status": {"replicas": 5}}, ignored=ignored)
    assert workload.fields["alpha"] == {"f:spec": {"f:replicas": {}}}


def test_a_body_with_managed_fields_is_refused(config: Managed) -> None:
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        config.apply("m", {"metadata": {"managedFields": []}})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (pod({"name": "a"}, {"name": "a"}), '.spec.template.spec.containers: duplicate entries for key [name="a"]'),
        (
            pod({"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]}),
            '.spec.template.spec.containers[name="a"].ports: duplicate entries for key '
            '[containerPort=80,protocol="TCP"]',
        ),
        ({"nosuch": 1}, ".nosuch: field not declared in schema"),
        (pod(nodeName=5), ".spec.template.spec.nodeName: expected string, got &value.valueUnstructured{Value:5}"),
        (pod(hostNetwork="x"), ".spec.template.spec.hostNetwork: expected boolean, got string"),
        (pod(priority="x"), ".spec.template.spec.priority: expected numeric (int or float), got string"),
        (pod(tolerations=[{"nosuch": 1}]), ".spec.template.spec.tolerations[0].nosuch: field not declared in schema"),
        (
            {"one": 1, "two": 2},
            "errors:\n  .one: field not declared in schema\n  .two: field not declared in schema",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_its_type_is_refused(
    template: Managed, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ApiError) as caught:
        template.apply("m", fields)
    assert (caught.value.code, caught.value.reason) == (500, "")
    assert caught.value.message == f"failed to create typed patch object (/o; apps/v1, Kind=Deployment): {problem}"


LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def client_side_applied(config: Managed) -> None:
    text = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"o"},"data":{"a":"1","b":"1"}}\n'
    config.create("kubectl-client-side-apply", {"metadata": {"annotations": {LAST_APPLIED: text}}, "data": {"a": "1"}})


def test_kubectl_takes_over_from_client_side_apply_without_force(config: Managed) -> None:
    client_side_applied(config)
    config.apply("kubectl", {"data": {"a": "2"}})
    assert config.live is not None
    assert config.live["data"] == {"a": "2"}
    text = config.live["metadata"]["annotations"][LAST_APPLIED]
    assert text == '{"apiVersion":"v1","data":{"a":"2"},"kind":"ConfigMap","metadata":{"name":"o"}}\n'


def test_what_changed_since_client_side_apply_is_still_a_conflict(config: Managed) -> None:
    client_side_applied(config)
    config.update("editor", {"data": {"a": "3"}})
    with pytest.raises(Conflict, match=r'conflict with "editor" using v1: \.data\.a'):
        config.apply("kubectl", {"data": {"a": "2"}})


def test_only_kubectl_takes_over_from_client_side_apply(config: Managed) -> None:
    client_side_applied(config)
    with pytest.raises(Conflict):
        config.apply("flux", {"data": {"a": "2"}})


def test_applying_changes_neither_the_live_object_nor_the_configuration(template: Managed) -> None:
    template.apply("alpha", pod({"name": "a", "image": "i"}))
    before = repr(template.live)
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "o"},
        **pod({"name": "a", "image": "j", "env": [{"name": "X"}]}),
    }
    text = repr(body)
    by = managed.Manager("alpha", managed.APPLY, "apps/v1")
    managed.apply(template.resource.schema, template.live, body, by, LATE)
    assert (repr(template.live), repr(body)) == (before, text)
