"""The forms of the OpenAPI documents beside version 3's JSON: protobuf, and version 2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from shared.objects import json, openapi
from shared.objects.protobuf import wire


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of every field: bytes, or the number of a varint; doubles are passed over."""
    position = 0
    while position < len(message):
        tag, position = wire.read_varint(message, position)
        if tag & 7 == wire.BLOCK:
            start, position = wire.read_block(message, position, len(message))
            yield tag >> 3, message[start:position]
        elif tag & 7 == wire.VARINT:
            value, position = wire.read_varint(message, position)
            yield tag >> 3, value
        else:
            position = wire.skip(message, position, len(message), tag & 7)


def field(message: bytes, *path: int) -> bytes:
    """The first field at a path of numbers."""
    for number in path:
        message = next(value for found, value in fields(message) if found == number)
    return message


def entry(message: bytes, number: int, name: str) -> bytes:
    """The value of a named entry in a list of them."""
    found = (value for one, value in fields(message) if one == number and field(value, 1) == name.encode())
    return field(next(found), 2)


@pytest.fixture(scope="module")
def second() -> dict[str, Any]:
    return openapi.version2.document(map(openapi.document, openapi.index()["paths"]))


def test_the_index_names_the_lists_of_groups_and_the_version() -> None:
    assert {"api", "apis", "apis/apps", "version"} <= openapi.index()["paths"].keys()
    assert list(openapi.document("apis/apps")["paths"]) == ["/apis/apps/"]


def test_every_document_of_version_3_has_a_protobuf_form() -> None:
    for name in openapi.index()["paths"]:
        assert field(openapi.gnostic.encode_v3(openapi.document(name)), 1) == b"3.0.0"


def test_version_3_as_protobuf_holds_what_clients_look_for() -> None:
    message = openapi.gnostic.encode_v3(openapi.document("apis/apps/v1"))
    path = entry(field(message, 4), 1, "/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
    extensions = [value for number, value in fields(field(path, 10)) if number == 13]
    assert field(extensions[-1], 1) == b"x-kubernetes-group-version-kind"
    assert json.decode(field(extensions[-1], 2, 2), "application/json").object["kind"] == "Deployment"
    schemas = field(message, 5, 1)
    container = field(entry(schemas, 1, "io.k8s.api.core.v1.ContainerPort"), 1)
    protocol = field(entry(field(container, 31), 1, "protocol"), 1)
    assert field(protocol, 33, 3) == b"TCP"


def test_a_key_without_a_field_is_an_error_not_a_loss() -> None:
    with pytest.raises(TypeError, match="OpenAPI Info has no field for 'contact'"):
        openapi.gnostic.encode_v3({"info": {"contact": {}}})


def test_version_2_resolves_all_its_references(second: dict[str, Any]) -> None:
    text = json.encode(second).decode()
    assert "#/components" not in text
    assert set(re.findall(r"#/definitions/([\w.-]+)", text)) <= second["definitions"].keys()
    assert set(re.findall(r"#/parameters/([\w.-]+)", text)) <= second["parameters"].keys()


def test_version_2_gives_operations_their_media_types(second: dict[str, Any]) -> None:
    item = second["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]
    assert item["patch"]["consumes"] == [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ]
    assert item["get"]["produces"][0] == "application/json"
    assert item["put"]["parameters"][0] == {
        "name": "body",
        "in": "body",
        "required": True,
        "schema": {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"},
    }


def test_version_2_says_unions_as_strings(second: dict[str, Any]) -> None:
    quantity = second["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert quantity == {"type": "string"}


def test_version_2_as_protobuf_names_kinds_as_client_go_reads_them(second: dict[str, Any]) -> None:
    message = openapi.gnostic.encode_v2(second)
    assert field(message, 1) == b"2.0"
    pod = entry(field(message, 9), 1, "io.k8s.api.core.v1.Pod")
    assert field(pod, 22, 1) == b"object"
    extension = next(value for number, value in fields(pod) if number == 31)
    assert b'"kind": "Pod"' in field(extension, 2, 2)
