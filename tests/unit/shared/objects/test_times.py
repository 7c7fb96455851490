from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.objects import times

MOMENT = datetime(2026, 11, 24, 8, 15, 35, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-11-24T08:15:35Z", "2026-11-24T08:15:35Z"),
        ("2026-11-24T10:15:35.999+02:00", "2026-11-24T08:15:35Z"),
        ("2026-11-23T23:15:35-09:00", "2026-11-24T08:15:35Z"),
    ],
)
def test_a_time_is_stored_in_utc_to_the_second(text: str, canonical: str) -> None:
    assert times.canonical(text) == canonical


def test_a_micro_time_needs_exactly_six_decimals() -> None:
    assert times.canonical_micro("2026-11-24T08:15:35.000001Z") == "2026-11-24T08:15:35.000001Z"
    with pytest.raises(ValueError, match=r'cannot parse "Z" as ".000000"'):
        times.canonical_micro("2026-11-24T08:15:35Z")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("yesterday", 'cannot parse "yesterday" as "2006"'),
        ("2026-11-24", 'cannot parse "" as "T"'),
        ("2026-11-24T08:15:35", 'cannot parse "" as "Z07:00"'),
        ("2026-11-24T08:15:35Zx", 'extra text: "x"'),
        ("2026-13-24T08:15:35Z", "month out of range"),
        ("2026-02-30T08:15:35Z", "day out of range"),
        ("2026-02-20T24:15:35Z", "hour out of range"),
        ("0001-01-01T00:00:00+10:00", "year out of range"),
    ],
)
def test_a_malformed_time_is_explained_as_go_does(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        times.parse(text)
    assert complaint in str(caught.value)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_what_is_written_can_be_read(moment: datetime) -> None:
    assert times.parse(times.format_micro(moment)) == moment
    assert times.parse(times.format_time(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (303, "5m3s"),
        (599, "9m59s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (735 * 86400, "2y5d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_a_span_is_shown_as_kubectl_does(seconds: int, shown: str) -> None:
    assert times.duration(timedelta(seconds=seconds)) == shown
    assert times.age(times.format_time(MOMENT - timedelta(seconds=seconds)), MOMENT) == shown


def test_the_age_of_something_without_a_time_is_unknown() -> None:
    assert times.age(None, MOMENT) == "<unknown>"
