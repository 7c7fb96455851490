"""Instants as seconds since the epoch inside decisions, as RFC 3339 text in objects.

Decisions compare and add instants; objects store text with whole seconds (metav1.Time). Passing the instant in keeps
every decision a function of its arguments.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime


def text(instant: float) -> str:
    """RFC 3339 in UTC, truncated to whole seconds as metav1.Time is."""
    return datetime.fromtimestamp(math.floor(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(value: str | None, default: float = 0.0) -> float:
    """The instant written in `value`, or `default` if there is none."""
    if not value:
        return default
    return datetime.fromisoformat(value).timestamp()


def remaining(since: str | None, period: float, now: float) -> float:
    """Seconds until `period` seconds after `since`; zero or less once that has passed."""
    return seconds(since) + period - now
