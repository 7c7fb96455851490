"""Regular expressions by RE2, as Go's are: no pattern takes more than linear time."""

from __future__ import annotations

import functools
from typing import Any

import re2

from shared.objects.cel.declarations import Library
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.types import BOOL, INT, STRING, list_of

library = Library()

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 22


@functools.lru_cache(maxsize=1024)
def pattern(text: str) -> Any:
    """A compiled pattern; EvaluationError if Go would not compile it."""
    try:
        return re2.compile(text, _OPTIONS)
    except re2.error as exc:
        reason = exc.args[0].decode() if exc.args and isinstance(exc.args[0], bytes) else str(exc)
        raise EvaluationError(f"error parsing regexp: {reason}") from exc


def _matches(text: str, regex: str) -> bool:
    return pattern(regex).search(text) is not None


def _find(text: str, regex: str) -> str:
    match = pattern(regex).search(text)
    return "" if match is None else str(match[0])


def _find_all(text: str, regex: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    for match in pattern(regex).finditer(text):
        if limit >= 0 and len(found) >= limit:
            break
        found.append(match[0])
    return found


def _cost(text: str, regex: str, limit: int = -1) -> int:
    return max(1, len(text) // 10 + 1) * max(1, (len(regex) + 3) // 4)


library.function("matches", (STRING, STRING), BOOL, _matches, cost=_cost)
library.method("matches", (STRING, STRING), BOOL, _matches, cost=_cost)
library.method("find", (STRING, STRING), STRING, _find, cost=_cost)
library.method("findAll", (STRING, STRING), list_of(STRING), _find_all, cost=_cost)
library.method("findAll", (STRING, STRING, INT), list_of(STRING), _find_all, cost=_cost)
