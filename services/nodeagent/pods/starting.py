"""Starting one attempt of a container, in the order that makes a crash at any point harmless.

First everything that can be wrong with the pod is found out; then the attempt is put on record; only then is it
started. A start that is repeated names the same container, so the keeper starts it once.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.nodeagent import metrics
from services.nodeagent.checkpoint import capture
from services.nodeagent.environment import ConfigurationError
from services.nodeagent.images.model import Image
from services.nodeagent.layout import container_id
from services.nodeagent.pods import apply, files, specs
from services.nodeagent.pods.containers import Surroundings, container_spec, image_name
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.grants import granted
from services.nodeagent.pods.hooks import write_pod_document
from services.nodeagent.pods.records import ContainerRecord, Failure, Phase, Termination
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.pods.static import is_static
from services.nodeagent.pods.termination import START_ERROR_CODE
from services.nodeagent.runtime.client import StartError
from services.nodeagent.runtime.model import ContainerSpec, ContainerState
from services.nodeagent.volumes import subpaths
from shared.errors import RuntimeFailure

log = logging.getLogger(__name__)

RETRY_S = 10.0
# the keeper's word for a start that was cut short with it, which says nothing about the next one
INTERRUPTED_CODE = 137


async def start(tools: Facilities, setting: PodSetting, spec: Mapping[str, Any], attempt: int, image: Image) -> None:
    """Start attempt number `attempt`; a failure ends up in the record and in an event."""
    pod, record, name = setting.pod, setting.record, spec["name"]
    container = record.container(name)
    begun = replace(
        container,
        attempt=attempt,
        container_id=container_id(record.uid, name, attempt),
        image=spec.get("image") or "",
        image_id=image_name(image),
    )
    try:
        built = container_spec(pod, granted(spec, record), record, begun, image, _surroundings(tools, setting))
        subpaths.check(spec, built.mounts)
    except ConfigurationError as exc:
        _refuse(tools, pod, container, "CreateContainerConfigError", exc)
        return
    except (OSError, ValueError, KeyError, TypeError) as exc:
        _refuse(tools, pod, container, "CreateContainerError", exc)
        return
    apply.begin_start(record, pod, name, attempt, tools.clock())
    container.image, container.image_id = begun.image, begun.image_id
    container.user = (built.uid, built.gid, tuple(built.groups or (built.gid,)))
    container.stop_signal = built.stop_signal
    images = tools.arrivals.images(record, name)
    container.post_start_done = images is not None or not (spec.get("lifecycle") or {}).get("postStart")
    tools.checkpoints.save_record(record)
    _make_files(setting, built, container)
    write_pod_document(setting, tools.node.name)
    tools.images.hold(image.id, container.container_id)
    tools.events.pod(pod, "Normal", "Created", "Container created", name)
    try:
        state = await _begin(tools, setting, built, images)
    except StartError as exc:
        _broke(tools, pod, container, exc)
        return
    except RuntimeFailure as exc:
        now = tools.clock()
        container.start_failure = Failure("CreateContainerError", str(exc), now, now + RETRY_S)
        tools.events.pod(pod, "Warning", "Failed", f"Error: {exc}", name)
        return
    if container.phase is Phase.STARTING:
        apply.started(container, started_at=state.started_at or tools.clock(), pid=state.pid)
        container.suspended = state.paused
    metrics.started_containers.labels(_type(pod, name)).inc()
    for warning in state.warnings:
        tools.events.pod(pod, "Warning", "ContainerDegraded", warning, name)
    if images is None:
        tools.events.pod(pod, "Normal", "Started", "Container started", name)


async def _begin(tools: Facilities, setting: PodSetting, built: ContainerSpec, images: Path | None) -> ContainerState:
    """Start a container from its image, or go on with the processes in `images`, which is tried once."""
    if images is None:
        return await tools.runtime.start_container(built)
    record = setting.record
    try:
        await tools.arrivals.lay_out(setting, built.name, capture.shared_memory_path(tools, record))
        return await tools.runtime.restore_container(built, str(images), frozen=record.awaiting)
    except StartError as exc:
        if exc.exit_code != INTERRUPTED_CODE and not record.awaiting:
            await tools.arrivals.done(record, built.name)
            tools.checkpoints.save_record(record)
        raise


def _type(pod: Mapping[str, Any], name: str) -> str:
    """The kind of a container, as kubelet labels it."""
    if any(spec["name"] == name for spec in specs.init_containers(pod)):
        return "init_container"
    return "container" if any(spec["name"] == name for spec in specs.app_containers(pod)) else "ephemeral_container"


def _surroundings(tools: Facilities, setting: PodSetting) -> Surroundings:
    services = tools.services()
    if services is None and is_static(setting.pod):
        # it must run without the API, and what it is not told it has to do without
        services = []
    if services is None:
        raise ConfigurationError("services have not yet been read at least once, cannot construct envvars")
    return Surroundings(
        layout=setting.layout,
        objects=tools.references,
        services=services,
        node=tools.node,
        memory_bytes=tools.memory_bytes,
        volumes=setting.volumes,
        read_only_volumes=frozenset(setting.read_only_volumes),
        layers=setting.layers,
        hostname=files.hostname(setting.pod, tools.node.name, tools.domain),
        runtime=tools.handlers.command(setting.record.runtime_handler),
    )


def _refuse(
    tools: Facilities, pod: Mapping[str, Any], container: ContainerRecord, reason: str, error: Exception
) -> None:
    now = tools.clock()
    container.start_failure = Failure(reason, str(error), now, now + RETRY_S)
    tools.events.pod(pod, "Warning", "Failed", f"Error: {error}", container.name)


def _broke(tools: Facilities, pod: Mapping[str, Any], container: ContainerRecord, error: StartError) -> None:
    now = tools.clock()
    if container.phase is not Phase.EXITED:
        ended = Termination(container.container_id, START_ERROR_CODE, "StartError", 0.0, now, message=str(error))
        apply.exited(container, ended)
    container.trouble = Failure("RunContainerError", str(error), now)
    tools.events.pod(pod, "Warning", "Failed", f"Error: {error}", container.name)


def _make_files(setting: PodSetting, built: ContainerSpec, container: ContainerRecord) -> None:
    """What the keeper expects to find: the log's directory, the writable layer's, and the termination message file."""
    layout = setting.layout
    layout.log(container.name, container.attempt).parent.mkdir(parents=True, exist_ok=True)
    layout.writable(container.container_id).mkdir(parents=True, exist_ok=True)
    message = layout.termination_log(container.name, container.attempt)
    message.parent.mkdir(parents=True, exist_ok=True)
    message.touch()
    message.chmod(0o666)
