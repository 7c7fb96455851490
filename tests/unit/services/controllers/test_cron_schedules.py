"""Cron schedules: fields, names, macros, days that combine, and clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controllers.cronjobs import schedule

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: object = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()  # type: ignore[arg-type]


def following(text: str, start: str, count: int = 1, zone: ZoneInfo | None = None) -> list[str]:
    """The next instants in the time of the zone."""
    where = zone or UTC
    instant = at(start, where)
    found = []
    for _ in range(count):
        instant = schedule.parse(text).after(instant, where)
        found.append(datetime.fromtimestamp(instant, where).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", ["11-24 10:01", "11-24 10:02"]),
        ("*/20 * * * *", ["11-24 10:20", "11-24 10:40"]),
        ("5/20 * * * *", ["11-24 10:05", "11-24 10:25"]),
        ("10-30/10,50 10 * * *", ["11-24 10:10", "11-24 10:20"]),
        ("0 9 * * MON-fri", ["11-25 09:00", "11-26 09:00"]),
        ("0 0 1 jan,jul ?", ["01-01 00:00", "07-01 00:00"]),
        ("@hourly", ["11-24 11:00", "11-24 12:00"]),
        ("@daily", ["11-25 00:00", "11-26 00:00"]),
        ("@weekly", ["11-29 00:00", "12-06 00:00"]),
        ("@yearly", ["01-01 00:00", "01-01 00:00"]),
        ("@every 1h30m", ["11-24 11:30", "11-24 13:00"]),
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00"]),
    ],
)
def test_a_schedule_names_its_next_instants(text: str, expected: list[str]) -> None:
    assert following(text, "2026-11-24T10:00:00", 2) == expected


def test_a_day_of_the_month_and_a_weekday_are_alternatives_unless_one_is_a_star() -> None:
    assert following("0 0 25 * sun", "2026-11-24T10:00:00", 2) == ["11-25 00:00", "11-29 00:00"]
    assert following("0 0 * * sun", "2026-11-24T10:00:00", 2) == ["11-29 00:00", "12-06 00:00"]
    # a star with a step is a list like any other
    assert following("0 0 */2 * sun", "2026-11-24T10:00:00", 3) == ["11-25 00:00", "11-27 00:00", "11-29 00:00"]


def test_a_schedule_follows_the_clock_of_its_zone() -> None:
    assert schedule.parse("0 9 * * *").after(at("2026-07-01T00:00:00"), BERLIN) == at("2026-07-01T07:00:00")
    assert schedule.parse("0 9 * * *").after(at("2026-12-01T00:00:00"), BERLIN) == at("2026-12-01T08:00:00")


def test_an_hour_that_is_skipped_is_not_made_up_for() -> None:
    assert following("30 2 * * *", "2026-03-28T12:00:00", 2, BERLIN) == ["03-30 02:30", "03-31 02:30"]


def test_an_hour_that_is_repeated_counts_twice() -> None:
    assert following("30 2 * * *", "2026-10-24T12:00:00", 3, BERLIN) == ["10-25 02:30", "10-25 02:30", "10-26 02:30"]


def test_a_date_that_never_comes_is_no_instant() -> None:
    assert schedule.parse("0 0 31 2 *").after(at("2026-11-24T10:00:00"), UTC) is None


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* * * * 7", "*/0 * * * *", "5-1 * * * *", "x * * * *", "@often", "@every x"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        schedule.parse(text)


@given(
    st.sampled_from(["*", "*/7", "3", "1-5", "10,50"]),
    st.sampled_from(["*", "*/5", "2", "1-3"]),
    st.integers(int(at("2026-01-01T00:00:00")), int(at("2027-01-01T00:00:00"))),
)
def test_the_next_instant_is_the_first_minute_whose_clock_matches(minute: str, hour: str, start: int) -> None:
    cron = schedule.parse(f"{minute} {hour} * * *")
    assert isinstance(cron, schedule.Calendar)
    probe = datetime.fromtimestamp(start - start % 60 + 60, UTC)
    while not ((local := probe.astimezone(BERLIN)).minute in cron.minutes and local.hour in cron.hours):
        probe += timedelta(minutes=1)
    assert cron.after(start, BERLIN) == probe.timestamp()
