"""How long, as people write it: `90s`, `5m`, `1h30m`, `2d`."""

from __future__ import annotations

import re

from shared.cli.cluster import ClusterError

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse(text: str) -> int | None:
    """Seconds of a duration, None if it is none."""
    found = _DURATION.fullmatch(text)
    if not text or not found:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def seconds(text: str, option: str) -> int:
    """Seconds of a duration. ClusterError, naming the option that it was given for, if it is none."""
    found = parse(text)
    if found is None:
        raise ClusterError(f"{option} {text!r} is no duration; write it as 90s, 5m, 1h30m or 2d")
    return found
