"""What a decision about a pod is made from, and the plan that it results in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.nodeagent.pods.instructions import Instruction
from services.nodeagent.pods.records import PodRecord


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Results of a container's probes so far; None means that there is no such probe, or no result yet."""

    startup: bool | None = None
    liveness: bool | None = None
    readiness: bool | None = None


NO_RESULT = ProbeResult()


@dataclass(frozen=True, slots=True)
class View:
    """Everything a decision depends on. `now` in unix seconds; `removed`: the object is gone from the API."""

    pod: Mapping[str, Any]
    record: PodRecord
    now: float
    jobs: frozenset[str] = frozenset()
    probes: Mapping[str, ProbeResult] = field(default_factory=dict)
    removed: bool = False


@dataclass(slots=True)
class Plan:
    """Instructions in order, and the next time (unix seconds) at which to decide again without any event."""

    instructions: list[Instruction] = field(default_factory=list)
    wake_at: float | None = None

    def add(self, instruction: Instruction) -> None:
        self.instructions.append(instruction)

    def wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)
