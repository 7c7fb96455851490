"""Durations as people write them."""

from __future__ import annotations

import pytest

from shared.cli import durations
from shared.cli.cluster import ClusterError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1d2h", 93600), ("0s", 0)]
)
def test_a_duration_is_seconds(text: str, seconds: int) -> None:
    assert durations.seconds(text, "--since") == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5x", "1m1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match=r"--timeout .* is no duration; write it as 90s"):
        durations.seconds(text, "--timeout")
