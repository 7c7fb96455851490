"""When an Indexed Job has succeeded although not all of it has: its successPolicy (KEP-3998)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Set

from services.controllers.actions import Object
from services.controllers.jobs import indexes, tracking


def matched(job: Object, completed: Set[int]) -> str:
    """Which rule the completed indexes satisfy, as the condition's message says it; "" if none does."""
    rules = (job["spec"].get("successPolicy") or {}).get("rules") or ()
    if not rules or not completed:
        return ""
    total, done = tracking.completions(job), sorted(completed)
    for number, rule in enumerate(rules):
        if _satisfies(rule, done, total):
            return f"Matched rules at index {number}"
    return ""


def _satisfies(rule: Object, done: list[int], total: int) -> bool:
    """Whether all of succeededIndexes are done, or succeededCount of them (of any, if no indexes are named)."""
    count, text = rule.get("succeededCount"), rule.get("succeededIndexes")
    if text is None:
        return count is not None and len(done) >= count
    # runs are compared by their ends: a rule may name millions of indexes in a few characters
    runs = indexes.parse_runs(text, total)
    asked = sum(last - first + 1 for first, last in runs)
    found = sum(bisect_right(done, last) - bisect_left(done, first) for first, last in runs)
    return asked > 0 and (found == asked or (count is not None and found >= count))
