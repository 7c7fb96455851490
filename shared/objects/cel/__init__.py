"""The Common Expression Language as Kubernetes uses it, for validation rules and admission policies.

    program = compile("self.replicas <= self.maximum", {"self": DYN})
    program.evaluate({"self": {"replicas": 1, "maximum": 3}})  # True

Why our own: docs/adr/0010-cel.md. Expressions are checked as cel-go checks them, evaluation is bounded by a Budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects.cel import costs, types
from shared.objects.cel.checking import check
from shared.objects.cel.costs import Bound
from shared.objects.cel.errors import BudgetError, CelError, CompilationError, EvaluationError, Issue
from shared.objects.cel.evaluating import PER_CALL, Budget, Frame, Lazy, LazyMap, build
from shared.objects.cel.library import kubernetes
from shared.objects.cel.parsing import parse
from shared.objects.cel.syntax import Node
from shared.objects.cel.types import Type


class Program:
    """A compiled expression; `type` is what it results in, as far as the declarations tell."""

    __slots__ = ("_run", "expression", "tree", "type")

    def __init__(self, expression: str, tree: Node, result: Type, variables: Mapping[str, Type]) -> None:
        self.expression = expression
        self.tree = tree
        self.type = result
        self._run = build(tree, variables, kubernetes())

    def evaluate(self, bindings: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The value of the expression, with `bindings` for the declared variables; a Lazy is computed when used.

        EvaluationError if it fails on these values, BudgetError if it costs too much: more than is left in `budget`, or
        without one more than one evaluation may cost.
        """
        budget = budget if budget is not None else Budget(PER_CALL)
        try:
            return self._run(Frame(dict(bindings), budget))
        except (RecursionError, MemoryError, ArithmeticError, ValueError) as exc:
            raise EvaluationError(f"value out of range: {exc}") from exc


def compile(expression: str, variables: Mapping[str, Type]) -> Program:  # noqa: A001
    """Parse and check an expression that may use `variables`; CompilationError names every mistake."""
    tree = parse(expression)
    return Program(expression, tree, check(expression, tree, variables, kubernetes()), variables)


def worst_cost(expression: str, variables: Mapping[str, Type], bounds: Mapping[str, Bound]) -> int:
    """The most that an expression may cost on values as large as `bounds` allow; CompilationError as in `compile`."""
    tree = parse(expression)
    kinds: dict[int, Type] = {}
    check(expression, tree, variables, kubernetes(), kinds)
    return costs.worst_cost(tree, kinds, bounds)


__all__ = [
    "PER_CALL",
    "Budget",
    "BudgetError",
    "CelError",
    "CompilationError",
    "EvaluationError",
    "Issue",
    "Lazy",
    "LazyMap",
    "Program",
    "Type",
    "compile",
    "types",
    "worst_cost",
]
