"""When the probes of one container run, and what they have found so far.

One task per probe sleeps for its period; a result that settles wakes the pod's worker. Liveness and readiness wait for
the startup probe. Source: Kubernetes "Configure liveness, readiness and startup probes", KEP-950.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from services.nodeagent.pods.view import ProbeResult
from services.nodeagent.probes.prober import Outcome, Prober, Target
from services.nodeagent.probes.streak import Streak, Timing

KINDS = ("startup", "liveness", "readiness")

Report = Callable[[str, Outcome], None]
"""Called with the kind of probe and its outcome after every check."""


class ContainerProbes:
    """The probes of one attempt of a container."""

    def __init__(
        self,
        prober: Prober,
        spec: Mapping[str, Any],
        target: Target,
        on_change: Callable[[], None],
        on_outcome: Report,
        *,
        started: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.target = target
        self.result = ProbeResult(startup=True if started and spec.get("startupProbe") else None)
        self._prober = prober
        self._spec = spec
        self._on_change = on_change
        self._on_outcome = on_outcome
        self._sleep = sleep
        self._started = asyncio.Event()
        if started or not spec.get("startupProbe"):
            self._started.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._liveness_off = False

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run every probe that the container has as a task of `group`."""
        for kind in KINDS:
            probe = self._spec.get(f"{kind}Probe")
            if probe and not (kind == "startup" and self._started.is_set()):
                name = f"{kind} probe {self._spec['name']}"
                self._tasks.append(group.create_task(self._run(kind, probe), name=name))

    def end_restarts(self) -> None:
        """The pod is going away: only readiness still matters."""
        self._liveness_off = True

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _run(self, kind: str, probe: Mapping[str, Any]) -> None:
        timing = Timing.of(probe)
        streak = Streak(timing)
        if kind != "startup":
            await self._started.wait()
        await self._sleep(timing.delay)
        while True:
            if kind == "readiness" or not self._liveness_off:
                outcome = await self._prober.check(probe, self.target, timing.timeout)
                self._on_outcome(kind, outcome)
                settled = None if outcome.unknown else streak.observe(outcome.success)
                if settled is not None:
                    self._settle(kind, settled)
                    if kind == "startup" or (kind == "liveness" and not settled):
                        return
            await self._sleep(timing.period)

    def _settle(self, kind: str, success: bool) -> None:
        if getattr(self.result, kind) is success:
            return
        changes: dict[str, Any] = {kind: success}
        self.result = replace(self.result, **changes)
        if kind == "startup" and success:
            self._started.set()
        self._on_change()
