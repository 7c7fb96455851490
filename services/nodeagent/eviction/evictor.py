"""The node's defence against running out of memory, disk or processes: looks, frees what nobody needs, then ends pods.

One pod at a time: what it gives back is seen before the next one goes.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from services.nodeagent.events import Events
from services.nodeagent.eviction import decide, limits, usage
from services.nodeagent.eviction.limits import DiskUse
from services.nodeagent.eviction.signals import RESOURCE, Level
from services.nodeagent.eviction.thresholds import EvictionSettings, Threshold, Watch
from services.nodeagent.pods.admission import Rejection
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.pods.specs import grace_seconds, qos_class
from services.nodeagent.pods.worker import PodWorker
from shared.errors import RuntimeFailure
from shared.objects.tolerations import tolerates

log = logging.getLogger(__name__)

CLEANED_LIMIT_S = 30.0
"""How long a pod that was told to go may take before the next one is looked at; kubelet waits as long."""
_MEMORY_TAINT = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}


class Images(Protocol):
    """What can be freed without hurting a pod."""

    async def free(self) -> int:
        """Remove every image that no container uses; the bytes that gave back."""


class Evictor:
    """`on_change` is called when the node's pressures change. `levels` tells the levels by signal."""

    def __init__(
        self,
        settings: EvictionSettings,
        manager: PodManager,
        stats: usage.StatsSource,
        images: Images,
        events: Events,
        levels: Callable[[], Mapping[str, Level]],
        clock: Callable[[], float],
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.pressures: frozenset[str] = frozenset()
        self._settings = settings
        self._manager = manager
        self._stats = stats
        self._images = images
        self._events = events
        self._levels = levels
        self._clock = clock
        self._watch = Watch()

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                acted = await self.step()
            except (OSError, RuntimeFailure) as exc:
                log.warning("the node's pressure is not known: %s", exc)
                acted = False
            if not acted:
                await asyncio.sleep(self._settings.interval)

    async def step(self) -> bool:
        """One look; whether a pod was ended."""
        due = self._look()
        if await self._end_greedy():
            return True
        if not due:
            return False
        resource = RESOURCE[due[0].signal]
        self._events.node("Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if decide.is_disk(due[0]):
            freed = await self._images.free()
            log.info("unused images gave back %d bytes", freed)
            due = self._look()
            if not due:
                return False
        return await self._end_one(due[0])

    def admit(self, pod: Mapping[str, Any]) -> Rejection | None:
        """Whether a new pod is kept out because of the node's pressure."""
        tolerations = pod["spec"].get("tolerations") or ()
        why = decide.refusal(
            self.pressures,
            qos_class(pod) == "BestEffort",
            usage.is_critical(pod),
            any(tolerates(one, _MEMORY_TAINT) for one in tolerations),
        )
        return ("Evicted", why) if why else None

    def _look(self) -> list[Threshold]:
        now = self._clock()
        due = decide.look(self._watch, self._settings, self._levels(), now)
        before, self.pressures = self.pressures, decide.pressures(self._watch, self._settings, now)
        if before != self.pressures:
            self.on_change()
        return due

    async def _end_greedy(self) -> bool:
        """End the pods that exceed a limit of their own."""
        found = []
        for worker in self._active():
            if limits.is_limited(worker.pod):
                why = limits.excess(worker.pod, await asyncio.to_thread(usage.disk_use, worker.setting))
                if why:
                    found.append((worker, why))
        for worker, why in found:
            self._evict(worker, why, 0.0, disruption=False)
        for worker, _ in found:
            await self._wait_cleaned(worker)
        return bool(found)

    async def _end_one(self, threshold: Threshold) -> bool:
        stats = await self._stats.stats_all()
        workers = {worker.record.uid: worker for worker in self._active()}
        disk = decide.is_disk(threshold)
        candidates = []
        for worker in workers.values():
            used = await asyncio.to_thread(usage.disk_use, worker.setting) if disk else DiskUse()
            candidates.append(usage.candidate(worker.setting, stats, used))
        order = [one for one in decide.rank(threshold.signal, candidates) if one.uid in self._manager.workers]
        if not order:
            log.warning("the node is low on %s and no pod can be ended", RESOURCE[threshold.signal])
            return False
        victim = order[0]
        worker = workers[victim.uid]
        level = self._levels()[threshold.signal]
        grace = min(self._settings.most_grace, grace_seconds(worker.pod)) if threshold.grace else 0.0
        self._evict(worker, decide.message(threshold, level, victim), grace, disruption=True)
        await self._wait_cleaned(worker)
        return True

    def _active(self) -> list[PodWorker]:
        """Pods that run here and are not on their way out."""
        return [
            worker
            for worker in self._manager.workers.values()
            if worker.record.started_at and not worker.record.finished and not worker.record.deleted
        ]

    def _evict(self, worker: PodWorker, why: str, grace: float, *, disruption: bool) -> None:
        self._events.pod(worker.pod, "Warning", "Evicted", why)
        worker.end("Evicted", why, grace, disruption=why if disruption else "")

    async def _wait_cleaned(self, worker: PodWorker) -> None:
        try:
            async with asyncio.timeout(CLEANED_LIMIT_S):
                await worker.wait_cleaned()
        except TimeoutError:
            log.warning("evicted pod %s is not gone after %g s", worker.setting.layout.name, CLEANED_LIMIT_S)
