"""Completion indexes of Indexed Jobs, stored compressed: "0,2-5,9" (batch/v1 JobStatus.completedIndexes)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from services.controllers.actions import Object
from shared.objects import meta

ANNOTATION = "batch.kubernetes.io/job-completion-index"


def parse(text: str | None, total: int | None = None) -> set[int]:
    """The indexes below `total` in the compressed form; malformed parts are left out."""
    found: set[int] = set()
    for first, last in parse_runs(text, total):
        found.update(range(first, last + 1))
    return found


def parse_runs(text: str | None, total: int | None = None) -> list[tuple[int, int]]:
    """The first and last index of each run in the compressed form, cut off at `total`; malformed parts are left out."""
    runs: list[tuple[int, int]] = []
    for part in (text or "").split(","):
        first, dash, last = part.partition("-")
        start, end = number(first), number(last if dash else first)
        if start is None or end is None:
            continue
        if total is not None:
            end = min(end, total - 1)
        if start <= end:
            runs.append((start, end))
    return runs


def render(indexes: Iterable[int]) -> str:
    """The compressed form: runs of two are written "1,2", longer ones "1-3"."""
    parts: list[str] = []
    for first, last in _runs(sorted(indexes)):
        parts += [str(first)] if first == last else [f"{first},{last}" if last == first + 1 else f"{first}-{last}"]
    return ",".join(parts)


def number(text: str) -> int | None:
    """An index of at most ten digits, more than any int32 has; users can write anything where it is read from."""
    digits = text.lstrip("0") or text[:1]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 10 else None


def of_pod(pod: Object) -> int | None:
    """The completion index of a pod, None if it has none."""
    return number(meta.annotations(pod).get(ANNOTATION, ""))


def missing(total: int, taken: set[int], wanted: int) -> list[int]:
    """The first `wanted` of the indexes 0..total-1 that are not taken."""
    return list(islice((index for index in range(total) if index not in taken), wanted))


def _runs(ordered: list[int]) -> Iterator[tuple[int, int]]:
    start: int | None = None
    previous = 0
    for index in ordered:
        if start is None:
            start = index
        elif index > previous + 1:
            yield start, previous
            start = index
        previous = index
    if start is not None:
        yield start, previous
