"""Carrying out instructions: the only place where the decisions about a pod touch the world.

What is quick is done in place and in order; what takes long becomes a job. Every expected failure ends up in the
record, from which the next decision is made.
"""

import logging
import signal
from collections.abc import Coroutine, Mapping
from typing import Any

from services.nodeagent import metrics
from services.nodeagent.checkpoint import capture
from services.nodeagent.images.model import Image
from services.nodeagent.layout import container_id
from services.nodeagent.pods import apply, cleaning, namespaces, placing, setting, specs
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.instructions import (
    BeginStop,
    CleanUp,
    ConfirmDeletion,
    CreateSandbox,
    EndPod,
    Instruction,
    MarkInitialized,
    NoteRestored,
    PrepareVolumes,
    PullImage,
    ResizeContainer,
    RunPostStart,
    RunPreStop,
    SettleCheckpoint,
    SignalContainer,
    StartContainer,
    SuspendContainer,
    Terminate,
    job_key,
)
from services.nodeagent.pods.jobs import Jobs
from services.nodeagent.pods.lifecycle import POST_START_LIMIT_S, describe_failure, run_handler
from services.nodeagent.pods.probing import PodProbes, target
from services.nodeagent.pods.pulling import pull
from services.nodeagent.pods.records import Failure, PodRecord
from services.nodeagent.pods.resizing import resize
from services.nodeagent.pods.setting import PodSetting, describe
from services.nodeagent.pods.starting import start
from services.nodeagent.runtime.client import NotRunning, UnknownId
from services.nodeagent.volumes.imagevolume import ImageUnavailable

log = logging.getLogger(__name__)

RETRY_S = 2.0
MOUNT_RETRY_S = 10.0


class Effects:
    """The effects of one pod. `garbage` are ids of ended containers that are still to be removed."""

    def __init__(self, place: PodSetting, tools: Facilities, jobs: Jobs, probes: PodProbes) -> None:
        self.garbage: list[str] = []
        self.gone = False
        self._setting = place
        self._tools = tools
        self._jobs = jobs
        self._probes = probes
        self._images: dict[str, Image] = {}

    @property
    def _pod(self) -> Mapping[str, Any]:
        return self._setting.pod

    @property
    def _record(self) -> PodRecord:
        return self._setting.record

    async def execute(self, instruction: Instruction) -> None:
        """Carry out one instruction, or begin its job. Raises RuntimeFailure if the keeper cannot be reached."""
        match instruction:
            case Terminate() | EndPod() | MarkInitialized():
                if isinstance(instruction, EndPod) and instruction.reason:
                    self._tools.events.pod(self._pod, "Normal", instruction.reason, instruction.message)
                apply.apply(self._record, self._pod, instruction, self._tools.clock())
                if not isinstance(instruction, MarkInitialized):
                    self._cancel_beginnings()
            case BeginStop(name, reason):
                if self._record.container(name).stop is None:
                    self._tools.events.pod(self._pod, "Normal", "Killing", reason, name)
                apply.apply(self._record, self._pod, instruction, self._tools.clock())
            case PrepareVolumes():
                new = not self._record.started_at or self._record.awaiting
                self._record.started_at = self._record.started_at or self._tools.clock()
                self._jobs.begin(job_key(instruction), lambda: self._prepare_volumes(new))
            case CreateSandbox():
                await self._create_sandbox(instruction)
            case StartContainer(name, attempt):
                await self._start(name, attempt)
            case SignalContainer(name, kill):
                await self._signal(name, kill=kill)
            case SuspendContainer(name, frozen):
                await self._suspend(name, frozen=frozen)
            case ResizeContainer(name):
                await self._resize(name)
            case NoteRestored(name):
                await self._note_restored(name)
            case _:
                self._jobs.begin(job_key(instruction), lambda: self._job(instruction))

    def _job(self, instruction: Instruction) -> Coroutine[Any, Any, None]:
        match instruction:
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
            case SettleCheckpoint():
                return capture.settle(self._tools, self._setting)
            case _:
                raise TypeError(f"{instruction} is no job")

    def end(self, reason: str, message: str, grace: float) -> None:
        """End the pod as failed, within `grace` seconds."""
        now = self._tools.clock()
        self._record.stop_by = now + grace
        apply.apply(self._record, self._pod, EndPod(reason, message), now)
        self._cancel_beginnings()

    def _cancel_beginnings(self) -> None:
        self._jobs.cancel("volumes", "refresh", "pull", "post-start", "network", "settle")
        self._probes.end_restarts()

    async def _prepare_volumes(self, new: bool) -> None:
        record, tools = self._record, self._tools
        rejection = None
        if new:
            rejection = tools.admit(self._pod) or await placing.refuse(tools.api, tools.node.name, self._pod)
        if rejection is not None:
            reason, message = rejection
            tools.events.pod(self._pod, "Warning", reason, message)
            # its directory alone is made, so that the refusal is remembered
            await setting.prepare(tools.volume_hooks[:1], self._setting)
            apply.apply(record, self._pod, EndPod(reason, f"Pod was rejected: {message}"), tools.clock())
            return
        try:
            await setting.prepare(tools.volume_hooks, self._setting)
        except ImageUnavailable as exc:
            now = tools.clock()
            record.volumes_failure = Failure(exc.reason, str(exc), now, now + MOUNT_RETRY_S)
            text = f'Failed to pull image "{exc.reference}": {exc}'
            tools.events.pod(self._pod, "Warning", "Failed", text)
            tools.events.pod(self._pod, "Warning", "Failed", f"Error: {exc.reason}")
        except Exception as exc:
            now = tools.clock()
            record.volumes_failure = Failure("FailedMount", describe(exc), now, now + MOUNT_RETRY_S)
            tools.events.pod(self._pod, "Warning", "FailedMount", describe(exc))
        else:
            record.volumes_failure, record.volumes_ready = None, True

    async def _create_sandbox(self, instruction: CreateSandbox) -> None:
        record, tools = self._record, self._tools
        if instruction.attempt > max(record.sandbox_attempt, 0):
            text = "Pod sandbox changed, it will be killed and re-created."
            tools.events.pod(self._pod, "Normal", "SandboxChanged", text)
        apply.apply(record, self._pod, instruction, tools.clock())
        try:
            if namespaces.own_users(self._pod) and not record.user_range:
                record.user_range = tools.choose_range()
            record.runtime_handler = await tools.handlers.of(self._pod, tools.api)
            tools.checkpoints.save_record(record)
            await setting.prepare(tools.sandbox_hooks, self._setting)
        except Exception as exc:
            now = tools.clock()
            record.sandbox_failure = Failure("FailedCreatePodSandBox", describe(exc), now, now + RETRY_S)
            text = f"Failed to create pod sandbox: {describe(exc)}"
            tools.events.pod(self._pod, "Warning", "FailedCreatePodSandBox", text)
        else:
            record.sandbox_ready = True
            metrics.started_pods.inc()

    async def _pull(self, name: str) -> None:
        spec = specs.container_spec(self._pod, name)
        if spec is None:
            return
        image = await pull(self._tools, self._pod, spec, self._record.container(name))
        if image is not None:
            self._images[name] = image

    async def _start(self, name: str, attempt: int) -> None:
        spec, image = specs.container_spec(self._pod, name), self._images.get(name)
        if spec is None or image is None:
            self._record.container(name).pulled = False
            return
        if attempt > 0:
            self.garbage.append(container_id(self._record.uid, name, attempt - 1))
        await start(self._tools, self._setting, spec, attempt, image)
        container = self._record.container(name)
        if container.termination is not None:
            self.garbage.append(container.container_id)

    async def _signal(self, name: str, *, kill: bool) -> None:
        container = self._record.container(name)
        number = signal.SIGKILL if kill else _signal_number(container.stop_signal)
        try:
            await self._tools.runtime.signal(container.container_id, number)
        except NotRunning:
            log.debug("container %s of pod %s has ended already", name, self._setting.layout.name)
        except UnknownId:
            apply.lost(container, self._tools.clock())
            return
        apply.signalled(container, self._tools.clock(), kill=kill)

    async def _suspend(self, name: str, *, frozen: bool) -> None:
        container, runtime = self._record.container(name), self._tools.runtime
        try:
            await (runtime.pause if frozen else runtime.resume)(container.container_id)
        except (NotRunning, UnknownId):
            return  # its end is told in its own way
        finally:
            container.suspended = frozen
        words = ("Suspended", "Froze all processes of") if frozen else ("Resumed", "Resumed")
        self._tools.events.pod(self._pod, "Normal", words[0], f"{words[1]} container {name}", name)

    async def _resize(self, name: str) -> None:
        spec = specs.container_spec(self._pod, name)
        if spec is not None:
            await resize(self._tools, self._setting, spec, self._record.container(name))

    async def _note_restored(self, name: str) -> None:
        text = f"Restored container {name} from its checkpoint"
        self._tools.events.pod(self._pod, "Normal", "Restored", text, name)
        await self._tools.arrivals.done(self._record, name)
        self._tools.checkpoints.save_record(self._record)

    async def _post_start(self, name: str) -> None:
        spec, container = specs.container_spec(self._pod, name) or {}, self._record.container(name)
        handler = (spec.get("lifecycle") or {}).get("postStart") or {}
        outcome = await run_handler(self._tools.prober, handler, target(self._setting, spec), POST_START_LIMIT_S)
        container.post_start_done = True
        now = self._tools.clock()
        if not outcome.success:
            self._hook_failed("PostStartHook", name)
            container.trouble = Failure("PostStartHookError", describe_failure(self._pod, spec, handler, outcome), now)
            container.kill_reason = "FailedPostStartHook"

    async def _pre_stop(self, name: str, limit: float) -> None:
        spec, container = specs.container_spec(self._pod, name) or {}, self._record.container(name)
        handler = (spec.get("lifecycle") or {}).get("preStop") or {}
        outcome = await run_handler(self._tools.prober, handler, target(self._setting, spec), limit)
        if not outcome.success:
            self._hook_failed("PreStopHook", name)
        if container.stop is not None:
            container.stop.pre_stop_done = True

    def _hook_failed(self, hook: str, name: str) -> None:
        # what a hook printed may be a secret, and events are read by more people than pods are
        self._tools.events.pod(self._pod, "Warning", f"Failed{hook}", f"{hook} failed", name)

    async def _clean_up(self) -> None:
        record, tools = self._record, self._tools
        try:
            await cleaning.clean_up(tools, self._setting)
        except ExceptionGroup as exc:
            now = tools.clock()
            record.clean_failure = Failure("FailedKillPod", describe(exc), now, now + RETRY_S)
            tools.events.pod(self._pod, "Warning", "FailedKillPod", f"error killing pod: {describe(exc)}")
            log.warning("cleaning up pod %s: %s", self._setting.layout.name, describe(exc))
        else:
            record.cleaned, record.volumes_ready = True, False

    async def _confirm(self) -> None:
        if await cleaning.confirm_deletion(self._tools, self._setting):
            self.gone = True

    async def remove_garbage(self) -> None:
        """Remove what is left of ended containers."""
        while self.garbage:
            identity = self.garbage[-1]
            await cleaning.remove_container(self._tools, self._setting, identity)
            self.garbage = [other for other in self.garbage if other != identity]

    def refresh(self) -> None:
        """Rewrite the volumes of API objects, if there are any by now."""
        if self._record.volumes_ready and not self._record.finished and "refresh" not in self._jobs.keys:
            self._jobs.begin("refresh", lambda: self._tools.volumes.refresh(self._setting))

    def reconnect(self) -> None:
        """Make the pod's interface and address again."""
        self._jobs.begin("network", lambda: setting.prepare(self._tools.sandbox_hooks, self._setting))


def _signal_number(name: str) -> int:
    text = name.upper()
    if text.isdecimal():
        return int(text)
    try:
        return signal.Signals[text if text.startswith("SIG") else f"SIG{text}"]
    except KeyError:
        return signal.SIGTERM
