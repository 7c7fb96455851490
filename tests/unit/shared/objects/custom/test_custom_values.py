"""Values against schemas: every keyword with Kubernetes' reason, words and field."""

from __future__ import annotations

from typing import Any

import pytest

from shared.objects.custom import defaulting, embedded, listtypes, pruning, structural, values
from shared.objects.custom.structural import MISSING


def complaints(schema: Any, value: Any, old: Any = MISSING) -> list[tuple[str, str, str]]:
    found = values.validate(structural.compile(schema), value, "x", old)
    return [(one.reason.removeprefix("FieldValue"), one.message, one.field) for one in found]


@pytest.mark.parametrize(
    ("schema", "value", "wanted"),
    [
        (
            {"type": "integer"},
            "a",
            ("TypeInvalid", 'Invalid value: "string": x in body must be of type integer: "string"'),
        ),
        ({"type": "string"}, None, ("TypeInvalid", 'Invalid value: "null": x in body must be of type string: "null"')),
        (
            {"type": "integer", "maximum": 3},
            4,
            ("Invalid", "Invalid value: 4: x in body should be less than or equal to 3"),
        ),
        (
            {"type": "number", "maximum": 3, "exclusiveMaximum": True},
            3,
            ("Invalid", "Invalid value: 3: x in body should be less than 3"),
        ),
        (
            {"type": "number", "multipleOf": 0.5},
            0.7,
            ("Invalid", "Invalid value: 0.7: x in body should be a multiple of 0.5"),
        ),
        ({"type": "string", "maxLength": 2}, "abc", ("TooLong", "Too long: may not be more than 2 bytes")),
        (
            {"type": "string", "pattern": "^a+$"},
            "b",
            ("Invalid", "Invalid value: \"b\": x in body should match '^a+$'"),
        ),
        (
            {"type": "string", "format": "date-time"},
            "b",
            ("TypeInvalid", 'Invalid value: "b": x in body must be of type date-time: "b"'),
        ),
        (
            {"type": "array", "items": {}, "minItems": 1},
            [],
            ("Invalid", "Invalid value: []: x in body should have at least 1 items"),
        ),
        ({"type": "array", "items": {}, "maxItems": 1}, [1, 2], ("TooMany", "Too many: 2: must have at most 1 items")),
        (
            {"type": "array", "items": {}, "uniqueItems": True},
            [1, 1],
            ("Invalid", "Invalid value: [1,1]: x in body shouldn't contain duplicates"),
        ),
        (
            {"type": "object", "minProperties": 1},
            {},
            ("Invalid", "Invalid value: {}: x in body should have at least 1 properties"),
        ),
        ({"type": "object", "maxProperties": 0}, {"a": 1}, ("TooMany", "Too many: 1: must have at most 0 items")),
        ({"type": "integer", "enum": [1, 2]}, 3, ("NotSupported", 'Unsupported value: 3: supported values: "1", "2"')),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            ("TypeInvalid", 'Invalid value: "boolean": x in body must be of type integer,string: "boolean"'),
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(schema: Any, value: Any, wanted: tuple[str, str]) -> None:
    assert complaints(schema, value) == [(*wanted, "x")]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number"}, 1),
        ({"type": "integer"}, 1.0),
        ({"type": "string", "nullable": True}, None),
        ({"type": "string", "format": "no-such-format"}, "anything"),
        ({"x-kubernetes-int-or-string": True}, "50%"),
        ({"x-kubernetes-preserve-unknown-fields": True}, [1, {"a": None}]),
        ({"type": "string", "maxLength": 1}, "é"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}),
        ({"type": "number", "multipleOf": 0.1}, 0.3),
        ({"type": "string", "enum": ["a"], "pattern": "a"}, "a"),
    ],
)
def test_a_value_that_fits_is_taken(schema: Any, value: Any) -> None:
    assert complaints(schema, value) == []


def test_an_integer_out_of_the_range_of_its_format_has_no_place() -> None:
    assert complaints({"type": "integer", "format": "int32"}, 2**31) == [
        ("Invalid", 'Invalid value: "": Checked value must be of type integer with format int32 in x', "<nil>")
    ]


def test_required_fields_and_fields_below_are_named_by_their_path() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {"l": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}}},
    }
    found = complaints(schema, {"l": [{"n": 1}, {"n": "2"}]})
    assert [(one[0], one[2]) for one in found] == [("Required", "x.a"), ("TypeInvalid", "x.l[1].n")]


def test_junctions_say_what_did_not_hold() -> None:
    one = {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert [message for _, message, _ in complaints(one, {"a": 1, "b": 2})] == [
        'Invalid value: "": "x" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    some = {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert complaints(some, {"b": 1}) == []
    assert "must validate at least one schema (anyOf)" in complaints(some, {})[0][1]
    every = {"type": "integer", "allOf": [{"minimum": 1}, {"maximum": 2}]}
    assert len(complaints(every, 3)) == 1
    never = {"type": "integer", "not": {"enum": [3]}}
    assert complaints(never, 3)[0][1:] == ('Invalid value: "": "x" must not validate the schema (not)', "<nil>")


def test_what_an_update_leaves_as_it_was_is_not_looked_at_again() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5}, "b": {"type": "integer"}}}
    assert complaints(schema, {"a": 1, "b": 2}, {"a": 1, "b": 1}) == []
    assert len(complaints(schema, {"a": 2, "b": 2}, {"a": 1, "b": 2})) == 1
    rows = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "minimum": 5}}},
    }
    old = [{"k": "a", "v": 1}, {"k": "b", "v": 6}]
    assert complaints(rows, [{"k": "b", "v": 7}, {"k": "a", "v": 1}], old) == []
    assert len(complaints(rows, [{"k": "c", "v": 1}], old)) == 1


def test_a_hostile_pattern_takes_no_time() -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert len(complaints(schema, "a" * 5000 + "b")) == 1


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "x"),
        ("uri", "https://example.com/a", "no scheme"),
        ("email", "a@example.com", "example.com"),
        ("hostname", "example.com", "-x-"),
        ("mac", "00:11:22:33:44:55", "00:11"),
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2024-02-29T00:00:00Z", "2024-02-29"),
        ("duration", "1h30m", "soon"),
        ("byte", "aGk=", "?"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "x"),
        ("isbn", "978-3-16-148410-0", "978-3-16-148410-1"),
        ("isbn10", "0-306-40615-2", "0-306-40615-3"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("ssn", "111-22-3333", "1-2-3"),
        ("hexcolor", "#fff", "#ggg"),
        ("rgbcolor", "rgb(1, 2, 3)", "rgb(1)"),
        ("k8s-short-name", "a-b", "A"),
        ("k8s-long-name", "a.b", "a..b"),
    ],
)
def test_a_format_is_checked(form: str, good: str, bad: str) -> None:
    schema = {"type": "string", "format": form}
    assert complaints(schema, good) == []
    assert complaints(schema, bad) != []


def test_lists_that_are_sets_or_maps_hold_an_element_once() -> None:
    tags = structural.compile({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"})
    assert [(one.message, one.field) for one in listtypes.duplicates(tags, ["a", "b", "a"], "t")] == [
        ('Duplicate value: "a"', "t[2]")
    ]
    rows = structural.compile(
        {
            "type": "object",
            "properties": {
                "r": {
                    "type": "array",
                    "items": {"type": "object"},
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                }
            },
        }
    )
    found = listtypes.duplicates(rows, {"r": [{"k": 1}, {"k": 2}, {"k": 1, "v": 3}]}, "")
    assert [(one.message, one.field) for one in found] == [('Duplicate value: {"k":1}', "r[2]")]


def test_pruning_drops_what_the_schema_does_not_know() -> None:
    schema = {
        "type": "object",
        "properties": {
            "known": {"type": "object", "properties": {"a": {"type": "string"}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "object": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {}}},
        },
    }
    obj: dict[str, Any] = {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "n"},
        "known": {"a": "1", "b": 2},
        "map": {"x": {"a": 1, "b": 2}},
        "list": [{"b": 1}],
        "free": {"z": 1},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": 1},
        "other": 1,
    }
    node = structural.compile(schema)
    assert pruning.prune(node, obj) == ["known.b", "list[0].b", "map.x.b", "object.status", "other"]
    assert obj["object"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    assert (obj["free"], obj["map"], obj["list"]) == ({"z": 1}, {"x": {"a": 1}}, [{}])
    assert pruning.prune(node, obj) == []


def test_embedded_objects_get_proper_metadata() -> None:
    node = structural.compile(
        {
            "type": "object",
            "properties": {
                "object": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "x-kubernetes-preserve-unknown-fields": True,
                }
            },
        }
    )
    obj: dict[str, Any] = {"metadata": {"name": "n", "x": 1}, "object": {"metadata": {"name": "p", "y": 1}}}
    assert pruning.coerce(node, obj) == ["metadata.x", "object.metadata.y"]
    assert obj["object"]["metadata"] == {"name": "p"}


def test_embedded_objects_must_say_what_they_are() -> None:
    template = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    node = structural.compile({"type": "object", "properties": {"t": {"type": "array", "items": template}}})
    value = {"t": [{"apiVersion": "v1", "kind": "Pod"}, {"kind": "No Kind"}, {"apiVersion": "a/b/c"}]}
    assert [one.field for one in embedded.complaints(node, value, "")] == [
        "t[1].apiVersion",
        "t[1].kind",
        "t[2].apiVersion",
        "t[2].kind",
    ]


def test_defaults_fill_what_is_absent_or_a_null_that_may_not_be() -> None:
    node = structural.compile(
        {
            "type": "object",
            "properties": {
                "a": {"type": "string", "default": "A"},
                "nullable": {"type": "string", "nullable": True, "default": "N"},
                "bare": {"type": "string"},
                "inner": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 1}}},
                "list": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"c": {"default": [1], "type": "array", "items": {"type": "integer"}}},
                    },
                },
            },
        }
    )
    obj: dict[str, Any] = {"a": None, "nullable": None, "bare": None, "list": [{}, {}]}
    defaulting.fill(node, obj)
    assert obj == {"a": "A", "nullable": None, "inner": {"b": 1}, "list": [{"c": [1]}, {"c": [1]}]}
    obj["list"][0]["c"].append(2)
    assert obj["list"][1]["c"] == [1]
    again = {**obj}
    defaulting.fill(node, again)
    assert again == obj
