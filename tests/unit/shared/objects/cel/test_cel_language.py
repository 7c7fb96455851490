"""The language: values, macros, type checking, errors, and Google's own implementation as a second opinion."""

from __future__ import annotations

from typing import Any

import pytest
from cel_expr_python import cel as google
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from shared.objects import cel
from shared.objects.cel.types import BOOL, DYN, INT, STRING, list_of, map_of, object_of
from shared.objects.cel.values import CelOptional, Duration, Timestamp, TypeValue

DATA: dict[str, Any] = {
    "a": 1,
    "b": "text",
    "list": [3, 1, 2],
    "map": {"x": 1, "y": 2},
    "none": None,
    "deep": {"er": {"est": True}},
    "ratio": 0.5,
    "only": {"a": 1.0},
}

SAME_AS_GOOGLE = [
    "self.a + 2 * 3 - 4 / 2 % 2",
    "-7 / 2 + -7 % 2",
    "!(self.a > 1) && (self.b != 'x' || false)",
    "self.b.size() + size(self.list) + size(self.map)",
    "self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.exists_one(x, x == 3)",
    "self.list.map(x, x * 2)",
    "self.list.map(x, x > 1, x * 2)",
    "self.list.filter(x, x >= 2)",
    "self.map.all(k, self.map[k] > 0)",
    "'x' in self.map && !('z' in self.map) && 3 in self.list",
    "has(self.none) && !has(self.missing) && self.none == null",
    "self.missing == 1 || true",
    "false && self.missing == 1",
    "self.a == 1 ? 'one' : 'other'",
    "self.ratio < 1 && self.a <= 1.5",
    "self.a == 1.0 && dyn(1u) == 1",
    "[1, 2] + [3] == [1, 2, 3] && {'a': 1} == self.only",
    "type(self.a) == int && type('') == string && type(null) == null_type",
    "int('42') + int(3.9) + int(-3.9) + int(7u)",
    "double('2.5') + double(1)",
    "string(1) + string(2.5) + string(true) + string(1.0)",
    "string(b'abc') == 'abc' && bytes('é') == b'\\xc3\\xa9'",
    "'\\u00e9\\n\\x41\\101'",
    r"r'\d' + '''a'b'''",
    "'abc'.startsWith('a') && 'abc'.endsWith('bc') && 'abc'.contains('b') && 'abc'.matches('^a.c$')",
    "0x1F + 10",
    "duration('1h30m').getMinutes()",
    "duration('90s') == duration('1m30s')",
    "timestamp('2024-02-29T12:30:45.5Z').getMilliseconds()",
    "timestamp('2024-02-29T12:30:45Z').getDayOfWeek()",
    "timestamp('2024-02-29T12:30:45Z').getDayOfYear('+02:00')",
    "timestamp('2024-02-29T12:30:45Z') + duration('24h') > timestamp('2024-03-01T00:00:00Z')",
    "(timestamp('2024-03-01T00:00:00Z') - timestamp('2024-02-29T00:00:00Z')).getHours()",
    "string(duration('90s')) + string(timestamp('2024-02-29T12:30:45Z'))",
    "self.deep.er.est",
    "self.?missing.orValue(5)",
    "self.deep.?er.?est.hasValue()",
    "self.list[?7].orValue(9) + self.list[0]",
    "{?'a': optional.none(), 'b': 1}",
    "[?optional.of(1), 2]",
    "optional.of(4).optMap(x, x + 1).value()",
    "'hello world'.indexOf('o') + 'hello world'.lastIndexOf('o') + 'hello'.indexOf('l', 3)",
    "'Tacocat'.lowerAscii().reverse() + 'x'.upperAscii()",
    "'a-b-c'.replace('-', '+', 1) + 'hello'.substring(1, 3) + 'hello'.charAt(4)",
    "'a,b,c'.split(',') + 'a,b,c'.split(',', 2)",
    "['a', 'b'].join('-') + '  trim '.trim()",
    "'%s is %d years, %.1f, %x, %e'.format(['x', 3, 2.25, 255, 1234.5])",
    "'%s %s %s'.format([[1, 'a'], {'k': true}, null])",
    "math.greatest(1, 5, 3) + math.least(4, 2)",
    "math.abs(-3) + math.sign(-2)",
    "math.ceil(1.2) + math.floor(-1.2) + math.round(2.5) + math.trunc(-1.9)",
    "cel.bind(twice, self.a + self.a, twice * twice)",
    "base64.encode(b'hello') + string(base64.decode('aGVsbG8='))",
    "strings.quote('a\"b')",
    "1 == 1 && 'é'.size() == 1",
    "[[1, 2], [3]].all(inner, inner.exists(x, x % 1 == 0))",
]


def _google(expression: str) -> Any:
    extensions = [
        ext_optional.ExtOptional(),
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
    ]
    environment = google.NewEnv(variables={"self": google.Type.DYN}, extensions=extensions)
    return environment.compile(expression).eval(data={"self": DATA}).plain_value()


def evaluate(expression: str, **bindings: Any) -> Any:
    return cel.compile(expression, dict.fromkeys(bindings, DYN)).evaluate(bindings)


@pytest.mark.parametrize("expression", SAME_AS_GOOGLE)
def test_an_expression_gives_what_googles_implementation_gives(expression: str) -> None:
    assert evaluate(expression, self=DATA) == _google(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 + 'a'", "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.size > ", "ERROR: <input>:1:13: Syntax error: mismatched input '<EOF>' expecting"),
        ("nobody", "ERROR: <input>:1:1: undeclared reference to 'nobody' (in container '')"),
        ("nothing(1)", "ERROR: <input>:1:8: undeclared reference to 'nothing' (in container '')"),
        ("'a'.nothing()", "ERROR: <input>:1:12: undeclared reference to 'nothing' (in container '')"),
        ("'a'.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("1.5 == 1", "found no matching overload for '_==_' applied to '(double, int)'"),
        ("'a'.x", "type 'string' does not support field selection"),
        ("1.all(x, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("has(self)", "invalid argument to has() macro"),
        ("[1].all(1, true)", "argument must be a simple name"),
        ("for", "reserved identifier: for"),
        ("'abc", "token recognition error at: ''abc'"),
        ("1 # 2", "token recognition error at: '#'"),
        ("'\\z'", "invalid escape sequence"),
        ("9" * 5000, "invalid int literal"),
        ("(1", "mismatched input '<EOF>' expecting ')'"),
    ],
)
def test_a_mistake_is_named_with_its_place(expression: str, message: str) -> None:
    with pytest.raises(cel.CompilationError) as caught:
        cel.compile(expression, {"self": DYN})
    assert message in str(caught.value)


def test_an_issue_points_at_its_column_of_its_line() -> None:
    with pytest.raises(cel.CompilationError) as caught:
        cel.compile("true &&\n  nobody", {})
    assert str(caught.value) == (
        "ERROR: <input>:2:3: undeclared reference to 'nobody' (in container '')\n |   nobody\n | ..^"
    )


def test_all_issues_are_reported_together() -> None:
    with pytest.raises(cel.CompilationError) as caught:
        cel.compile("x + y", {})
    assert [one.at for one in caught.value.issues] == [0, 4]


def test_fields_of_an_object_type_are_known() -> None:
    kind = object_of("object", {"replicas": INT, "names": list_of(STRING), "labels": map_of(STRING, STRING)})
    assert cel.compile("self.replicas > 1 && self.names.all(n, n != '')", {"self": kind}).type == BOOL
    for wrong in ("self.replica > 1", "self.replicas == 'x'", "self.names.all(n, n > 1)", "self.labels['a'] == 1"):
        with pytest.raises(cel.CompilationError):
            cel.compile(wrong, {"self": kind})


def test_the_result_type_is_known() -> None:
    assert cel.compile("[1, 2].map(x, string(x))", {}).type == list_of(STRING)
    assert cel.compile("self.x", {"self": DYN}).type == DYN


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("[1, 2, 3].all(i, v, v == i + 1)", True),
        ("{'a': 1, 'b': 2}.exists(k, v, k == 'b' && v == 2)", True),
        ("[10, 20].existsOne(i, v, i == 1 && v == 20)", True),
        ("[1, 2, 3].transformList(i, v, i > 0, v * 10)", [20, 30]),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v + 1)", {"a": 2, "b": 3}),
        ("{'a': 'x', 'b': 'y'}.transformMapEntry(k, v, {v: k})", {"x": "a", "y": "b"}),
        ("[1, 2].all(x, [3].all(x, x == 3) && x < 3)", True),
        ("self.`a-b/c`", 7),
        ("type(self) == map", True),
        ("optional.none()", CelOptional(False)),
        ("string(duration('1.5s')) + string(timestamp('2024-02-29T12:30:45.25Z'))", "1.5s2024-02-29T12:30:45.25Z"),
        ("2u > 1 && 1 < 1.5 && 1u <= 1.0", True),
        ("duration('1m')", Duration(60 * 10**9)),
        ("timestamp(1)", Timestamp(10**9)),
        ("type(1)", TypeValue("int")),
        ("google.protobuf.Timestamp == type(timestamp(0))", True),
    ],
)
def test_what_kubernetes_adds_to_the_language(expression: str, value: Any) -> None:
    assert evaluate(expression, self={"a-b/c": 7}) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("self.x", "no such key: x"),
        ("self.list[5]", "index out of bounds: 5"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("int('x')", "invalid syntax"),
        ("self.a + 'x'", "no such overload"),
        ("self.none.x", "no such key: x"),
        ("timestamp('yesterday')", "cannot parse"),
        ("duration('1x')", "invalid duration"),
        ("optional.none().value()", "optional.none() dereference"),
        ("'x'.matches('[')", "error parsing regexp: missing ]"),
        ("'%d'.format(['x'])", "decimal clause can only be used on integers"),
        ("self.a && true", "no such overload"),
        ("timestamp(0).getHours('Nowhere/Here')", "unknown time zone"),
        ("optional.unwrap(self.list)", "no such overload"),
        ("self.list.transformMapEntry(i, v, v)", "no such overload"),
        ("duration('" + "9" * 5000 + "s')", "value out of range"),
    ],
)
def test_a_failing_evaluation_says_why(expression: str, message: str) -> None:
    with pytest.raises(cel.EvaluationError, match=message.replace("(", r"\(").replace(")", r"\)")):
        evaluate(expression, self=DATA)


def test_a_lazy_variable_is_computed_once_and_only_when_used() -> None:
    computed: list[int] = []

    def compute() -> int:
        computed.append(1)
        return 5

    lazy = cel.LazyMap(x=cel.Lazy(compute))
    assert evaluate("variables.x + variables.x", variables=lazy) == 10
    assert evaluate("1 == 1 || variables.y == 1", variables=lazy) is True
    assert len(computed) == 1


def test_evaluating_changes_no_binding() -> None:
    bindings = {"x": 1, "xs": [1, 2]}
    cel.compile("xs.map(x, x + 1)[0] + x", {"x": INT, "xs": list_of(INT)}).evaluate(bindings)
    assert bindings == {"x": 1, "xs": [1, 2]}
