"""Indexed Jobs: limits of their size, per-index failures (KEP-3850) and success policies (KEP-3998)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects.validation.causes import Cause, invalid, not_negative, required, too_long

Object = Mapping[str, Any]

# limits of batch/validation
_MOST_PARALLEL = 100_000
_MOST_FAILED_INDEXES = 100_000
_MANY_COMPLETIONS = 100_000
_MOST_WITH_MANY = 10_000
_MOST_RULES = 20
_LONGEST_INDEXES = 64 * 1024


def limits(spec: Object) -> list[Cause]:
    """What an indexed job may ask for."""
    found: list[Cause] = []
    completions, failed = spec.get("completions"), spec.get("maxFailedIndexes")
    if completions is None:
        found.append(required("spec.completions", "when completion mode is Indexed"))
    if (parallelism := spec.get("parallelism") or 0) > _MOST_PARALLEL:
        text = f"must be less than or equal to {_MOST_PARALLEL} when completion mode is Indexed"
        found.append(invalid("spec.parallelism", parallelism, text))
    if (completions or 0) > _MANY_COMPLETIONS and spec.get("backoffLimitPerIndex") is not None:
        found += _with_many(spec)
    if failed is None:
        return found
    if spec.get("backoffLimitPerIndex") is None:
        found.append(required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if completions is not None and failed > completions:
        found.append(invalid("spec.maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed > _MOST_FAILED_INDEXES:
        text = f"must be less than or equal to {_MOST_FAILED_INDEXES}"
        found.append(invalid("spec.maxFailedIndexes", failed, text))
    return found


def success_policy(spec: Object) -> list[Cause]:
    """Rules by which an indexed job may succeed before all of it has."""
    policy, at = spec.get("successPolicy"), "spec.successPolicy"
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid(at, policy, "requires indexed completion mode")]
    rules = policy.get("rules") or []
    found: list[Cause] = []
    if not rules:
        found.append(
            required(f"{at}.rules", "at least one rules must be specified when the successPolicy is specified")
        )
    if len(rules) > _MOST_RULES:
        found.append(
            Cause("FieldValueTooMany", f"Too many: {len(rules)}: must have at most {_MOST_RULES} items", f"{at}.rules")
        )
    for index, rule in enumerate(rules):
        found += _success_rule(rule, f"{at}.rules[{index}]", spec.get("completions"))
    return found


def _with_many(spec: Object) -> list[Cause]:
    """The status lists failed indexes one by one, so jobs of very many indexes may have few at a time."""
    found: list[Cause] = []
    if spec.get("maxFailedIndexes") is None:
        text = f"must be specified when completions is above {_MANY_COMPLETIONS}"
        found.append(required("spec.maxFailedIndexes", text))
    for key in ("parallelism", "maxFailedIndexes"):
        value = spec.get(key)
        if value is not None and value > _MOST_WITH_MANY:
            text = (
                f"must be less than or equal to {_MOST_WITH_MANY} when completions are above {_MANY_COMPLETIONS} "
                "and used with backoff limit per index"
            )
            found.append(invalid(f"spec.{key}", value, text))
    return found


def _success_rule(rule: Object, at: str, completions: int | None) -> list[Cause]:
    found: list[Cause] = []
    count, text = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and text is None:
        found.append(required(at, "at least one of succeededCount or succeededIndexes must be specified"))
    named = None
    if text is not None:
        if len(text.encode()) > _LONGEST_INDEXES:
            found.append(too_long(f"{at}.succeededIndexes", _LONGEST_INDEXES))
        elif completions is not None:
            named, wrong = _read_indexes(text, completions)
            if wrong:
                found.append(invalid(f"{at}.succeededIndexes", text, f"error parsing succeededIndexes: {wrong}"))
    if count is None:
        return found
    found += not_negative(f"{at}.succeededCount", count)
    for most, what in (
        (completions, "the number of specified completions"),
        (named, "the number of indexes in the specified succeededIndexes field"),
    ):
        if most is not None and count > most:
            text = f"must be less than or equal to {most} ({what})"
            found.append(invalid(f"{at}.succeededCount", count, text))
    return found


def _read_indexes(text: str, completions: int) -> tuple[int | None, str]:
    """How many indexes a list such as "0,2-5" names (None if it is malformed), and what is wrong with it."""
    total, last, previous = 0, -1, -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            rule = "the requirement that an index interval can have at most two parts separated by '-'"
            return None, f'the fragment "{part}" violates {rule}'
        for end in ends:
            if not (end.isascii() and end.isdecimal()):
                return None, f'cannot convert string to integer for index: "{end}"'
            # what is longer than any int32 is not turned into a number at all
            digits = end.lstrip("0") or "0"
            if len(digits) > 10 or int(digits) >= completions:
                return None, f'too large index: "{end}"'
            if int(digits) <= previous:
                return None, f"non-increasing order, previous: {previous}, current: {digits}"
            last, previous = previous, int(digits)
        total += previous - last + 1 if len(ends) == 2 else 1
    return total, ""
