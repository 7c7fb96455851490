"""Wiring of the scheduler: the STATE feed fills the view and the queue, rounds of decisions go out as batches.

A round looks at a snapshot, decides, writes, and waits until its own cache has passed what it wrote: so the next round
sees its own bindings like everybody else's, and nothing has to be assumed. Several schedulers may run; one leads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from services.scheduler import metrics
from services.scheduler.binding import Binding, bind
from services.scheduler.conditions import condition
from services.scheduler.decide import Decision, decide, nominated_node
from services.scheduler.evicting import Evictions
from services.scheduler.preemption import Budget
from services.scheduler.queue import SchedulingQueue
from services.scheduler.snapshot import FINAL_PHASES, ClusterView, Key
from services.scheduler.volumes import VolumeView
from shared.bus.api import ApiClient
from shared.bus.connection import connect
from shared.bus.recorder import EventRecorder
from shared.errors import ApiError, BusError, StorageFull
from shared.events.subjects import Ref, resource_filter
from shared.objects import meta
from shared.objects.volumebinding import CLAIMS, CLASSES, SELECTED_NODE, VOLUMES
from shared.service import Service
from shared.state.cache import Cache, Change
from shared.state.feed import Feed
from shared.state.leases import Leases
from shared.state.log import StateLog
from shared.state.streams import STATE

log = logging.getLogger(__name__)

SCHEDULER_NAME = "default-scheduler"
# Enough to fill several batches, few enough that a pod that has just arrived does not wait for thousands before it.
ROUND = 400
LEADER_TTL_S = 5
# after a round that failed, because the bus is away or its disk full
PAUSE_S = 1.0
BUDGETS = ("policy", "poddisruptionbudgets")
FOLLOWED = (("", "nodes"), ("", "pods"), ("", "namespaces"), CLAIMS, VOLUMES, CLASSES, BUDGETS)


class Scheduler:
    """State of one scheduler process."""

    def __init__(self, log: StateLog, cache: Cache, api: ApiClient, recorder: EventRecorder) -> None:
        self.log = log
        self.cache = cache
        self.api = api
        self.recorder = recorder
        self.view = ClusterView()
        self.volumes = VolumeView()
        self.queue = SchedulingQueue()
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.budgets: dict[Key, Budget] = {}
        self.evictions = Evictions(cache, api, recorder)
        self.wake = asyncio.Event()
        self._unsubscribe = cache.on_change(self.take)

    def close(self) -> None:
        """Follow the cache no longer."""
        self._unsubscribe()

    def take(self, change: Change) -> None:
        """Follow the cache; called with every change in order."""
        ref = change.record.ref
        obj = None if change.type == "DELETED" else change.record.object
        if ref.resource == "pods":
            self._take_pod(ref, obj)
        elif ref.resource == "nodes":
            if self.view.set_node(ref.name, obj):
                self.queue.cluster_changed()
        elif self.volumes.take(ref, obj):
            self.queue.cluster_changed()
        elif ref[:2] == BUDGETS:
            self._take_budget((ref.namespace, ref.name), obj)
        elif obj is None:
            self.namespaces.pop(ref.name, None)
        else:
            self.namespaces[ref.name] = obj["metadata"].get("labels") or {}
        self.wake.set()

    def _take_budget(self, key: Key, obj: Mapping[str, Any] | None) -> None:
        budget = None if obj is None else Budget.of(obj)
        if budget is None:
            self.budgets.pop(key, None)
        else:
            self.budgets[key] = budget

    def _take_pod(self, ref: Ref, pod: Mapping[str, Any] | None) -> None:
        self.volumes.take_pod((ref.namespace, ref.name), pod)
        if self.view.set_pod(ref.namespace, ref.name, pod):
            self.queue.cluster_changed()
        key = (ref.namespace, ref.name)
        if pod is not None and waits_for_us(pod):
            self.queue.add(key, pod, time.monotonic())
        else:
            self.queue.remove(key)

    async def run(self) -> None:
        """Decide whenever something waits and may be tried."""
        while True:
            now = time.monotonic()
            for name, count in self.queue.counts(now).items():
                metrics.PENDING.labels(name).set(count)
            due = self.queue.next_due()
            if due is None or due > now:
                self.wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if due is None else due - now):
                        await self.wake.wait()
                continue
            try:
                await self.round(now)
            except (BusError, StorageFull) as exc:
                # what was written of it all the same comes by the cache; until then its revision refuses another write
                log.warning("a round was given up, trying again: %s", exc)
                await asyncio.sleep(PAUSE_S)

    async def round(self, now: float) -> None:
        """One round: the most important waiting pods against one snapshot."""
        waiting = self.queue.ready(now, ROUND)
        records = {entry.key: self.cache.get(Ref("", "pods", *entry.key)) for entry in waiting}
        pods = [record.object for entry in waiting if (record := records[entry.key]) is not None]
        started = time.perf_counter()
        nominated = self.queue.nominated(records)
        budgets = list(self.budgets.values())
        decisions = decide(
            self.view.freeze(), pods, self.namespaces, self.volumes, nominated=nominated, budgets=budgets
        )
        decided = time.perf_counter()
        bindings = [
            Binding(d, record) for d in decisions if d.node and not d.claims and (record := records[d.key]) is not None
        ]
        done, overtaken, revision = await bind(self.log, bindings)
        for binding in done:
            self._note_bound(binding, now)
        for binding in overtaken:
            self.queue.retry(binding.decision.key)
        for decision in decisions:
            metrics.ALGORITHM.observe((decided - started) / len(decisions))
            if decision.node and decision.claims:
                await self._select_node(decision)
            elif not decision.node and (record := records[decision.key]) is not None:
                await self._note_waiting(decision, record.object)
        result = "scheduled" if done else "unschedulable"
        metrics.ATTEMPTS.labels(result, SCHEDULER_NAME).observe(time.perf_counter() - started)
        if revision:
            await self.cache.wait_revision(revision)
        if overtaken:
            await self.cache.consistent()

    def _note_bound(self, binding: Binding, now: float) -> None:
        key, node = binding.decision.key, binding.decision.node
        entry = self.queue.remove(key)
        if entry is not None:
            metrics.SLI.labels(str(entry.attempts + 1)).observe(time.monotonic() - entry.since)
        metrics.SCHEDULE_ATTEMPTS.labels("scheduled", SCHEDULER_NAME).inc()
        message = f"Successfully assigned {'/'.join(key)} to {node}"
        self.recorder.record(binding.record.object, "Normal", "Scheduled", message, action="Binding")

    async def _select_node(self, decision: Decision) -> None:
        """Write the node on the claims that wait for it; the pod comes back when the binder has bound them."""
        # parked before the first write: the answer to it may already be a change that wakes the pod
        self.queue.failed(decision.key, time.monotonic())
        for namespace, name in decision.claims:
            claim = self.volumes.claims.get((namespace, name))
            if claim is None or meta.annotations(claim).get(SELECTED_NODE) == decision.node:
                continue
            metadata = {
                "resourceVersion": claim["metadata"]["resourceVersion"],
                "annotations": {SELECTED_NODE: decision.node},
            }
            path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
            try:
                await self.api.patch(path, {"metadata": metadata})
            except (ApiError, BusError):
                # whatever changed the claim wakes the pod again; a broker that is away is tried with the back-off
                self.queue.retry(decision.key)
                return

    async def _note_waiting(self, decision: Decision, pod: Mapping[str, Any]) -> None:
        self.queue.failed(decision.key, time.monotonic())
        metrics.SCHEDULE_ATTEMPTS.labels("unschedulable", SCHEDULER_NAME).inc()
        self.recorder.record(pod, "Warning", "FailedScheduling", decision.message, action="Scheduling")
        if decision.victims:
            await self.evictions.evict(decision.victims, pod, decision.nominated)
        before = meta.condition(pod, "PodScheduled")
        told = before is not None and before.get("message") == decision.message and before["status"] == "False"
        if told and nominated_node(pod) == decision.nominated:
            return
        namespace, name = decision.key
        since = (before or {}).get("lastTransitionTime") or ""
        why = condition(pod, "PodScheduled", "False", since, reason="Unschedulable", message=decision.message)
        status = {"conditions": [why], "nominatedNodeName": decision.nominated or None}
        try:
            await self.api.patch(
                f"/api/v1/namespaces/{namespace}/pods/{name}/status",
                {"status": status},
                kind="strategic",
            )
        except (ApiError, BusError):
            # Only the explanation is late: the event carries it too, and the next attempt writes it again.
            return


def waits_for_us(pod: Mapping[str, Any]) -> bool:
    """Whether a pod needs a node from this scheduler."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("phase") not in FINAL_PHASES
        and spec.get("schedulerName", SCHEDULER_NAME) == SCHEDULER_NAME
        and not spec.get("schedulingGates")
    )


async def main(service: Service) -> None:
    """Wire the scheduler and run it while this process leads."""
    async with connect(service.settings, "scheduler") as bus:
        # Nobody watches this cache: without a history it is a third smaller.
        cache = Cache(ring=1)
        # Namespaces are here for their labels, which a pod's affinity to other namespaces may select by.
        feed = Feed(bus, STATE, cache, [resource_filter(*kind) for kind in FOLLOWED])
        service.start(feed.run(), name="feed")
        await feed.wait_loaded()
        service.ready = True
        api = ApiClient(bus, caller="service.scheduler")
        leases = Leases(bus)
        identity = f"{socket.gethostname()}_{os.getpid()}"
        while True:
            async with leases.leadership("scheduler", identity, LEADER_TTL_S) as lost:
                recorder = EventRecorder(api, SCHEDULER_NAME)
                scheduler = Scheduler(StateLog(bus), cache, api, recorder)
                # the next leadership begins with another one
                with contextlib.closing(scheduler):
                    async with asyncio.TaskGroup() as group:
                        tasks = [
                            group.create_task(recorder.run(), name="events"),
                            group.create_task(scheduler.run(), name="rounds"),
                        ]
                        await lost.wait()
                        for task in tasks:
                            task.cancel()
