from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadRequest
from shared.objects import decoding, registry, schema
from shared.objects.registry import Resource
from tests.unit.shared.objects.schema_objects import objects

KINDS = [one.schema for one in registry.all_resources()]
MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"


def served(kind: str, api_version: str = "v1") -> Resource:
    found = registry.by_kind(api_version, kind)
    assert found is not None
    return found


def conformed(kind: str, obj: dict[str, Any], api_version: str = "v1") -> dict[str, Any]:
    decoding.prune(served(kind, api_version), obj)
    return obj


def test_unknown_fields_are_named_with_their_place_and_dropped() -> None:
    pod = {
        "spec": {"containers": [{"name": "a", "imag": "x"}], "hots": 1},
        "Spec": {},
        "metadata": {"labels": {"any": "y"}},
    }
    messages = ['unknown field "spec.containers[0].imag"', 'unknown field "spec.hots"', 'unknown field "Spec"']
    assert decoding.unknown_fields(served("Pod"), pod) == messages
    decoding.prune(served("Pod"), pod)
    assert decoding.unknown_fields(served("Pod"), pod) == []
    assert pod["spec"] == {"containers": [{"name": "a", "resources": {}}]}


@pytest.mark.parametrize(
    ("kind", "obj", "complaint"),
    [
        ("ConfigMap", {"data": {"k": 5}}, "cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        (
            "ConfigMap",
            {"data": ["a"]},
            "cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            "Pod",
            {"spec": {"containers": [{"ports": "80"}]}},
            "cannot unmarshal string into Go struct field Container.spec.containers.ports of type []v1.ContainerPort",
        ),
        (
            "Pod",
            {"spec": {"containers": [{"ports": [{"containerPort": 1.5}]}]}},
            "number 1.5 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            "Pod",
            {"spec": {"hostNetwork": "true"}},
            "cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            "Pod",
            {"spec": {"priority": 2**31}},
            "number 2147483648 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "Pod",
            {"spec": {"priority": True}},
            "cannot unmarshal bool into Go struct field PodSpec.spec.priority of type int32",
        ),
        ("Service", {"spec": {"ports": [{"targetPort": True}]}}, "ServicePort.spec.ports.targetPort of type int32"),
        (
            "ConfigMap",
            {"metadata": "text"},
            "cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        ("ConfigMap", {"metadata": {"creationTimestamp": "soon"}}, 'parsing time "soon" as'),
        ("Secret", {"data": {"k": "not base64"}}, "illegal base64 data at input byte 3"),
        (
            "Pod",
            {"spec": {"containers": [{"resources": {"limits": {"cpu": True}}}]}},
            "quantities must match the regular expression",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_gos_words(kind: str, obj: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoding.prune(served(kind), obj)
    assert caught.value.message.startswith(f'{kind} in version "v1" cannot be handled as a {kind}: ')
    assert complaint in caught.value.message


def test_a_micro_time_is_parsed_with_its_own_layout() -> None:
    with pytest.raises(BadRequest, match=MICRO_LAYOUT):
        decoding.prune(served("Lease", "coordination.k8s.io/v1"), {"spec": {"renewTime": "yesterday"}})


def test_nulls_and_omitted_zero_values_go_away() -> None:
    pod = conformed(
        "Pod",
        {
            "metadata": {"name": "p", "creationTimestamp": None, "labels": {}},
            "spec": {"hostNetwork": False, "volumes": []},
        },
    )
    assert pod == {"metadata": {"name": "p"}, "spec": {}, "status": {}}


def test_explicit_zeros_of_pointer_fields_stay() -> None:
    spec = {"replicas": 0, "revisionHistoryLimit": 0, "minReadySeconds": 0}
    assert conformed("Deployment", {"spec": spec}, "apps/v1")["spec"] == {
        "replicas": 0,
        "revisionHistoryLimit": 0,
        "strategy": {},
        "template": {"metadata": {}, "spec": {}},
    }


def test_values_are_brought_into_canonical_form() -> None:
    pod = conformed(
        "Pod", {"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Ki"}}}]}}
    )
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Mi"}
    event = {"metadata": {}, "firstTimestamp": "2026-01-01T01:00:00.5+01:00"}
    assert conformed("Event", event)["firstTimestamp"] == "2026-01-01T00:00:00Z"


def test_null_elements_become_zero_values() -> None:
    assert conformed("ConfigMap", {"data": {"a": None}})["data"] == {"a": ""}


@given(st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), objects(kind))))
def test_conforming_twice_changes_nothing(drawn: tuple[schema.Struct, dict[str, Any]]) -> None:
    kind, obj = drawn
    assert decoding.conform(kind, obj) == []
    once = dict(obj)
    decoding.conform(kind, obj)
    assert obj == once


@given(
    st.sampled_from(KINDS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["metadata", "spec", "status", "containers", "name", "labels", "data", "template", "ports"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    ),
)
def test_any_json_is_either_conformed_or_refused(kind: schema.Struct, value: Any) -> None:
    obj = value if isinstance(value, dict) else {"spec": value}
    try:
        decoding.conform(kind, obj)
    except BadRequest:
        return
    assert decoding.conform(kind, obj) == []


def test_a_missing_kind_and_version_are_filled_in() -> None:
    obj: dict[str, Any] = {}
    decoding.claim_kind(served("Deployment", "apps/v1").schema, obj)
    assert obj == {"apiVersion": "apps/v1", "kind": "Deployment"}


@pytest.mark.parametrize(
    ("obj", "complaint"),
    [
        ({"apiVersion": "v1", "kind": "Secret"}, "cannot be handled as a ConfigMap"),
        ({"apiVersion": "v2", "kind": "ConfigMap"}, 'no kind "ConfigMap" is registered for version "v2"'),
        ({"apiVersion": "v1", "kind": "Gadget"}, 'no kind "Gadget" is registered'),
        ({"kind": 5}, "cannot unmarshal number"),
    ],
)
def test_a_body_of_another_kind_is_refused(obj: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoding.claim_kind(served("ConfigMap").schema, obj)
    assert complaint in caught.value.message


def test_the_strict_error_lists_every_message() -> None:
    error = decoding.strict_error(served("Pod").schema, ['duplicate field "a"', 'unknown field "b"'])
    assert error.message == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: duplicate field "a", unknown field "b"'
    )
