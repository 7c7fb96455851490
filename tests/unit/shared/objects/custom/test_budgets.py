"""Rules that could cost too much on the largest objects are refused, at the same sizes as in Kubernetes."""

from __future__ import annotations

from typing import Any

import pytest

from shared.objects import cel
from shared.objects.cel import types
from shared.objects.cel.costs import LIST, Bound
from shared.objects.custom import budgets, definitions, structural
from shared.objects.validation.causes import Cause

TAGS = "s.properties[spec].properties[tags]"
GPU = "self.all(x, x.contains('gpu'))"


def schema(tags: dict[str, Any], rule: str = GPU, **more: Any) -> dict[str, Any]:
    listed = {"type": "array", "items": tags, "x-kubernetes-validations": [{"rule": rule}], **more}
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"tags": listed}}}}


def problems(made: dict[str, Any]) -> list[Cause]:
    return budgets.validate(structural.compile(made), "s")


@pytest.mark.parametrize(("length", "items"), [(16, 909_090), (63, 333_333), (253, 94_339), (1024, 24_154)])
def test_a_list_may_be_as_long_as_kube_apiserver_lets_it_be(length: int, items: int) -> None:
    # measured there: the largest maxItems that it accepts
    tags = {"type": "string", "maxLength": length}
    assert problems(schema(tags, maxItems=items)) == []
    (found,) = problems(schema(tags, maxItems=items + 1))
    assert found.field == f"{TAGS}.x-kubernetes-validations[0].rule"
    assert found.message.startswith("Forbidden: estimated rule cost exceeds budget by factor of 1.0000")


def test_without_bounds_everybody_is_told() -> None:
    found = [(one.field.removeprefix(TAGS), one.message) for one in problems(schema({"type": "string"}))]
    hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings"
    assert found == [
        (
            ".x-kubernetes-validations[0].rule",
            f"Forbidden: estimated rule cost exceeds budget by factor of more than 100x {hint} are declared)",
        ),
        (
            ".x-kubernetes-validations[0].rule",
            "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        ),
        (
            "s",
            "Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget "
            f"by factor of more than 100x {hint} are declared)",
        ),
    ]


def test_a_rule_on_items_counts_as_often_as_there_may_be_items() -> None:
    item = {"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]}
    bounded = {"type": "array", "maxItems": 100, "items": item}
    assert problems({"type": "object", "properties": {"a": bounded}}) == []
    many = bounded | {
        "maxItems": 1_000_000,
        "items": item
        | {"x-kubernetes-validations": [{"rule": "self.size() > 1 ? self == 'a' + 'b' : self.matches('^[a-z]*$')"}]},
    }
    found = problems({"type": "object", "properties": {"a": many}})
    assert [one.field for one in found] == ["s.properties[a].items.x-kubernetes-validations[0].rule"]


def test_a_message_has_a_budget_too() -> None:
    message = {"rule": "self.min < self.max", "messageExpression": "'min (' + string(self.min) + ')'"}
    fields = {"min": {"type": "integer"}, "max": {"type": "integer"}}
    found = problems({"type": "object", "properties": fields, "x-kubernetes-validations": [message]})
    assert found[0].message.startswith("Forbidden: estimated messageExpression cost exceeds budget by factor of more")
    fine = message | {"messageExpression": "'min (%d)'.format([self.min])"}
    assert problems({"type": "object", "properties": fields, "x-kubernetes-validations": [fine]}) == []


def test_what_was_accepted_once_stays_as_long_as_it_stays_the_same() -> None:
    def made(**more: Any) -> dict[str, Any]:
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema({"type": "string"}, **more)},
        }
        return {
            "metadata": {"name": "a.b.c"},
            "spec": {"group": "b.c", "names": {"plural": "a"}, "versions": [version]},
        }

    assert len(definitions.costs(made())) == 3
    assert definitions.costs(made(), made()) == []
    assert len(definitions.costs(made(minItems=1), made())) == 3


SELF = types.object_of(
    "self",
    {"n": types.INT, "t": types.STRING, "l": types.list_of(types.STRING), "m": types.map_of(types.STRING, types.INT)},
)
TEXT = Bound(100)
BOUNDS = Bound(fields={"n": Bound(), "t": TEXT, "l": Bound(10, TEXT), "m": Bound(20, Bound(), Bound())})


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        ("true", 0),
        ("self.n > 1", 3),
        ("has(self.n)", 1),
        ("self.n == 1 && self.t == 'abcdefghijk'", 2 + 2 + 2),
        ("self.t.contains('abcdefghijk')", 2 + 10 * 2),
        ("self.t.matches('^[a-z]{1,63}$')", 2 + 11 * 4),
        ("self.t + 'ab' == 'x'", 2 + 11 + 1),
        ("self.t in self.l", 2 + 2 + 10),
        ("self.t in self.m", 2 + 2 + 1),
        ("self.l.exists(x, x == 'a')", 2 + 10 * (4 + 2) + 1),
        ("self.l.exists_one(x, x == 'a')", 2 + 10 * (2 + 2) + 2),
        ("self.l.map(x, x + 'a').size() == 1", 2 + LIST + 10 * (12 + 1 + 11) + 1 + 1 + 1),
        ("self.l.filter(x, x != 'a').size() == 1", 2 + LIST + 10 * (13 + 2) + 1 + 1 + 1),
        ("self.m.all(k, self.m[k] > 0)", 2 + 20 * (3 + 2 + 1 + 1 + 1) + 1),
        ("self.n > 0 ? self.t == 'a' : true", 3 + 3),
        ("cel.bind(x, self.t, x == x)", LIST + 2 + 1 + 1 + 10),
        ("self.t.replace('a', 'bb').size() > 0", 2 + 20 + 1 + 1),
        ("sets.contains(self.l, ['a'])", 2 + LIST + 10 + 1),
        ("self.l.join(',').size() > 1", 2 + 101 + 1 + 1),
        ("type(self.n) == int", 2 + 1 + 1),
    ],
)
def test_costs_are_those_of_cel_go(expression: str, cost: int) -> None:
    assert cel.worst_cost(expression, {"self": SELF}, {"self": BOUNDS}) == cost
