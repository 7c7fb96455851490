"""Numbers of pods that users give as such or as a percentage (intstr.IntOrString)."""

from __future__ import annotations

import math


def scaled(value: int | str, total: int, *, round_up: bool) -> int:
    """An absolute number, or a percentage of `total` rounded up or down."""
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        return int(value)
    share = int(value[:-1]) * total / 100
    return math.ceil(share) if round_up else math.floor(share)
