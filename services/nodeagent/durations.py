"""Durations in messages, for people and tools that know kubelet's."""


def text(seconds: float) -> str:
    """Seconds as Go prints a time.Duration: 0.5s, 40s, 1m20s, 5m0s, 1h0m0s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}h{minutes}m{rest:g}s"
    return f"{minutes}m{rest:g}s" if minutes else f"{rest:g}s"
