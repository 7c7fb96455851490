"""One pod's worker: events in, `decide`, instructions out, one after the other.

Everything that takes long runs as a job beside the loop, so that a deletion is heard at once; everything else is done
in order. The worker sleeps until an event or the time that the plan names.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from services.nodeagent import metrics
from services.nodeagent.pods import adoption, apply, awaiting, specs
from services.nodeagent.pods.containers import CONTAINER_LABEL
from services.nodeagent.pods.decide import decide
from services.nodeagent.pods.effects import Effects
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.hooks import write_pod_document
from services.nodeagent.pods.jobs import Jobs
from services.nodeagent.pods.probing import PodProbes
from services.nodeagent.pods.records import PodRecord
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.pods.status import pod_status
from services.nodeagent.pods.statuses import container_status, is_ready, is_started
from services.nodeagent.pods.termination import termination
from services.nodeagent.pods.view import NO_RESULT, Plan, View
from services.nodeagent.runtime.model import ContainerState, SandboxState
from shared.errors import RuntimeFailure

log = logging.getLogger(__name__)

RETRY_S = 2.0
# More rounds of deciding than any pod needs between two events: a decision that repeats itself is a bug, not a loop.
MOST_ROUNDS = 200

# Fields of the metadata whose change is kept on disk and shown in volumes.
_KEPT = ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations")


class PodWorker:
    """Drives one pod from `run`; the other methods feed it and return at once.

    `removed`: the object is gone from the API; `done`: nothing is left here either; `mute`: its status is not told.
    """

    def __init__(self, pod: Mapping[str, Any], record: PodRecord, tools: Facilities) -> None:
        metadata = pod["metadata"]
        layout = tools.layout.pod(metadata["namespace"], metadata["name"], metadata["uid"])
        self.record = record
        self.setting = PodSetting(pod, record, layout)
        self.removed = False
        self.done = False
        self.mute = False
        self._tools = tools
        self._wake = asyncio.Event()
        self._decided = asyncio.Event()
        self._jobs = Jobs(layout.name, self._wake.set)
        self._probes = PodProbes(self.setting, tools.prober, tools.events, self._wake.set)
        self._effects = Effects(self.setting, tools, self._jobs, self._probes)
        self._exits: set[asyncio.Event] = set()
        self._saved: dict[str, Any] = {}
        self._told: set[tuple[str, int]] = set()
        self._seen = tools.clock()
        # the start of a pod that was adopted is not ours to measure
        self._counted = record.started_at > 0
        tools.volumes.locate(self.setting)
        tools.publisher.observe(pod)

    @property
    def pod(self) -> Mapping[str, Any]:
        return self.setting.pod

    # events

    def update(self, pod: Mapping[str, Any]) -> None:
        """The object changed."""
        old, self.setting.pod = self.setting.pod, pod
        self.record.awaiting = False  # it is this node's now, if it was not before
        self._tools.publisher.observe(pod)
        if any(old["metadata"].get(key) != pod["metadata"].get(key) for key in _KEPT):
            self._tools.checkpoints.save_pod(pod)
            if self.setting.layout.logs.exists():
                write_pod_document(self.setting, self._tools.node.name)
            self._retry_starts()
            self._effects.refresh()
        self._wake.set()

    def remove(self) -> None:
        """The object is gone from the API."""
        self.removed = True
        self._wake.set()

    def end(self, reason: str, message: str, grace: float, *, disruption: str = "") -> None:
        """The node ends the pod within `grace` seconds; `disruption` is what its condition DisruptionTarget says."""
        record = self.record
        if record.finished or record.deleted:
            return
        record.disruption = disruption
        self._effects.end(reason, message, grace)
        self._wake.set()

    def revive(self) -> None:
        """Begin anew a static pod that the node's shutdown has ended; its restart counts go on."""
        record = self.record
        if record.finished and record.disruption:
            record.finished = record.cleaned = record.initialized = False
            record.stop_by, record.end_reason, record.end_message, record.disruption = 0.0, "", "", ""
            self._wake.set()

    async def wait_cleaned(self) -> None:
        """Wait until nothing of the pod runs here or is mounted any more."""
        while not (self.record.cleaned or self.done):
            with self.exits() as event:
                await event.wait()

    async def wait_restored(self) -> None:
        """Wait until all of a pod that a migration brings is restored, and frozen. RuntimeFailure if it cannot be."""
        while (outcome := awaiting.outcome(self.record)) is None and not self.removed:
            self._decided.clear()
            await self._decided.wait()
        if self.removed:
            raise RuntimeFailure("it was given up")
        if outcome:
            raise RuntimeFailure(outcome)

    def objects_changed(self) -> None:
        """A ConfigMap or Secret that the pod refers to has changed."""
        self._retry_starts()
        if self.record.volumes_failure is not None:
            self.record.volumes_failure = None
        self._effects.refresh()
        self._wake.set()

    def container_exited(self, state: ContainerState) -> None:
        """A container ended; repeated reports, and those of earlier attempts, only lead to their removal."""
        container = self.record.container(state.labels[CONTAINER_LABEL])
        if state.id == container.container_id and container.termination is None:
            layout, attempt = self.setting.layout, container.attempt
            spec = specs.container_spec(self.pod, container.name) or {}
            message = layout.termination_log(container.name, attempt)
            apply.exited(container, termination(state, spec, message, layout.log(container.name, attempt)))
        self._effects.garbage.append(state.id)
        self._wake.set()
        self._tell_exits()

    def adopt(self, sandboxes: Sequence[SandboxState], containers: Sequence[ContainerState]) -> None:
        """Take over what the keeper holds of this pod; what is on record and not held is lost."""
        now = self._tools.clock()
        exited = adoption.adopt(self.record, self.pod, sandboxes, containers, now)
        for state in exited:
            self.container_exited(state)
        self._effects.garbage += adoption.strays(self.record, containers)
        for container in self.record.containers.values():
            if container.running and (image := self._tools.images.find(container.image)) is not None:
                self._tools.images.hold(image.id, container.container_id)
        self._wake.set()

    def poke(self) -> None:
        """Something else has changed the record."""
        self._wake.set()

    def reconnect(self) -> None:
        """The pod's interface or address is gone although its sandbox is there: make them again."""
        log.warning("pod %s has lost its network", self.setting.layout.name)
        self._effects.reconnect()

    @contextmanager
    def exits(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever a container of the pod ends, or the pod does."""
        event = asyncio.Event()
        self._exits.add(event)
        try:
            yield event
        finally:
            self._exits.discard(event)

    def container_status(self, name: str) -> dict[str, Any]:
        """The container's status as of now."""
        spec = specs.container_spec(self.pod, name) or {"name": name}
        return container_status(self.pod, self.record, spec, self._probes.results(), self._tools.clock())

    def _tell_exits(self) -> None:
        for event in self._exits:
            event.set()

    # the loop

    async def run(self) -> None:
        """Work until the pod is gone from the node and from the API."""
        async with asyncio.TaskGroup() as group:
            self._jobs.open(group)
            if self.record.volumes_ready:
                self._effects.refresh()
            while not self.done:
                self._wake.clear()
                try:
                    plan = await self._step(group)
                except RuntimeFailure as exc:
                    log.warning("pod %s: %s", self.setting.layout.name, exc)
                    plan = self._later()
                except Exception:
                    log.exception("pod %s/%s", self.setting.layout.namespace, self.setting.layout.name)
                    plan = self._later()
                if not self.done:
                    await self._sleep(plan)
            self._probes.stop()
            self._jobs.close()
        self._tell_exits()

    async def _step(self, group: asyncio.TaskGroup) -> Plan:
        with metrics.pod_worker_duration.labels("sync").time():
            return await self._sync(group)

    async def _sync(self, group: asyncio.TaskGroup) -> Plan:
        for _ in range(MOST_ROUNDS):
            plan = decide(self._view())
            for instruction in plan.instructions:
                await self._effects.execute(instruction)
            self.removed = self.removed or self._effects.gone
            self._probes.follow(group)
            self._publish()
            self._save()
            self._decided.set()
            self._tell_back_off()
            if self.record.cleaned:
                self._tell_exits()
            if not plan.instructions:
                await self._effects.remove_garbage()
                self.done = self.removed and self.record.deleted and self.record.cleaned
                return plan
        raise RuntimeError(f"decision does not settle: {plan.instructions}")

    async def _sleep(self, plan: Plan) -> None:
        times = [plan.wake_at, self.setting.renew_at or None]
        due = min((at for at in times if at is not None), default=None)
        delay = None if due is None else max(due - self._tools.clock(), 0.0)
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            if self.setting.renew_at and self._tools.clock() >= self.setting.renew_at:
                self.setting.renew_at = 0.0
                self._effects.refresh()

    def _later(self) -> Plan:
        return Plan(wake_at=self._tools.clock() + RETRY_S)

    def _view(self) -> View:
        return View(
            self.pod, self.record, self._tools.clock(), self._jobs.keys, self._probes.results(), removed=self.removed
        )

    def _publish(self) -> None:
        results, record = self._probes.results(), self.record
        for spec in specs.every_container(self.pod):
            container = record.container(spec["name"])
            result = results.get(spec["name"], NO_RESULT)
            container.started = is_started(spec, container, result)
            container.ready = is_ready(spec, container, result)
        if self.mute or self.removed or record.awaiting:
            return
        tools, uid = self._tools, record.uid
        status = pod_status(self.pod, record, results, tools.node.addresses, tools.publisher.known(uid), tools.clock())
        tools.publisher.publish(uid, status)
        if not self._counted and status["phase"] == "Running":
            self._counted = True
            metrics.pod_start_duration.observe(max(tools.clock() - self._seen, 0.0))

    def _tell_back_off(self) -> None:
        """One event for each attempt that has to wait for its back-off."""
        record = self.record
        for spec in specs.every_container(self.pod):
            name, container = spec["name"], record.container(spec["name"])
            if container.termination is None or (name, container.attempt) in self._told or record.deleted:
                continue
            state = self.container_status(name)["state"].get("waiting") or {}
            if state.get("reason") == "CrashLoopBackOff":
                self._told.add((name, container.attempt))
                text = f"Back-off restarting failed container {name} in pod {specs.place(self.pod)}"
                self._tools.events.pod(self.pod, "Warning", "BackOff", text, name)

    def _save(self) -> None:
        document = self.record.document()
        if document != self._saved and self.setting.layout.root.exists():
            self._tools.checkpoints.save_record(self.record)
            self._saved = document

    def _retry_starts(self) -> None:
        for container in self.record.containers.values():
            container.start_failure = container.resize_failure = None
