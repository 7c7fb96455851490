"""Back-off between attempts, as kubelet counts it, but as plain values so that it survives a restart of the agent.

Source: Kubernetes "Pod lifecycle", container restart back-off: 10 s, doubled up to 300 s, reset after 10 minutes
without trouble; image pulls use the same numbers.
"""

from dataclasses import dataclass

INITIAL_S = 10.0
MAXIMUM_S = 300.0
RESET_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay in seconds before the next attempt, and when (unix seconds) the last attempt was made."""

    delay: float = 0.0
    updated: float = 0.0

    def until(self, event: float) -> float:
        """Time (unix seconds) before which no attempt may start, given that the last one failed at `event`."""
        if not self.delay or event - self.updated > RESET_AFTER_S:
            return 0.0
        return event + self.delay

    def next(self, event: float, now: float) -> "Backoff":
        """The back-off after an attempt at `now` that follows a failure at `event`."""
        if not self.delay or event - self.updated > RESET_AFTER_S:
            return Backoff(INITIAL_S, now)
        return Backoff(min(self.delay * 2, MAXIMUM_S), now)


NO_BACKOFF = Backoff()
