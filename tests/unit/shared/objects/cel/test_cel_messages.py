"""Messages: objects of named types, as mutating policies write them."""

from __future__ import annotations

import pytest

from shared.objects import cel
from shared.objects.cel import CompilationError
from shared.objects.cel.types import DYN, INT, STRING, object_of, type_of

DECLARED = {
    "Object": type_of(DYN),
    "Patch": type_of(object_of("Patch", {"op": STRING, "value": DYN})),
    "given": DYN,
    "count": INT,
}


def test_a_message_is_written_field_by_field() -> None:
    program = cel.compile("Object.metadata{labels: {'a': given.x}, `odd-name`: [1], ?left: given.?none}", DECLARED)
    assert program.evaluate({"given": {"x": "y"}}) == {"labels": {"a": "y"}, "odd-name": [1]}


def test_a_message_may_stand_anywhere() -> None:
    program = cel.compile("[1, 2].map(n, Patch{op: 'add', value: n})", DECLARED)
    assert program.evaluate({}) == [{"op": "add", "value": 1}, {"op": "add", "value": 2}]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("Unknown{a: 1}", "undeclared reference to 'Unknown'"),
        ("given{a: 1}", "undeclared reference to 'given'"),
        ("Patch{opp: 'add'}", "undefined field 'opp'"),
        ("Patch{op: count}", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("Object{a 1}", "mismatched input"),
    ],
)
def test_a_message_must_be_of_a_known_type(expression: str, why: str) -> None:
    with pytest.raises(CompilationError, match=why.replace("'", ".")):
        cel.compile(expression, DECLARED)


def test_keys_are_escaped_for_pointers() -> None:
    assert cel.compile("jsonpatch.escapeKey('a/b~c')", {}).evaluate({}) == "a~1b~0c"
