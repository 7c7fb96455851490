"""From single probe outcomes to a settled result. Pure. Source: core/v1 Probe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timing:
    """A probe's parameters, in seconds and counts, with the API's defaults."""

    delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> "Timing":
        return cls(
            float(probe.get("initialDelaySeconds") or 0),
            float(probe.get("periodSeconds") or 10),
            float(probe.get("timeoutSeconds") or 1),
            int(probe.get("successThreshold") or 1),
            int(probe.get("failureThreshold") or 3),
        )


class Streak:
    """Counts equal outcomes in a row."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._last: bool | None = None
        self._count = 0

    def observe(self, success: bool) -> bool | None:
        """The settled result after this outcome, None while too few in a row were equal."""
        self._count = self._count + 1 if success is self._last else 1
        self._last = success
        threshold = self._timing.success_threshold if success else self._timing.failure_threshold
        return success if self._count >= threshold else None
