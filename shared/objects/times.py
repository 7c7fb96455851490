"""Times as the API writes them: RFC 3339 in UTC, to the second (Time) or to the microsecond (MicroTime)."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)",
    re.ASCII,
)
_USUAL_LENGTH = len("2006-01-02T15:04:05.000000000+07:00")
_LAYOUT_SECONDS = "2006-01-02T15:04:05Z07:00"
_LAYOUT_MICRO = "2006-01-02T15:04:05.000000Z07:00"
_LAYOUT_PARTS = (
    ("2006", r"\d{4}"),
    ("-", "-"),
    ("01", r"\d\d"),
    ("-", "-"),
    ("02", r"\d\d"),
    ("T", "T"),
    ("15", r"\d\d"),
    (":", ":"),
    ("04", r"\d\d"),
    (":", ":"),
    ("05", r"\d\d"),
)


def now() -> str:
    """The current time as the API's Time, for example 2026-11-24T08:15:35Z."""
    return _second(int(time.time()))


@lru_cache(maxsize=2)
def _second(moment: int) -> str:
    """A unix time; every write asks for the present one some times."""
    return format_time(datetime.fromtimestamp(moment, UTC))


def micro_now() -> str:
    """The current time as the API's MicroTime, for example 2026-11-24T08:15:35.123456Z."""
    return format_micro(datetime.now(UTC))


def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def format_micro(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse(text: str) -> datetime:
    """The moment of an RFC 3339 text; digits below the microsecond are dropped. ValueError in Go's words."""
    # a table asks for the same few thousand moments again and again; a long text is nobody's habit
    return _remembered(text) if len(text) <= _USUAL_LENGTH else _parsed(text)


def _parsed(text: str) -> datetime:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(_explain(text, _LAYOUT_SECONDS, ""))
    return _moment(text, match)


_remembered = lru_cache(maxsize=4096)(_parsed)


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """A Time as the server stores it: UTC, whole seconds."""
    return format_time(parse(text))


@lru_cache(maxsize=4096)
def canonical_micro(text: str) -> str:
    """A MicroTime as the server stores it; exactly six decimals are accepted."""
    match = _RFC3339.fullmatch(text)
    if match is None or match[7] is None or len(match[7]) != 7:
        raise ValueError(_explain(text, _LAYOUT_MICRO, ".000000"))
    return format_micro(_moment(text, match))


def age(text: str | None, now: datetime | str) -> str:
    """How long ago `text` was, as kubectl shows it: 5m3s, 2d4h, 3y; <unknown> without a time."""
    if not text:
        return "<unknown>"
    moment = parse(now) if isinstance(now, str) else now
    return duration(moment - parse(text))


def duration(span: timedelta) -> str:
    """A span as kubectl shows it: two units while they matter, one afterwards; <invalid> if clearly negative."""
    seconds = int(span.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ns": 1e-9}
_SPAN = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s|us|\u00b5s|\u03bcs|ns)")


def seconds(text: str) -> float:
    """The length of a Go duration that is not negative, as `1m30s` or `250ms`; ValueError if it is none."""
    if text == "0":
        return 0.0
    total, position = 0.0, 0
    while match := _SPAN.match(text, position):
        total += float(match.group(1)) * _UNITS[match.group(2)]
        position = match.end()
    if position != len(text) or not text:
        raise ValueError(f"invalid duration {text!r}")
    return total


def _two(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"


def _moment(text: str, match: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    micro = int(match[7][1:7].ljust(6, "0")) if match[7] else 0
    try:
        moment = datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
    except ValueError as exc:
        raise ValueError(f'parsing time "{text}": {_out_of_range(month, hour, minute, second)} out of range') from exc
    zone = match[8]
    if zone == "Z":
        return moment
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    try:
        return moment - offset if zone[0] == "+" else moment + offset
    except OverflowError as exc:
        raise ValueError(f'parsing time "{text}": year out of range') from exc


def _out_of_range(month: int, hour: int, minute: int, second: int) -> str:
    if not 1 <= month <= 12:
        return "month"
    if hour > 23:
        return "hour"
    if minute > 59:
        return "minute"
    return "second" if second > 59 else "day"


def _explain(text: str, layout: str, fraction: str) -> str:
    """Where Go's time.Parse stops: the rest of the text and the part of the layout it does not fit."""
    rest = text
    for part, pattern in _LAYOUT_PARTS:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"'
        rest = rest[match.end() :]
    if fraction:
        match = re.match(r"\.\d{6}(?!\d)", rest, re.ASCII)
        if match is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{fraction}"'
        rest = rest[match.end() :]
    match = re.match(r"(\.\d+)?(Z|[+-]\d\d:\d\d)", rest, re.ASCII)
    if match is None:
        return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "Z07:00"'
    return f'parsing time "{text}": extra text: "{rest[match.end() :]}"'
