"""Whatever is written ends in a value or in a failure of CEL's own, and in the value Google's implementation gives."""

from __future__ import annotations

import contextlib
from typing import Any

from cel_expr_python import cel as google
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.objects import cel
from shared.objects.cel.library import kubernetes
from shared.objects.cel.types import DYN

DATA: dict[str, Any] = {"a": 1, "l": [1, 2, 3], "s": "text", "m": {"k": "v"}}
NAMES = sorted(name for name in kubernetes().overloads if name.replace(".", "").isidentifier())

PLAIN = st.sampled_from(["1", "-1", "2.5", "7u", "'a'", "b'z'", "null", "true", "[]", "[1, 2]", "{'a': 1}"])
NAMED = st.sampled_from(["self", "self.a", "self.l", "self.s", "self.m", "self.none"])
MADE = st.sampled_from(["duration('1h')", "timestamp(0)", "quantity('1Gi')", "ip('::1')", "optional.none()"])
LEAVES = st.one_of(PLAIN, NAMED, MADE)
OPERATORS = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "in", "&&", "||"])
LOOPS = st.sampled_from(["all", "exists", "exists_one", "map", "filter"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.lists(inner, max_size=2).map(", ".join)
    return st.one_of(
        st.builds("({}) {} ({})".format, inner, OPERATORS, inner),
        st.builds("({}).{}({})".format, inner, st.sampled_from([one for one in NAMES if "." not in one]), arguments),
        st.builds("{}({})".format, st.sampled_from(NAMES), arguments),
        st.builds("({}).{}(x, {})".format, inner, LOOPS, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({}).?a".format, inner),
        st.builds("{} ? {} : {}".format, inner, inner, inner),
        st.builds("cel.bind(self, {}, {})".format, inner, inner),
        st.builds("[{}, ?{}]".format, inner, inner),
    )


@given(st.recursive(LEAVES, _larger, max_leaves=8))
@settings(max_examples=300)
def test_no_expression_ends_in_anything_else(expression: str) -> None:
    with contextlib.suppress(cel.CelError):
        cel.compile(expression, {"self": DYN}).evaluate({"self": DATA}, cel.Budget(10_000))


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_no_text_ends_in_anything_else(text: str) -> None:
    with contextlib.suppress(cel.CompilationError):
        cel.compile(text, {"self": DYN})


INTEGERS = st.recursive(
    st.sampled_from(["self.a", "size(self.l)", "size(self.s)", "0", "1", "-7", "9223372036854775807"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner),
        st.builds("({} < {} ? {} : {})".format, inner, inner, inner, inner),
        st.builds("self.l.map(x, x + {}).size()".format, inner),
        st.builds("size(self.l.filter(x, x > {}))".format, inner),
    ),
    max_leaves=6,
)
CONDITIONS = st.recursive(
    st.builds("{} {} {}".format, INTEGERS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), INTEGERS),
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("self.l.exists(x, x == self.a && {})".format, inner),
    ),
    max_leaves=5,
)


@given(CONDITIONS)
@settings(max_examples=200)
def test_conditions_hold_where_google_says_so(expression: str) -> None:
    environment = google.NewEnv(variables={"self": google.Type.DYN})
    wanted = environment.compile(expression).eval(data={"self": DATA})
    try:
        found = cel.compile(expression, {"self": DYN}).evaluate({"self": DATA})
    except cel.EvaluationError:
        assert wanted.type().name() == "ERROR"
    else:
        assert found == wanted.plain_value()
