"""What can go wrong with an expression: it does not compile, it fails on a value, or it costs too much."""

from __future__ import annotations

from typing import NamedTuple

from shared.errors import WherryError


class CelError(WherryError):
    """Base of everything this package raises."""


class Issue(NamedTuple):
    """One mistake in an expression; `at` is its offset in characters."""

    at: int
    message: str


class CompilationError(CelError):
    """The expression is malformed or its types do not fit; the text reads as cel-go prints its issues."""

    def __init__(self, expression: str, issues: list[Issue]) -> None:
        self.issues = issues
        super().__init__("\n".join(_shown(expression, one) for one in issues))


class EvaluationError(CelError):
    """The expression compiled but failed on these values, for example `no such key: x`."""


class BudgetError(CelError):
    """The evaluation was stopped because it cost more than its budget."""


def _shown(expression: str, issue: Issue) -> str:
    lines = expression.split("\n")
    row, column = 0, issue.at
    while row < len(lines) - 1 and column > len(lines[row]):
        column -= len(lines[row]) + 1
        row += 1
    return f"ERROR: <input>:{row + 1}:{column + 1}: {issue.message}\n | {lines[row]}\n | {'.' * column}^"
