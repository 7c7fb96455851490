"""Graceful shutdown of the node: pods end in order of priority, each with the time its priority is given.

It begins when the Node is annotated (`wherry node shutdown`), when systemd announces it (see `inhibitor`), or when the
agent is asked to stop while systemd stops the whole machine; a mere restart of the agent leaves every container as it
is.

Source: Kubernetes "Node shutdowns" (KEP-2000, KEP-2712); reasons and messages are kubelet's.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from services.nodeagent.events import Events
from services.nodeagent.eviction.thresholds import duration
from services.nodeagent.eviction.usage import CRITICAL_PRIORITY
from services.nodeagent.pods.admission import Rejection
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.pods.specs import grace_seconds
from services.nodeagent.pods.worker import PodWorker
from shared.errors import SettingsError

log = logging.getLogger(__name__)

ANNOTATION = "wherry.io/shutdown"
REQUESTED, DONE = "requested", "done"
TROUBLE = "node is shutting down"
MESSAGE = "Pod was terminated in response to imminent node shutdown."
REJECTION: Rejection = ("NodeShutdown", "Pod was rejected as the node is shutting down.")
# What is left after a pod's grace period for killing it and taking its mounts and network away.
CLEANING_S = 10.0
# How long a machine that goes down waits for the API to hear how its pods ended.
PUBLISH_S = 3.0
_DEFAULT = f"{CRITICAL_PRIORITY}=10s,0=20s"
_WHEN = ("auto", "always", "never")


@dataclass(frozen=True, slots=True)
class ShutdownSettings:
    """`periods` are (least priority, seconds), highest first; `on_term` is when SIGTERM means the whole machine."""

    periods: tuple[tuple[int, float], ...]
    on_term: str = "auto"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads WHERRY_SHUTDOWN_GRACE (PRIORITY=TIME,...) and WHERRY_SHUTDOWN_ON_TERM. SettingsError names them."""
        env = os.environ if environ is None else environ
        periods = []
        for part in (env.get("WHERRY_SHUTDOWN_GRACE") or _DEFAULT).split(","):
            priority, sign, text = part.strip().partition("=")
            try:
                if not sign:
                    raise ValueError("it is not of the form PRIORITY=TIME")
                periods.append((int(priority), duration(text)))
            except ValueError as exc:
                raise SettingsError(f"WHERRY_SHUTDOWN_GRACE: {part!r}: {exc}") from exc
        when = env.get("WHERRY_SHUTDOWN_ON_TERM") or "auto"
        if when not in _WHEN:
            raise SettingsError(f"WHERRY_SHUTDOWN_ON_TERM {when!r} is not one of {', '.join(_WHEN)}")
        return cls(tuple(sorted(periods, reverse=True)), when)

    @property
    def limit(self) -> float:
        """Seconds that the whole shutdown may take."""
        return sum(seconds + CLEANING_S for _, seconds in self.periods) + PUBLISH_S

    def group(self, priority: int) -> int:
        """Index of the period that a pod of this priority belongs to; the last one takes all that lie below."""
        found = (index for index, (least, _) in enumerate(self.periods) if priority >= least)
        return next(found, len(self.periods) - 1)


class NodeShutdown:
    """`on_change` is called when the node begins or ends being shut down; `tell` writes the annotation."""

    def __init__(
        self, settings: ShutdownSettings, manager: PodManager, events: Events, tell: Callable[[str], Awaitable[None]]
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.active = False
        self._settings = settings
        self._manager = manager
        self._events = events
        self._tell = tell
        self._wanted = asyncio.Event()
        self._wanted_by_node = False

    def observe(self, node: Mapping[str, Any] | None) -> None:
        """The Node as the API has it."""
        notes = ((node or {}).get("metadata") or {}).get("annotations") or {}
        wanted = ANNOTATION in notes
        if wanted and not self._wanted_by_node:
            self._wanted.set()
        elif self._wanted_by_node and not wanted:
            self.resume()
        self._wanted_by_node = wanted

    async def run(self) -> None:
        """Shut the node down whenever its annotation says so, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.end_pods()
            await self._tell(DONE)

    async def drain(self) -> None:
        """To be awaited after SIGTERM: end all pods if the machine is going down, and nothing otherwise."""
        when = self._settings.on_term
        if when == "always" or (when == "auto" and await machine_is_stopping()):
            await self.end_and_tell()

    async def end_and_tell(self) -> None:
        """End every pod, and give the API a moment to hear of it."""
        await self.end_pods()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PUBLISH_S):
                await self._manager.wait_published()

    async def end_pods(self) -> None:
        """End every pod, the least important first."""
        self.active = True
        self.on_change()
        self._events.node("Normal", "Shutdown", "Shutdown manager detected shutdown event")
        groups: dict[int, list[PodWorker]] = {}
        for worker in self._manager.workers.values():
            if worker.record.started_at and not worker.record.cleaned:
                groups.setdefault(self._settings.group(_priority(worker)), []).append(worker)
        for index in sorted(groups, reverse=True):
            seconds = self._settings.periods[index][1]
            for worker in groups[index]:
                worker.end("Terminated", MESSAGE, min(seconds, grace_seconds(worker.pod)), disruption=MESSAGE)
            try:
                async with asyncio.timeout(seconds + CLEANING_S), asyncio.TaskGroup() as group:
                    for worker in groups[index]:
                        group.create_task(worker.wait_cleaned(), name=f"end of {worker.setting.layout.name}")
            except TimeoutError:
                log.warning("some pods did not end within %g s of the node's shutdown", seconds + CLEANING_S)

    def admit(self, pod: Mapping[str, Any]) -> Rejection | None:
        """A node on its way down takes nothing in."""
        return REJECTION if self.active else None

    def resume(self) -> None:
        """The shutdown was called off: take pods again."""
        self.active = False
        self._manager.revive_static()
        self.on_change()


def _priority(worker: PodWorker) -> int:
    return int(worker.pod["spec"].get("priority") or 0)


async def machine_is_stopping() -> bool:
    """Whether systemd is taking the machine down; False where there is no systemd."""
    if shutil.which("systemctl") is None:
        return False
    process = await asyncio.create_subprocess_exec(
        "systemctl",
        "is-system-running",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return output.strip() == b"stopping"
