"""Cron schedules: at which instants a CronJob is due.

The grammar and its meaning are those of robfig/cron's standard parser, which Kubernetes uses and the API server checks
schedules against. It differs from the cron of Debian, and so from the libraries that follow that one: `*/2` as the
day of the month restricts like any other list, an hour that a clock change skips is not made up for, one that it
repeats counts twice, and `@every 90s` counts from the last run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import product
from typing import Protocol

_HORIZON = timedelta(days=5 * 366)
"""A schedule without an instant within five years (the 31st of February) has none."""
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_EVERY = re.compile(r"@every ([-+]?)((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+)", re.ASCII)
_TERM = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Schedule(Protocol):
    """When something is due."""

    def after(self, instant: float, zone: tzinfo) -> float | None:
        """The first instant later than `instant` (seconds since the epoch), None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Period:
    """`@every`: a number of seconds after the last time."""

    seconds: int

    def after(self, instant: float, zone: tzinfo) -> float | None:
        """The same in every time zone."""
        return math.floor(instant) + self.seconds


@dataclass(frozen=True, slots=True)
class Calendar:
    """Five fields. `any_day` and `any_weekday` say that a field was a star: then only the other one restricts."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def after(self, instant: float, zone: tzinfo) -> float | None:
        """The first minute after `instant` that the clocks of `zone` show as one of the schedule's."""
        first = datetime.fromtimestamp(instant, zone).date()
        for distance in range(_HORIZON.days):
            day = first + timedelta(days=distance)
            if not self._has(day):
                continue
            found = self._on(day, instant, zone)
            if found is not None:
                return found
        return None

    def _has(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday

    def _on(self, day: date, instant: float, zone: tzinfo) -> float | None:
        midnight = datetime.combine(day, time(), zone)
        if midnight.utcoffset() != (midnight + timedelta(days=1)).utcoffset():
            return min((at for at in self._on_change(day, zone) if at > instant), default=None)
        start = midnight.timestamp()
        for hour in self.hours:
            if start + 3600 * (hour + 1) > instant:
                for minute in self.minutes:
                    if start + 3600 * hour + 60 * minute > instant:
                        return start + 3600 * hour + 60 * minute
        return None

    def _on_change(self, day: date, zone: tzinfo) -> Iterator[float]:
        """The instants of a day on which the clocks change: those whose time is really shown, be it twice."""
        for hour, minute, fold in product(self.hours, self.minutes, (0, 1)):
            meant = datetime.combine(day, time(hour, minute))
            instant = meant.replace(tzinfo=zone, fold=fold).timestamp()
            if datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0) == meant:
                yield instant


@lru_cache(maxsize=4096)
def parse(text: str) -> Schedule:
    """The schedule that a text means; ValueError, saying what is wrong, if it means none."""
    every = _EVERY.fullmatch(text)
    if every is not None:
        total = sum(float(number) * _UNITS[unit] for number, unit in _TERM.findall(every[2]))
        return Period(max(1, int(-total if every[1] == "-" else total)))
    fields = _MACROS.get(text, text).split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {text}")
    minutes, _ = _field(fields[0], 0, 59)
    hours, _ = _field(fields[1], 0, 23)
    days, any_day = _field(fields[2], 1, 31)
    months, _ = _field(fields[3], 1, 12, _MONTHS)
    weekdays, any_weekday = _field(fields[4], 0, 6, _DAYS)
    return Calendar(
        tuple(sorted(minutes)), tuple(sorted(hours)), frozenset(days), frozenset(months), frozenset(weekdays),
        any_day, any_weekday,
    )  # fmt: skip


def _field(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> tuple[set[int], bool]:
    """The values of a field, and whether it is a star, which a star with a step is not."""
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        base, slash, step = part.partition("/")
        first, dash, last = base.partition("-")
        width = _number(step) if slash else 1
        if first in ("*", "?"):
            start, end = low, high
            star |= width == 1
        else:
            start = _number(first, names, low)
            end = _number(last, names, low) if dash else high if slash else start
        if not (low <= start <= end <= high) or width < 1:
            raise ValueError(f"range not within {low}-{high} or without a positive step: {part}")
        values.update(range(start, end + 1, width))
    return values, star


def _number(text: str, names: tuple[str, ...] = (), base: int = 0) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + base
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"not a number: {text}")
    return int(text)
