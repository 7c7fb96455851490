"""Kubernetes' semver library: versions as semver.org 2.0.0 defines and orders them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from shared.objects.cel.declarations import Library, traversal
from shared.objects.cel.errors import EvaluationError
from shared.objects.cel.types import BOOL, INT, STRING
from shared.objects.cel.values import Opaque

library = Library()
_NUMBER = r"(0|[1-9][0-9]*)"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII
)


@functools.total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version(Opaque):
    """A version; build metadata plays no role in the order."""

    numbers: tuple[int, int, int]
    pre_release: tuple[str, ...]
    type_name = "kubernetes.Semver"

    def key(self) -> tuple[object, ...]:
        parts = tuple((0, int(one), "") if one.isdecimal() else (1, 0, one) for one in self.pre_release)
        return (self.numbers, not parts, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.key() == other.key()

    def __lt__(self, other: Version) -> bool:
        return self.key() < other.key()

    def __hash__(self) -> int:
        return hash(self.key())


SEMVER = library.opaque_type("kubernetes.Semver", Version)


def _parse(text: str, normalize: bool = False) -> Version:
    candidate = _normalized(text) if normalize else text
    match = _SEMVER.fullmatch(candidate)
    if match is None:
        raise EvaluationError(f'invalid semver version "{text}"')
    major, minor, patch, pre_release = match.groups()
    return Version((int(major), int(minor), int(patch)), tuple(pre_release.split(".")) if pre_release else ())


def _normalized(text: str) -> str:
    """Without a leading v, without leading zeros, and with all three numbers."""
    match = re.fullmatch(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?", text, re.ASCII)
    if match is None:
        return text
    major, minor, patch, rest = match.groups()
    return f"{int(major)}.{int(minor or 0)}.{int(patch or 0)}{rest or ''}"


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _parse(text, normalize)
    except EvaluationError:
        return False
    return True


def _compare(left: Version, right: Version) -> int:
    return (left > right) - (left < right)


_READ = traversal(0)
library.function("semver", (STRING,), SEMVER, _parse, cost=_READ)
library.function("semver", (STRING, BOOL), SEMVER, _parse, cost=_READ)
library.function("isSemver", (STRING,), BOOL, _is_semver, cost=_READ)
library.function("isSemver", (STRING, BOOL), BOOL, _is_semver, cost=_READ)
library.method("major", (SEMVER,), INT, lambda held: held.numbers[0])
library.method("minor", (SEMVER,), INT, lambda held: held.numbers[1])
library.method("patch", (SEMVER,), INT, lambda held: held.numbers[2])
library.method("compareTo", (SEMVER, SEMVER), INT, _compare)
library.method("isGreaterThan", (SEMVER, SEMVER), BOOL, lambda a, b: a > b)
library.method("isLessThan", (SEMVER, SEMVER), BOOL, lambda a, b: a < b)
