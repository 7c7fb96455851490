"""How the record changes: by instructions that are carried out, and by what the runtime reports.

Plain functions over the record, so that tests can play whole lives of pods without a runtime.
"""

from collections.abc import Mapping
from typing import Any

from services.nodeagent.layout import container_id
from services.nodeagent.pods import specs
from services.nodeagent.pods.instructions import BeginStop, CreateSandbox, EndPod, MarkInitialized, Terminate
from services.nodeagent.pods.records import ContainerRecord, Phase, PodRecord, Stop, Termination
from services.nodeagent.pods.stopping import MINIMUM_GRACE_S
from shared.objects import times

# What kubelet reports of a container that vanished without telling how it ended.
LOST_EXIT_CODE = 137
LOST_REASON = "ContainerStatusUnknown"
LOST_MESSAGE = "The container could not be located when the pod was terminated"


def apply(
    record: PodRecord,
    pod: Mapping[str, Any],
    instruction: Terminate | EndPod | MarkInitialized | BeginStop | CreateSandbox,
    now: float,
) -> None:
    """Change the record as an instruction says. `now` in unix seconds."""
    match instruction:
        case Terminate(grace):
            due = now + max(grace, MINIMUM_GRACE_S)
            record.stop_by = min(record.stop_by, due) if record.stop_by else due
            record.grace = grace
            record.deleted = True
        case EndPod(reason, message):
            record.finished = True
            record.end_reason, record.end_message = reason, message
            record.stop_by = record.stop_by or now + max(specs.grace_seconds(pod), MINIMUM_GRACE_S)
        case MarkInitialized():
            record.initialized = True
        case BeginStop(name, reason, deadline):
            container = record.container(name)
            if container.stop is None:
                container.stop = Stop(reason, deadline)
            else:
                container.stop.deadline = deadline
        case CreateSandbox(attempt):
            record.sandbox_attempt = attempt
            record.sandbox_exists = True
            record.sandbox_failure = None
            record.initialized = False


def begin_start(record: PodRecord, pod: Mapping[str, Any], name: str, attempt: int, now: float) -> ContainerRecord:
    """Note that an attempt is about to start; saved before the start itself, so that a crash cannot lose the count."""
    spec = specs.container_spec(pod, name) or {}
    container = record.container(name)
    if container.phase is Phase.EXITED and container.termination is not None:
        container.last = container.termination
        container.backoff = container.backoff.next(container.termination.finished_at, now)
    container.termination = None
    container.attempt = attempt
    container.container_id = container_id(record.uid, name, attempt)
    container.sandbox_attempt = record.sandbox_attempt
    container.phase = Phase.STARTING
    container.spec_hash = specs.spec_hash(spec)
    if container.allocated is None:
        container.allocated = dict(spec.get("resources") or {})
    container.resources = container.allocated
    container.resize_failure = None
    container.ready = container.started = container.suspended = False
    container.start_failure = container.trouble = container.stop = None
    container.kill_reason = ""
    return container


def started(container: ContainerRecord, *, started_at: float, pid: int) -> None:
    """The runtime runs it. An exit that was reported before the start's own answer stays an exit."""
    if container.phase is not Phase.EXITED:
        container.phase = Phase.RUNNING
    container.started_at = started_at
    container.pid = pid


def signalled(container: ContainerRecord, now: float, *, kill: bool) -> None:
    """The container on its way down was sent its stop signal, or SIGKILL. After the first it has a moment at least."""
    stop = container.stop
    if stop is None:
        return
    if not kill and not stop.signalled and stop.deadline < now + MINIMUM_GRACE_S:
        stop.deadline, stop.extended = now + MINIMUM_GRACE_S, True
    stop.signalled = True
    stop.killed = stop.killed or kill


def exited(container: ContainerRecord, termination: Termination) -> None:
    """An attempt has ended."""
    container.phase = Phase.EXITED
    container.termination = termination
    container.pid = 0
    container.ready = container.started = container.suspended = False
    container.pulled = False
    container.stop = None
    container.kill_reason = ""
    container.post_start_done = True


def lost(container: ContainerRecord, now: float) -> None:
    """An attempt that ran before is unknown to the runtime, for example after a reboot."""
    exited(
        container,
        Termination(
            container.container_id,
            LOST_EXIT_CODE,
            LOST_REASON,
            container.started_at,
            now,
            message=LOST_MESSAGE,
        ),
    )


def sandbox_lost(record: PodRecord) -> None:
    """The sandbox is gone; whatever ran in it is reported on its own."""
    record.sandbox_ready = record.sandbox_exists = False
    record.addresses = ()


def _moment(text: object, default: float) -> float:
    return times.parse(text).timestamp() if isinstance(text, str) and text else default


def recall(record: PodRecord, pod: Mapping[str, Any], now: float) -> None:
    """Fill an empty record from the status that the API holds, when the node lost its own memory."""
    status = pod.get("status") or {}
    groups = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    for entry in (entry for group in groups for entry in status.get(group) or ()):
        if not entry.get("containerID"):
            continue
        container = record.container(entry["name"])
        if container.attempt >= 0:
            continue
        container.attempt = int(entry.get("restartCount") or 0)
        container.container_id = str(entry["containerID"]).rpartition("/")[2]
        container.image, container.image_id = entry.get("image", ""), entry.get("imageID", "")
        ended = (entry.get("state") or {}).get("terminated")
        if ended:
            exited(
                container,
                Termination(
                    container.container_id,
                    int(ended.get("exitCode") or 0),
                    str(ended.get("reason") or "Error"),
                    _moment(ended.get("startedAt"), 0.0),
                    _moment(ended.get("finishedAt"), now),
                    message=str(ended.get("message") or ""),
                ),
            )
        else:
            lost(container, now)
    if record.sandbox_attempt < 0 and record.containers:
        record.sandbox_attempt = 0
