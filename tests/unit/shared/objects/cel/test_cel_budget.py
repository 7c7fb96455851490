"""Expressions somebody else wrote must not stop the server."""

from __future__ import annotations

import pytest

from shared.objects import cel
from shared.objects.cel.types import DYN


def test_nested_loops_run_out_of_budget() -> None:
    program = cel.compile("xs.all(a, xs.all(b, xs.all(c, xs.all(d, true))))", {"xs": DYN})
    with pytest.raises(cel.BudgetError, match="cost limit exceeded"):
        program.evaluate({"xs": list(range(1000))})


def test_a_string_that_doubles_is_stopped_before_it_is_built() -> None:
    expression = "'0123456789'"
    for level in range(60):
        expression = f"cel.bind(x{level}, {expression}, x{level} + x{level})"
    with pytest.raises(cel.BudgetError):
        cel.compile(f"size({expression})", {}).evaluate({})


@pytest.mark.parametrize(
    "expression",
    [
        "lists.range(1000000000).size() > 0",
        "long.replace('a', long).size() > 0",
        "lists.range(9000).exists(i, long.matches('(a*)*b'))",
        "lists.range(9000).exists(i, long.contains(long + 'b'))",
        "lists.range(2000).map(i, lists.range(2000)) == []",
    ],
)
def test_a_costly_call_is_charged_before_it_runs(expression: str) -> None:
    with pytest.raises(cel.BudgetError):
        cel.compile(expression, {"long": DYN}).evaluate({"long": "a" * 50_000})


def test_no_operator_hides_that_the_budget_is_spent() -> None:
    program = cel.compile("lists.range(100000).all(x, x >= 0) || true", {})
    with pytest.raises(cel.BudgetError):
        program.evaluate({}, cel.Budget(1000))


def test_one_budget_is_shared_by_several_evaluations() -> None:
    program = cel.compile("[1, 2, 3].all(x, x > 0)", {})
    budget = cel.Budget(40)
    assert program.evaluate({}, budget)
    with pytest.raises(cel.BudgetError):
        program.evaluate({}, budget)


def test_the_time_limit_holds_when_costs_do_not() -> None:
    program = cel.compile("lists.range(100000).all(x, x >= 0)", {})
    with pytest.raises(cel.BudgetError, match="time limit exceeded"):
        program.evaluate({}, cel.Budget(10**9, seconds=0.0))


@pytest.mark.parametrize("expression", ["(" * 5000 + "1" + ")" * 5000, "[" * 5000, "-".join(["1"] * 5000), "!" * 5000])
def test_an_expression_nested_too_deep_does_not_compile(expression: str) -> None:
    with pytest.raises(cel.CompilationError):
        cel.compile(expression, {})


def test_a_long_chain_of_conditions_compiles() -> None:
    chain = " || ".join(f"x == {number}" for number in range(500))
    assert cel.compile(chain, {"x": DYN}).evaluate({"x": 499}) is True
