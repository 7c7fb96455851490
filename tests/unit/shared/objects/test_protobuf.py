import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadRequest, NotAcceptable
from shared.objects import decoding, groups, protobuf, registry, schema
from tests.unit.shared.objects.schema_objects import objects

KINDS = [
    *(one.schema for one in registry.all_resources()),
    *(schema.struct(f"meta/v1.{name}") for name in ("Status", "DeleteOptions")),
    *(schema.struct(name) for name in ("autoscaling/v1.Scale", "policy/v1.Eviction", "authentication/v1.TokenRequest")),
    *(one for name in groups.MODULES for one in schema.declared(name) if one.is_kind and one.name.startswith("C")),
]
POD = base64.b64decode(
    "azhzAAoJCgJ2MRIDUG9kEo4BCgcKBXByb3RvEoIBQgdkZWZhdWx0qAEAmgELd2lyZS1tYW51YWwSVQoDYXBwEhhyZWdpc3RyeS5leGFtcGxlL2FwcDox"
    "LjAyBxhQCgN3ZWI6BgoBQRIBYkIPEg0KA2NwdRIGCgQxMDBtWhIKEBIOCgEvEgkIARAAGgN3ZWIKDQoBdhIImgEFCgMKAWMgBRoAIgA="
)


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def block(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\0" + block(1, block(1, api_version.encode()) + block(2, kind.encode())) + block(2, raw)


def test_bytes_of_a_go_client_are_read() -> None:
    assert protobuf.decode(POD) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "proto"},
        "spec": {
            "serviceAccountName": "default",
            "automountServiceAccountToken": False,
            "schedulerName": "wire-manual",
            "containers": [
                {
                    "name": "app",
                    "image": "registry.example/app:1.0",
                    "ports": [{"containerPort": 80, "name": "web"}],
                    "env": [{"name": "A", "value": "b"}],
                    "resources": {"requests": {"cpu": "100m"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": "web"}},
                }
            ],
            "volumes": [{"name": "v", "configMap": {"name": "c"}}],
            "terminationGracePeriodSeconds": 5,
        },
    }


@given(st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), objects(kind))))
def test_what_is_encoded_is_decoded(drawn: tuple[schema.Struct, dict[str, Any]]) -> None:
    kind, obj = drawn
    decoding.conform(kind, obj)
    read = protobuf.decode(protobuf.encode(obj))
    decoding.conform(kind, read)
    assert without_empty(read) == without_empty(obj)


def without_empty(value: Any) -> Any:
    """Protobuf cannot tell an empty list or map from an absent one."""
    if isinstance(value, dict):
        return {key: made for key, item in value.items() if (made := without_empty(item)) not in ([], {})}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


def test_lists_hold_their_items() -> None:
    config_map = {"metadata": {"name": "one"}, "data": {"k": "v"}}
    listed = {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7"}, "items": [config_map]}
    assert protobuf.decode(protobuf.encode(listed)) == listed


def test_values_that_are_not_pointers_are_written_even_when_empty() -> None:
    encoded = protobuf.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}})
    assert block(1, b"one") + block(2, b"") in encoded


def test_options_belong_to_every_group_version() -> None:
    raw = b"\x08\x05" + block(2, block(1, b"some-uid")) + block(4, b"Orphan")
    assert protobuf.decode(body("apps/v1", "DeleteOptions", raw)) == {
        "apiVersion": "apps/v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 5,
        "preconditions": {"uid": "some-uid"},
        "propagationPolicy": "Orphan",
    }


def test_unknown_numbers_are_skipped_and_packed_numbers_read() -> None:
    strange = (
        block(999, b"x")
        + varint(998 << 3)
        + b"\x07"
        + varint(997 << 3 | 1)
        + bytes(8)
        + varint(996 << 3 | 5)
        + bytes(4)
    )
    groups_packed = block(14, block(4, b"\x01\x02"))
    made = protobuf.decode(body("v1", "Pod", strange + block(2, groups_packed)))
    assert made["spec"] == {"securityContext": {"supplementalGroups": [1, 2]}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"k8s\0" + block(1, b"\xff"),
        body("v1", "Gadget", b""),
        body("v1", "Pod", b"\x0a\xff\xff\xff\xff\x0f"),
        body("v1", "Pod", b"\x0a"),
        body("v1", "Pod", b"\x80" * 20),
        body("v1", "ConfigMap", block(1, block(1, b"\xff\xfe"))),
        body("v1", "Event", block(12, b"")[:-1] + b"\x7f"),
        body("v1", "Lease", b""),
        body("apps/v1", "ControllerRevision", block(2, block(1, b"{not json"))),
    ],
)
def test_a_malformed_body_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        protobuf.decode(data)


@given(st.sampled_from(["Pod", "Node", "Service", "Event"]), st.binary(max_size=40))
def test_no_bytes_make_it_fail_otherwise(kind: str, raw: bytes) -> None:
    try:
        made = protobuf.decode(body("v1", kind, raw))
    except BadRequest:
        return
    assert made["kind"] == kind


def test_a_kind_without_a_protobuf_form_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable):
        protobuf.encode({"apiVersion": "meta.k8s.io/v1", "kind": "Table"})


def test_a_watch_event_is_framed_by_its_length() -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    frame = protobuf.encode_watch_event("ADDED", obj)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:].startswith(block(1, b"ADDED"))
    assert frame.endswith(protobuf.encode(obj))
