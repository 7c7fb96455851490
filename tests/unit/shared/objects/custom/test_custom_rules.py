"""x-kubernetes-validations: what rules see, when they run, and what they say."""

from __future__ import annotations

from typing import Any

import pytest

from shared.objects.custom import rules, ruling, structural
from shared.objects.custom.cel_types import escape
from shared.objects.custom.structural import MISSING


def schema_of(properties: dict[str, Any], *given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "x-kubernetes-validations": list(given), **more}


def run(schema: dict[str, Any], value: Any, old: Any = MISSING) -> list[tuple[str, str]]:
    obj = {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, **value}
    before = old if old is MISSING else {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, **old}
    return [(one.message, one.field) for one in rules.check(structural.compile(schema), obj, before)]


def rule(text: str, **more: Any) -> dict[str, Any]:
    return {"rule": text, **more}


@pytest.mark.parametrize(
    ("properties", "text", "value"),
    [
        ({"n": {"type": "integer"}}, "self.n == 1", {"n": 1}),
        ({"n": {"type": "number"}}, "self.n == 1.0", {"n": 1}),
        (
            {"a-b": {"type": "integer"}, "namespace": {"type": "string"}},
            "self.a__dash__b == 1 && self.__namespace__ == 'x'",
            {"a-b": 1, "namespace": "x"},
        ),
        (
            {"t": {"type": "string", "format": "date-time"}},
            "self.t.getFullYear() == 2024",
            {"t": "2024-01-01T00:00:00Z"},
        ),
        ({"d": {"type": "string", "format": "duration"}}, "self.d < duration('2h')", {"d": "90m"}),
        ({"b": {"type": "string", "format": "byte"}}, "self.b == b'hi'", {"b": "aGk="}),
        (
            {"p": {"x-kubernetes-int-or-string": True}},
            "type(self.p) == string ? self.p == '50%' : self.p < 3",
            {"p": "50%"},
        ),
        (
            {"m": {"type": "object", "additionalProperties": {"type": "integer"}}},
            "self.m.all(k, self.m[k] > 0)",
            {"m": {"a": 1}},
        ),
        (
            {"s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}},
            "self.s == ['b', 'a'] && (self.s + ['a']).size() == 2",
            {"s": ["a", "b"]},
        ),
        ({"o": {"type": "string"}}, "!has(self.o) && self.metadata.name == 'n' && self.kind == 'K'", {}),
        ({"q": {"type": "string"}}, "isQuantity(self.q) && quantity(self.q).isLessThan(quantity('2Gi'))", {"q": "1Gi"}),
        (
            {"l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}}},
            "self.l.map(e, e.x).sum() == 3",
            {"l": [{"x": 1}, {"x": 2}]},
        ),
        (
            {"o": {"type": "object", "properties": {"i": {"type": "string"}}}},
            "self.?o.?i.orValue('none') == 'none'",
            {},
        ),
    ],
)
def test_rules_see_values_with_the_types_of_the_schema(properties: Any, text: str, value: Any) -> None:
    schema = schema_of(properties, rule(text))
    assert ruling.validate(structural.compile(schema), "p") == []
    assert run(schema, value) == []


def test_a_rule_that_does_not_hold_says_so_where_it_stands() -> None:
    inner = {"type": "integer", "x-kubernetes-validations": [rule("self < 3", message="too large")]}
    schema = schema_of({"list": {"type": "array", "items": inner}}, rule("size(self.list) < 2 "))
    assert run(schema, {"list": [1, 5]}) == [
        ('Invalid value: "object": failed rule: size(self.list) < 2', "<nil>"),
        ('Invalid value: "integer": too large', "list[1]"),
    ]


def test_reason_field_path_and_message_expression() -> None:
    schema = schema_of(
        {"a": {"type": "object", "properties": {"x-y": {"type": "integer"}}}},
        rule(
            "self.a.x__dash__y < 3",
            reason="FieldValueForbidden",
            fieldPath=".a['x-y']",
            messageExpression="'not ' + string(self.a.x__dash__y)",
        ),
        rule("false", reason="FieldValueRequired", message="must be there"),
        rule("false", reason="FieldValueDuplicate", messageExpression="''", message="fallback"),
    )
    found = rules.check(structural.compile(schema), {"metadata": {}, "a": {"x-y": 4}})
    assert [(one.reason, one.message, one.field) for one in found] == [
        ("FieldValueForbidden", "Forbidden: not 4", "a.x-y"),
        ("FieldValueRequired", "Required value: must be there", "<nil>"),
        ("FieldValueDuplicate", 'Duplicate value: "object"', "<nil>"),
    ]


def test_transition_rules_run_only_where_there_was_something_before() -> None:
    schema = schema_of(
        {"n": {"type": "integer", "x-kubernetes-validations": [rule("self >= oldSelf", message="shrinks")]}}
    )
    assert run(schema, {"n": 1}) == []
    assert run(schema, {"n": 1}, {}) == []
    assert run(schema, {"n": 1}, {"n": 2}) == [('Invalid value: "integer": shrinks', "n")]
    assert run(schema, {"n": 3}, {"n": 2}) == []


def test_elements_of_map_lists_are_compared_with_what_they_were() -> None:
    row = schema_of({"k": {"type": "string"}, "v": {"type": "integer"}}, rule("self.v >= oldSelf.v", message="shrinks"))
    rows = {"type": "array", "items": row, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    schema = {"type": "object", "properties": {"rows": rows}}
    old = {"rows": [{"k": "a", "v": 5}, {"k": "b", "v": 5}]}
    new = {"rows": [{"k": "c", "v": 1}, {"k": "b", "v": 4}, {"k": "a", "v": 6}]}
    assert run(schema, new, old) == [('Invalid value: "object": shrinks', "rows[1]")]


def test_an_optional_old_self_runs_on_creation_too() -> None:
    given = rule("oldSelf.hasValue() || self == 'new'", optionalOldSelf=True, message="begin with new")
    schema = schema_of({"s": {"type": "string", "x-kubernetes-validations": [given]}})
    assert ruling.validate(structural.compile(schema), "p") == []
    assert run(schema, {"s": "old"}) == [('Invalid value: "string": begin with new', "s")]
    assert run(schema, {"s": "new"}) == []
    assert run(schema, {"s": "old"}, {"s": "new"}) == []


def test_what_did_not_change_is_not_judged_again() -> None:
    schema = schema_of(
        {"n": {"type": "integer", "x-kubernetes-validations": [rule("self < 3")]}, "m": {"type": "integer"}}
    )
    assert run(schema, {"n": 5, "m": 2}, {"n": 5, "m": 1}) == []
    assert run(schema, {"n": 6}, {"n": 5}) != []


def test_a_rule_that_fails_to_evaluate_refuses() -> None:
    schema = schema_of(
        {"m": {"type": "object", "additionalProperties": {"type": "string"}}}, rule("self.m['x'] == 'a'")
    )
    assert run(schema, {"m": {}}) == [
        ("Invalid value: \"object\": no such key: x evaluating rule: self.m['x'] == 'a'", "<nil>")
    ]


def test_costly_rules_are_stopped() -> None:
    text = "self.l.all(a, self.l.all(b, self.l.all(c, self.l.all(d, true))))"
    schema = schema_of({"l": {"type": "array", "items": {"type": "integer"}}}, rule(text))
    found = run(schema, {"l": list(range(300))})
    assert "call cost exceeds limit" in found[0][0]
    assert "running out of cost budget" in found[-1][0]


@pytest.mark.parametrize(
    ("given", "message", "field"),
    [
        (rule("self.x == 1"), "undefined field 'x'", "rule"),
        (rule("self.n"), "cel expression must evaluate to a bool", "rule"),
        (rule("self.n =="), "Syntax error", "rule"),
        (rule(" "), "rule is not specified", "rule"),
        (rule("true", message=" "), "message must be non-empty if specified", "message"),
        (rule("true", message="a\nb"), "message must not contain line breaks", "message"),
        (rule("true\n&& true"), "message must be specified if rule contains line breaks", "message"),
        (rule("true", messageExpression="1"), "messageExpression must evaluate to a string", "messageExpression"),
        (rule("true", reason="Nothing"), "Unsupported value", "reason"),
        (rule("true", fieldPath=".x"), "does not refer to a valid field", "fieldPath"),
        (rule("true", fieldPath="n"), "expected [ or .", "fieldPath"),
        (rule("true", optionalOldSelf=True), "may not be set if oldSelf is not used in rule", "optionalOldSelf"),
    ],
)
def test_a_rule_that_could_not_run_is_refused_with_its_definition(given: Any, message: str, field: str) -> None:
    found = ruling.validate(structural.compile(schema_of({"n": {"type": "integer"}}, given)), "p")
    assert [one.field for one in found] == [f"p.x-kubernetes-validations[0].{field}"]
    assert message in found[0].message


def test_old_self_needs_elements_that_can_be_told_apart() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [rule("self == oldSelf")]}
    schema = {"type": "object", "properties": {"l": {"type": "array", "items": item}}}
    found = ruling.validate(structural.compile(schema), "spec.validation.openAPIV3Schema")
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within properties[l]" in found[0].message


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a", "a"),
        ("a-b", "a__dash__b"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("a__b", "a__underscores__b"),
        ("in", "__in__"),
        ("ü", None),
    ],
)
def test_names_are_escaped(name: str, escaped: str | None) -> None:
    assert escape(name) == escaped
