"""Values that CEL has and Python or JSON have not, and how all values are compared and named.

null, bool, int, double, string, bytes, list and map are None, bool, int, float, str, bytes, list and dict.
"""

from __future__ import annotations

import calendar
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from shared.objects.cel.errors import EvaluationError

_SECOND = 10**9
_UNITS = {"h": 3600 * _SECOND, "m": 60 * _SECOND, "s": _SECOND, "ms": 10**6, "us": 1000, "µs": 1000, "ns": 1}
_DURATION = re.compile(r"([0-9]*)(\.[0-9]*)?(ns|us|µs|ms|s|m|h)", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_FIRST, _LAST = -62135596800, 253402300799


class UInt(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds."""

    nanos: int

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.nanos), _SECOND)
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{'-' if self.nanos < 0 else ''}{whole}{fraction}s"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment in nanoseconds since 1970 (UTC)."""

    nanos: int

    def __str__(self) -> str:
        seconds, rest = divmod(self.nanos, _SECOND)
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z".rjust(20, "0")

    def local(self, zone: str | None) -> datetime:
        """The calendar time in a zone: a name of the time zone database, or an offset such as +02:00."""
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.nanos // 1000)
        return moment if zone is None else moment.astimezone(_zone(zone))


@dataclass(frozen=True, slots=True)
class CelOptional:
    """optional.of(value), or optional.none()."""

    present: bool
    value: Any = None


@dataclass(frozen=True, slots=True)
class TypeValue:
    """What type(x) answers, and the names int, string, ... stand for."""

    name: str


NONE = CelOptional(False)


class Opaque:
    """Base of values that only their own functions understand, such as a URL or a quantity."""

    __slots__ = ()
    type_name = "opaque"

    def field(self, name: str) -> Any:
        """The value of a field; EvaluationError unless the type has some."""
        raise EvaluationError("no such overload")


def parse_duration(text: str) -> Duration:
    """Go's notation, for example 1h30m or -1.5s; EvaluationError if it is none."""
    body = text[1:] if text[:1] in ("+", "-") else text
    total, at = 0, 0
    while body != "0" and at < len(body):
        match = _DURATION.match(body, at)
        if match is None or not (match[1] or len(match[2] or "") > 1):
            break
        unit = _UNITS[match[3]]
        total += int(match[1] or 0) * unit
        if match[2] and len(match[2]) > 1:
            total += int(match[2][1:]) * unit // 10 ** (len(match[2]) - 1)
        at = match.end()
    if not body or (body != "0" and at < len(body)) or total >= 2**63:
        raise EvaluationError(f'time: invalid duration "{text}"')
    return Duration(-total if text[0] == "-" else total)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339; EvaluationError if it is none or outside the years 1 to 9999."""
    match = _TIMESTAMP.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        seconds = calendar.timegm(datetime(year, month, day, hour, minute, second).timetuple())
    except ValueError as exc:
        raise EvaluationError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse') from exc
    offset = match[8]
    if offset not in ("Z", "z"):
        shift = int(offset[1:3]) * 3600 + int(offset[4:6]) * 60
        seconds += shift if offset[0] == "-" else -shift
    if not _FIRST <= seconds <= _LAST:
        raise EvaluationError("timestamp overflow")
    return Timestamp(seconds * _SECOND + int((match[7] or "").ljust(9, "0")))


def checked_timestamp(nanos: int) -> Timestamp:
    if not _FIRST * _SECOND <= nanos < (_LAST + 1) * _SECOND:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nanos)


def checked_duration(nanos: int) -> Duration:
    if not -(2**63) <= nanos < 2**63:
        raise EvaluationError("integer overflow")
    return Duration(nanos)


def equal(left: Any, right: Any) -> bool:
    """CEL's equality: numbers by value whatever their type, everything else only within its type."""
    a, b = type(left), type(right)
    if a is bool or b is bool:
        return a is b and left == right
    if issubclass(a, int | float) and issubclass(b, int | float):
        return bool(left == right)
    if issubclass(a, list) and issubclass(b, list):
        if a.__eq__ is not list.__eq__:
            return bool(left == right)
        return len(left) == len(right) and all(map(equal, left, right))
    if a is dict and b is dict:
        return len(left) == len(right) and all(key in right and equal(value, right[key]) for key, value in left.items())
    if a is CelOptional and b is CelOptional:
        return left.present == right.present and equal(left.value, right.value)
    return a is b and bool(left == right)


def type_of(value: Any) -> TypeValue:
    """What type(value) answers."""
    for kind in type(value).__mro__:
        name = _NAMES.get(kind)
        if name is not None:
            return TypeValue(name)
    return TypeValue(value.type_name)


def format_double(value: float) -> str:
    """As Go's strconv.FormatFloat(value, 'g', -1, 64) writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    power = int(exponent or 0)
    if (not exponent and abs(value) >= 1e21) or abs(value) >= 1e21:
        return f"{mantissa.removesuffix('.0')}e+{power:02d}"
    if value != 0 and abs(value) < 1e-4:
        return f"{mantissa.removesuffix('.0')}e-{-power:02d}"
    return format(value, "f").rstrip("0").rstrip(".") if exponent else text.removesuffix(".0")


_NAMES: dict[type, str] = {
    type(None): "null_type",
    bool: "bool",
    UInt: "uint",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    Duration: "google.protobuf.Duration",
    Timestamp: "google.protobuf.Timestamp",
    CelOptional: "optional_type",
    TypeValue: "type",
}


def _zone(name: str) -> tzinfo:
    match = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name)
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    # the time zone database, which hardly any expression asks for
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise EvaluationError(f"unknown time zone {name}") from exc
