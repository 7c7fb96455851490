"""Points in the past as people write them: a revision, a time of today, a date and time, or how long ago."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from shared.cli import durations
from shared.cli.cluster import ClusterError

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def parse(text: str, now: datetime) -> int | float:
    """A revision (int), or a time as unix seconds (float); `now` is aware and gives the time zone.

    `4711`, `14:03`, `14:03:20` (the last time the clock showed that), `2026-03-01T14:03:00Z`, `2026-03-01 14:03`,
    `10m`, `1h30m`, `2d` ago. ClusterError for anything else.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text)
    if (ago := durations.parse(text)) is not None:
        return (now - timedelta(seconds=ago)).timestamp()
    try:
        if clock := _CLOCK.fullmatch(text):
            hour, minute, second = (int(part or 0) for part in clock.groups())
            moment = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return (moment if moment <= now else moment - timedelta(days=1)).timestamp()
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ClusterError(
            f"{text!r} is no point in time; write a revision, 14:03, 2026-03-01T14:03:00Z, or 10m for ten minutes ago"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).timestamp()
