"""One pod's worker: events in, `decide`, instructions out, one after the other.

Everything that takes long (pulling, hooks, volumes, cleaning up) runs as a job beside the loop, so that a deletion is
heard at once; everything else is done in order. The worker sleeps until an event or the time that the plan names.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from services.nodeagent import metrics
from services.nodeagent.images.model import Image
from services.nodeagent.layout import container_id, sandbox_id
from services.nodeagent.pods import adoption, apply, cleaning, resources, setting, specs
from services.nodeagent.pods.containers import CONTAINER_LABEL
from services.nodeagent.pods.decide import decide
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.instructions import (
    BeginStop,
    CleanUp,
    ConfirmDeletion,
    CreateSandbox,
    EndPod,
    Instruction,
    MarkInitialized,
    PrepareVolumes,
    PullImage,
    ResizeContainer,
    RunPostStart,
    RunPreStop,
    SignalContainer,
    StartContainer,
    Terminate,
    job_key,
)
from services.nodeagent.pods.lifecycle import POST_START_LIMIT_S, run_handler
from services.nodeagent.pods.pulling import pull
from services.nodeagent.pods.records import Failure, PodRecord
from services.nodeagent.pods.setting import PodSetting, describe
from services.nodeagent.pods.starting import start
from services.nodeagent.pods.status import pod_status
from services.nodeagent.pods.statuses import container_status, is_ready, is_started
from services.nodeagent.pods.termination import termination
from services.nodeagent.pods.view import NO_RESULT, Plan, ProbeResult, View
from services.nodeagent.probes.prober import Outcome, Target, container_ports
from services.nodeagent.probes.schedule import ContainerProbes
from services.nodeagent.runtime.client import NotRunning, UnknownId
from services.nodeagent.runtime.model import ContainerState, SandboxState
from shared.errors import RuntimeFailure

log = logging.getLogger(__name__)

RETRY_S = 2.0
# More rounds of deciding than any pod needs between two events: a decision that repeats itself is a bug, not a loop.
MOST_ROUNDS = 200


class PodWorker:
    """Drives one pod from `run`; the other methods feed it and return at once."""

    def __init__(self, pod: Mapping[str, Any], record: PodRecord, tools: Facilities) -> None:
        metadata = pod["metadata"]
        self.record = record
        self.removed = False
        self.done = False
        self.mute = False
        self._tools = tools
        layout = tools.layout.pod(metadata["namespace"], metadata["name"], metadata["uid"])
        self.setting = PodSetting(pod, record, layout)
        tools.volumes.locate(self.setting)
        self._images: dict[str, Image] = {}
        self._probes: dict[str, ContainerProbes] = {}
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._wake = asyncio.Event()
        self._garbage: list[str] = []
        self._saved: dict[str, Any] = {}
        self._exits: set[asyncio.Event] = set()
        self._told: set[tuple[str, int]] = set()
        self._seen = tools.clock()
        # the start of a pod that was adopted is not ours to measure
        self._counted = record.started_at > 0
        tools.publisher.observe(pod)

    @property
    def pod(self) -> Mapping[str, Any]:
        return self.setting.pod

    # events

    def update(self, pod: Mapping[str, Any]) -> None:
        """The object changed."""
        old, self.setting.pod = self.setting.pod, pod
        self._tools.publisher.observe(pod)
        if any(old["metadata"].get(key) != pod["metadata"].get(key) for key in _KEPT):
            self._tools.checkpoints.save_pod(pod)
            self._retry_starts()
            self._refresh()
        self._wake.set()

    def remove(self) -> None:
        """The object is gone from the API."""
        self.removed = True
        self._wake.set()

    def objects_changed(self) -> None:
        """A ConfigMap or Secret that the pod refers to has changed."""
        self._retry_starts()
        if self.record.volumes_failure is not None:
            self.record.volumes_failure = None
        self._refresh()
        self._wake.set()

    def container_exited(self, state: ContainerState) -> None:
        """A container ended; repeated reports, and those of earlier attempts, only lead to their removal."""
        container = self.record.container(state.labels[CONTAINER_LABEL])
        if state.id == container.container_id and container.termination is None:
            layout, attempt = self.setting.layout, container.attempt
            spec = specs.container_spec(self.pod, container.name) or {}
            message = layout.termination_log(container.name, attempt)
            apply.exited(container, termination(state, spec, message, layout.log(container.name, attempt)))
        self._garbage.append(state.id)
        self._wake.set()
        self._tell_exits()

    def adopt(self, sandboxes: Sequence[SandboxState], containers: Sequence[ContainerState]) -> None:
        """Take over what the keeper holds of this pod; what is on record and not held is lost."""
        now = self._tools.clock()
        exited = adoption.adopt(self.record, self.pod, sandboxes, containers, now)
        for state in exited:
            self.container_exited(state)
        self._garbage += adoption.strays(self.record, containers)
        for container in self.record.containers.values():
            if container.running and (image := self._tools.images.find(container.image)) is not None:
                self._tools.images.hold(image.id, container.container_id)
        self._wake.set()

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
        return container_status(self.pod, self.record, spec, self._results(), self._tools.clock())

    def _tell_exits(self) -> None:
        for event in self._exits:
            event.set()

    # the loop

    async def run(self) -> None:
        """Work until the pod is gone from the node and from the API."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            if self.record.volumes_ready:
                self._refresh()
            while not self.done:
                self._wake.clear()
                try:
                    plan = await self._step()
                except RuntimeFailure as exc:
                    log.warning("pod %s: %s", self.setting.layout.name, exc)
                    plan = self._later()
                except Exception:
                    log.exception("pod %s/%s", self.setting.layout.namespace, self.setting.layout.name)
                    plan = self._later()
                if not self.done:
                    await self._sleep(plan)
            for probes in self._probes.values():
                probes.stop()
            for job in self._jobs.values():
                job.cancel()
        self._group = None
        self._tell_exits()

    async def _step(self) -> Plan:
        with metrics.pod_worker_duration.labels("sync").time():
            return await self._sync()

    async def _sync(self) -> Plan:
        for _ in range(MOST_ROUNDS):
            plan = decide(self._view())
            for instruction in plan.instructions:
                await self._execute(instruction)
            self._watch_probes()
            self._publish()
            self._save()
            self._tell_back_off()
            if not plan.instructions:
                await self._remove_garbage()
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
                self._refresh()

    def _later(self) -> Plan:
        return Plan(wake_at=self._tools.clock() + RETRY_S)

    def _view(self) -> View:
        return View(
            self.pod, self.record, self._tools.clock(), frozenset(self._jobs), self._results(), removed=self.removed
        )

    def _results(self) -> dict[str, ProbeResult]:
        return {
            name: probes.result
            for name, probes in self._probes.items()
            if probes.target.container_id == self.record.container(name).container_id
        }

    def _publish(self) -> None:
        results, record = self._results(), self.record
        for spec in specs.every_container(self.pod):
            container = record.container(spec["name"])
            result = results.get(spec["name"], NO_RESULT)
            container.started = is_started(spec, container, result)
            container.ready = is_ready(spec, container, result)
        if self.mute or self.removed:
            return
        tools, uid = self._tools, record.uid
        status = pod_status(self.pod, record, results, tools.node.addresses, tools.publisher.known(uid), tools.clock())
        tools.publisher.publish(uid, status)
        if not self._counted and status["phase"] == "Running":
            self._counted = True
            metrics.pod_start_duration.observe(max(tools.clock() - self._seen, 0.0))

    def _tell_back_off(self) -> None:
        """One event for each attempt that has to wait for its back-off."""
        record, layout = self.record, self.setting.layout
        for spec in specs.every_container(self.pod):
            name, container = spec["name"], record.container(spec["name"])
            if container.termination is None or (name, container.attempt) in self._told or record.deleted:
                continue
            state = self.container_status(name)["state"].get("waiting") or {}
            if state.get("reason") == "CrashLoopBackOff":
                self._told.add((name, container.attempt))
                place = f"{layout.name}_{layout.namespace}({record.uid})"
                text = f"Back-off restarting failed container {name} in pod {place}"
                self._tools.events.pod(self.pod, "Warning", "BackOff", text, name)

    def _save(self) -> None:
        document = self.record.document()
        if document != self._saved and self.setting.layout.root.exists():
            self._tools.checkpoints.save_record(self.record)
            self._saved = document

    # instructions

    async def _execute(self, instruction: Instruction) -> None:
        match instruction:
            case Terminate() | EndPod() | MarkInitialized():
                apply.apply(self.record, self.pod, instruction, self._tools.clock())
                if not isinstance(instruction, MarkInitialized):
                    self._cancel_beginnings()
            case BeginStop(name, reason):
                if self.record.container(name).stop is None:
                    self._tools.events.pod(self.pod, "Normal", "Killing", reason, name)
                apply.apply(self.record, self.pod, instruction, self._tools.clock())
            case CreateSandbox():
                await self._create_sandbox(instruction)
            case StartContainer(name, attempt):
                await self._start(name, attempt)
            case SignalContainer(name, kill):
                await self._signal(name, kill=kill)
            case ResizeContainer(name):
                await self._resize(name)
            case _:
                self._begin(job_key(instruction), lambda: self._job(instruction))

    def _job(self, instruction: Instruction) -> Coroutine[Any, Any, None]:
        match instruction:
            case PrepareVolumes():
                return self._prepare_volumes()
            case PullImage(name):
                return self._pull(name)
            case RunPostStart(name):
                return self._post_start(name)
            case RunPreStop(name, limit):
                return self._pre_stop(name, limit)
            case CleanUp():
                return self._clean_up()
            case ConfirmDeletion():
                return self._confirm()
            case _:
                raise TypeError(f"{instruction} is no job")

    def _begin(self, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def guarded() -> None:
            try:
                await work()
            except Exception:
                log.exception("pod %s: %s", self.setting.layout.name, key)
                await asyncio.sleep(RETRY_S)
            finally:
                if self._jobs.get(key) is asyncio.current_task():
                    del self._jobs[key]
                self._wake.set()

        if self._group is None:
            return
        self._jobs[key] = self._group.create_task(guarded(), name=f"{self.setting.layout.name} {key}")

    def _cancel_beginnings(self) -> None:
        for key in list(self._jobs):
            if key.partition("/")[0] in ("volumes", "refresh", "pull", "post-start"):
                self._jobs.pop(key).cancel()
        for probes in self._probes.values():
            probes.end_restarts()

    async def _prepare_volumes(self) -> None:
        record, tools = self.record, self._tools
        if not record.started_at:
            record.started_at = tools.clock()
            self._publish()
            rejection = tools.admit(self.pod)
            if rejection is not None:
                reason, message = rejection
                tools.events.pod(self.pod, "Warning", reason, message)
                await setting.prepare(tools.volume_hooks[:1], self.setting)
                apply.apply(record, self.pod, EndPod(reason, message), tools.clock())
                return
        try:
            await setting.prepare(tools.volume_hooks, self.setting)
        except Exception as exc:
            now = tools.clock()
            record.volumes_failure = Failure("FailedMount", describe(exc), now, now + RETRY_S * 5)
            tools.events.pod(self.pod, "Warning", "FailedMount", describe(exc))
        else:
            record.volumes_failure, record.volumes_ready = None, True

    async def _create_sandbox(self, instruction: CreateSandbox) -> None:
        record, tools = self.record, self._tools
        apply.apply(record, self.pod, instruction, tools.clock())
        tools.checkpoints.save_record(record)
        try:
            await setting.prepare(tools.sandbox_hooks, self.setting)
        except Exception as exc:
            now = tools.clock()
            record.sandbox_failure = Failure("FailedCreatePodSandBox", describe(exc), now, now + RETRY_S)
            text = f"Failed to create pod sandbox: {describe(exc)}"
            tools.events.pod(self.pod, "Warning", "FailedCreatePodSandBox", text)
        else:
            record.sandbox_ready = True
            metrics.started_pods.inc()

    async def _pull(self, name: str) -> None:
        spec = specs.container_spec(self.pod, name)
        if spec is None:
            return
        image = await pull(self._tools, self.pod, spec, self.record.container(name))
        if image is not None:
            self._images[name] = image

    async def _start(self, name: str, attempt: int) -> None:
        spec, image = specs.container_spec(self.pod, name), self._images.get(name)
        if spec is None or image is None:
            self.record.container(name).pulled = False
            return
        if attempt > 0:
            self._garbage.append(container_id(self.record.uid, name, attempt - 1))
        await start(self._tools, self.setting, spec, attempt, image)
        container = self.record.container(name)
        if container.termination is not None:
            self._garbage.append(container.container_id)

    async def _signal(self, name: str, *, kill: bool) -> None:
        container = self.record.container(name)
        number = signal.SIGKILL if kill else _signal_number(container.stop_signal)
        try:
            await self._tools.runtime.signal(container.container_id, number)
        except NotRunning:
            log.debug("container %s of pod %s has ended already", name, self.setting.layout.name)
        except UnknownId:
            apply.lost(container, self._tools.clock())
            return
        if container.stop is not None:
            container.stop.signalled = True
            container.stop.killed = container.stop.killed or kill

    async def _resize(self, name: str) -> None:
        spec, container, tools = specs.container_spec(self.pod, name) or {}, self.record.container(name), self._tools
        container.resources = dict(spec.get("resources") or {})
        try:
            sandbox = sandbox_id(self.record.uid, self.record.sandbox_attempt)
            with metrics.cgroup_duration.labels("update").time():
                await tools.runtime.update_sandbox_resources(sandbox, resources.pod_resources(self.pod))
                await tools.runtime.update_resources(container.container_id, resources.container_resources(spec))
        except RuntimeFailure as exc:
            tools.events.pod(self.pod, "Warning", "FailedResize", f"Error: {exc}", name)

    async def _post_start(self, name: str) -> None:
        spec, container = specs.container_spec(self.pod, name) or {}, self.record.container(name)
        handler = (spec.get("lifecycle") or {}).get("postStart") or {}
        outcome = await run_handler(self._tools.prober, handler, self._target(spec), POST_START_LIMIT_S)
        container.post_start_done = True
        if not outcome.success:
            self._hook_failed("PostStartHook", name, outcome)
            container.kill_reason = "FailedPostStartHook"

    async def _pre_stop(self, name: str, limit: float) -> None:
        spec, container = specs.container_spec(self.pod, name) or {}, self.record.container(name)
        handler = (spec.get("lifecycle") or {}).get("preStop") or {}
        outcome = await run_handler(self._tools.prober, handler, self._target(spec), limit)
        if not outcome.success:
            self._hook_failed("PreStopHook", name, outcome)
        if container.stop is not None:
            container.stop.pre_stop_done = True

    def _hook_failed(self, hook: str, name: str, outcome: Outcome) -> None:
        self._tools.events.pod(self.pod, "Warning", f"Failed{hook}", f"{hook} failed: {outcome.message}", name)

    async def _clean_up(self) -> None:
        record, tools = self.record, self._tools
        try:
            await cleaning.clean_up(tools, self.setting)
        except ExceptionGroup as exc:
            now = tools.clock()
            record.clean_failure = Failure("FailedKillPod", describe(exc), now, now + RETRY_S)
            tools.events.pod(self.pod, "Warning", "FailedKillPod", f"error killing pod: {describe(exc)}")
            log.warning("cleaning up pod %s: %s", self.setting.layout.name, describe(exc))
        else:
            record.cleaned, record.volumes_ready = True, False

    async def _confirm(self) -> None:
        if await cleaning.confirm_deletion(self._tools, self.setting):
            self.removed = True

    async def _remove_garbage(self) -> None:
        garbage, self._garbage = list(dict.fromkeys(self._garbage)), []
        for identity in garbage:
            await cleaning.remove_container(self._tools, self.setting, identity)

    # probes and live volumes

    def _watch_probes(self) -> None:
        for spec in (*specs.init_containers(self.pod), *specs.app_containers(self.pod)):
            name, container = spec["name"], self.record.container(spec["name"])
            present = self._probes.get(name)
            wanted = container.running and container.post_start_done and bool(self.record.addresses)
            if present is not None and (not wanted or present.target.container_id != container.container_id):
                self._probes.pop(name).stop()
                present = None
            if wanted and present is None and self._group is not None and any(f"{k}Probe" in spec for k in _PROBES):
                probes = ContainerProbes(
                    self._tools.prober,
                    spec,
                    self._target(spec),
                    self._wake.set,
                    lambda kind, outcome, name=name: self._probed(name, kind, outcome),  # type: ignore[misc]
                    started=container.started,
                )
                self._probes[name] = probes
                probes.start(self._group)

    def _target(self, spec: Mapping[str, Any]) -> Target:
        address = self.record.addresses[0] if self.record.addresses else ""
        return Target(self.record.container(spec["name"]).container_id, address, container_ports(spec))

    def _probed(self, name: str, kind: str, outcome: Outcome) -> None:
        layout = self.setting.layout
        result = "successful" if outcome.success else "failed"
        metrics.probe_total.labels(kind.capitalize(), result, name, layout.name, layout.namespace, layout.uid).inc()
        if not outcome.success:
            text = f"{kind.capitalize()} probe failed: {outcome.message}"
            self._tools.events.pod(self.pod, "Warning", "Unhealthy", text, name)

    def _retry_starts(self) -> None:
        for container in self.record.containers.values():
            container.start_failure = None

    def _refresh(self) -> None:
        if self.record.volumes_ready and not self.record.finished and "refresh" not in self._jobs:
            self._begin("refresh", lambda: self._tools.volumes.refresh(self.setting))


_KEPT = ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations")
_PROBES = ("startup", "liveness", "readiness")


def _signal_number(name: str) -> int:
    text = name.upper()
    if text.isdecimal():
        return int(text)
    try:
        return signal.Signals[text if text.startswith("SIG") else f"SIG{text}"]
    except KeyError:
        return signal.SIGTERM
