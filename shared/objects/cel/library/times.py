"""Parts of timestamps and durations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shared.objects.cel.declarations import Library
from shared.objects.cel.types import DURATION, INT, STRING, TIMESTAMP
from shared.objects.cel.values import Duration, Timestamp

library = Library()

_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1000,
}
_SPANS = {"getHours": 3600 * 10**9, "getMinutes": 60 * 10**9, "getSeconds": 10**9}


def _toward_zero(nanos: int, unit: int) -> int:
    return nanos // unit if nanos >= 0 else -(-nanos // unit)


def _declare_part(name: str, part: Callable[[datetime], int]) -> None:
    def in_utc(moment: Timestamp) -> int:
        return part(moment.local(None))

    def in_zone(moment: Timestamp, zone: str) -> int:
        return part(moment.local(zone))

    library.method(name, (TIMESTAMP,), INT, in_utc)
    library.method(name, (TIMESTAMP, STRING), INT, in_zone)


def _declare_span(name: str, unit: int) -> None:
    def whole(span: Duration) -> int:
        return _toward_zero(span.nanos, unit)

    library.method(name, (DURATION,), INT, whole)


for _name, _part in _PARTS.items():
    _declare_part(_name, _part)
for _name, _unit in _SPANS.items():
    _declare_span(_name, _unit)


def _milliseconds(span: Duration) -> int:
    return _toward_zero(span.nanos, 10**6) % 1000 if span.nanos >= 0 else -(_toward_zero(-span.nanos, 10**6) % 1000)


library.method("getMilliseconds", (DURATION,), INT, _milliseconds)
