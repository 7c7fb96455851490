"""After a restart: bringing a pod's record in line with what the keeper (still) holds. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.nodeagent.layout import sandbox_id
from services.nodeagent.pods import apply
from services.nodeagent.pods.containers import (
    ATTEMPT_LABEL,
    CONTAINER_LABEL,
    HASH_LABEL,
    IMAGE_ID_LABEL,
    IMAGE_LABEL,
)
from services.nodeagent.pods.records import ContainerRecord, Phase, PodRecord
from services.nodeagent.runtime.model import ContainerState, SandboxState


def adopt(
    record: PodRecord,
    pod: Mapping[str, Any],
    sandboxes: Sequence[SandboxState],
    containers: Sequence[ContainerState],
    now: float,
) -> list[ContainerState]:
    """Change the record to fit; the containers that have ended since and whose end is not on record are returned.

    `sandboxes` and `containers` are those that the keeper holds for this pod.
    """
    if not record.containers and record.sandbox_attempt < 0 and not containers:
        apply.recall(record, pod, now)
    for sandbox in sandboxes:
        record.sandbox_attempt = max(record.sandbox_attempt, int(sandbox.labels.get(ATTEMPT_LABEL, "0")))
    current = sandbox_id(record.uid, record.sandbox_attempt)
    held = {sandbox.id: sandbox for sandbox in sandboxes}
    record.sandbox_exists = current in held
    # Without an address the network was never finished: the sandbox is completed, not trusted.
    record.sandbox_ready = record.sandbox_exists and held[current].state == "ready" and bool(record.addresses)
    if record.sandbox_exists and held[current].state == "gone":
        apply.sandbox_lost(record)
    record.volumes_ready = record.sandbox_ready and not record.cleaned
    exited = []
    for state in sorted(containers, key=_attempt):
        container = record.container(state.labels.get(CONTAINER_LABEL, state.name))
        if _attempt(state) > container.attempt:
            _learn(container, record, state)
        if state.id != container.container_id:
            continue
        container.stop_signal = state.stop_signal
        if state.state == "running":
            container.phase = Phase.RUNNING
            container.termination = None
            # restored, though the agent was killed before it could note that
            record.restoring = [name for name in record.restoring if name != container.name]
            container.started_at, container.pid = state.started_at, state.pid
            container.suspended = state.paused
        elif state.state == "exited" and container.termination is None:
            exited.append(state)
    present = {state.id for state in containers}
    for container in record.containers.values():
        if container.running and container.container_id not in present:
            apply.lost(container, now)
    return exited


def strays(record: PodRecord, containers: Sequence[ContainerState]) -> list[str]:
    """Ids of containers that belong to the pod's past."""
    current = {container.container_id for container in record.containers.values() if container.termination is None}
    return [state.id for state in containers if state.id not in current]


def _attempt(state: ContainerState) -> int:
    return int(state.labels.get(ATTEMPT_LABEL, "0"))


def _learn(container: ContainerRecord, record: PodRecord, state: ContainerState) -> None:
    """The keeper knows of a later attempt than the record: the agent was killed between the two."""
    if container.termination is not None:
        container.last = container.termination
    container.termination = None
    container.attempt = _attempt(state)
    container.container_id = state.id
    container.sandbox_attempt = record.sandbox_attempt
    container.spec_hash = state.labels.get(HASH_LABEL, "")
    container.image = state.labels.get(IMAGE_LABEL, "")
    container.image_id = state.labels.get(IMAGE_ID_LABEL, "")
    container.phase = Phase.STARTING
