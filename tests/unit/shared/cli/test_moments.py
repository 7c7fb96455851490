"""Points in the past as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.cli import moments
from shared.cli.cluster import ClusterError

NOW = datetime(2026, 3, 1, 15, 30, 45, 500, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("14:03", "2026-03-01T14:03:00+01:00"),
        ("14:03:20", "2026-03-01T14:03:20+01:00"),
        ("16:00", "2026-02-28T16:00:00+01:00"),
        ("2026-02-01T14:03:00Z", "2026-02-01T14:03:00+00:00"),
        ("2026-02-01 14:03", "2026-02-01T14:03:00+01:00"),
        ("2026-02-01", "2026-02-01T00:00:00+01:00"),
        ("1h30m", "2026-03-01T14:00:45.000500+01:00"),
        ("2d", "2026-02-27T15:30:45.000500+01:00"),
    ],
)
def test_a_time_is_understood(text: str, moment: str) -> None:
    parsed = moments.parse(text, NOW)
    assert isinstance(parsed, float)
    assert datetime.fromtimestamp(parsed, UTC) == datetime.fromisoformat(moment)


def test_a_bare_number_is_a_revision() -> None:
    revision = moments.parse("4711", NOW)
    assert isinstance(revision, int)
    assert revision == 4711


@pytest.mark.parametrize("text", ["", "yesterday", "25:00", "5x", "-3", "1m1h"])
def test_anything_else_is_refused_with_what_can_be_written(text: str) -> None:
    with pytest.raises(ClusterError, match="write a revision"):
        moments.parse(text, NOW)
