"""Taking a pod's checkpoint: all containers frozen at once, each written by criu, then their files; and what follows.

While it lasts, the record says so (`checkpoint`), durably, before the first container is frozen. So an agent that was
killed knows what to do: after a plain checkpoint the containers are thawed. After one for a migration somebody may have
moved the pod meanwhile, and then these processes must not run again: they stay frozen until the API has accepted that
the migration is off, which the log orders before or after the move, never both.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from services.nodeagent.checkpoint import archive
from services.nodeagent.layout import sandbox_id
from services.nodeagent.pods import specs
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.records import ContainerRecord, PodRecord
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.runtime.client import Impossible, NotRunning, UnknownId
from shared.errors import ApiError, BadRequest, BusError, Conflict, RuntimeFailure
from shared.kernel import criu
from shared.objects import times

log = logging.getLogger(__name__)

LOCAL = "local"
"""The `checkpoint` of a record whose containers are thawed in any case; else it is the id of a migration."""
MIGRATING = "wherry.io/Migrating"
RETRY_S = 2.0


@asynccontextmanager
async def taken(
    tools: Facilities, setting: PodSetting, migration: str = "", on_freeze: Callable[[], None] = lambda: None
) -> AsyncIterator[Path]:
    """The directory of a fresh checkpoint, as archive.py describes it; removed at the end.

    The containers run on at once, or for a `migration` only after `settle`. `on_freeze` is called before they stop.
    What cannot be done is refused before any of them stops. BadRequest, Conflict, RuntimeFailure.
    """
    record = setting.record
    if record.checkpoint:
        raise Conflict(f"pod {setting.layout.name} is being checkpointed already")
    running = [container for container in record.containers.values() if container.running]
    if not running or not record.sandbox_ready:
        raise Conflict(f"pod {setting.layout.name} has no running container to checkpoint")
    if reason := await asyncio.to_thread(criu.why_not):
        raise RuntimeFailure(f"node {tools.node.name}: {reason}")
    for container in running:
        try:
            await tools.runtime.check_checkpoint(container.container_id)
        except Impossible as exc:
            raise BadRequest(f"pod {setting.layout.name}, container {container.name}: {exc}") from exc
    tools.layout.pod_captures.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=tools.layout.pod_captures))
    record.checkpoint, record.capturing = migration or LOCAL, True
    try:
        tools.checkpoints.save_record(record)
        on_freeze()
        try:
            await _capture(tools, setting, running, directory)
        except BaseException:
            record.checkpoint = LOCAL  # nothing has left this node
            raise
        if not migration:
            await thaw(tools, record)
        yield directory
    finally:
        record.capturing = False
        if record.checkpoint == LOCAL:
            with suppress(RuntimeFailure):  # the worker settles it
                await asyncio.shield(thaw(tools, record))
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def _capture(tools: Facilities, setting: PodSetting, running: list[ContainerRecord], directory: Path) -> None:
    record, layout, runtime = setting.record, setting.layout, tools.runtime
    for container in running:
        await runtime.pause(container.container_id)
    for container in running:
        part = archive.part(directory, container.name)
        part.images.mkdir(parents=True)
        spec = specs.container_spec(setting.pod, container.name) or {}
        part.spec.write_text(json.dumps(spec, indent=1))
        facts = {
            "id": container.container_id,
            "name": container.name,
            "rootfsImage": container.image,
            "rootfsImageRef": container.image_id,
            "restartCount": container.attempt,
            "startedAt": container.started_at,
        }
        part.config.write_text(json.dumps(facts, indent=1))
        try:
            await runtime.checkpoint_container(container.container_id, str(part.images))
        except RuntimeFailure as exc:
            raise RuntimeFailure(f"container {container.name} cannot be checkpointed: {exc}") from exc
        await archive.pack(layout.writable(container.container_id) / "upper", part.layer)
        current = layout.log(container.name, container.attempt)
        if current.exists():
            await asyncio.to_thread(shutil.copyfile, current, part.log)
    for volume in setting.pod["spec"].get("volumes") or ():
        if volume.get("emptyDir") is not None:
            await archive.pack(setting.volumes[volume["name"]], archive.volume(directory, volume["name"]))
    if not setting.pod["spec"].get("hostIPC"):
        await archive.pack(shared_memory_path(tools, record), archive.shared_memory(directory))
    metadata = {key: value for key, value in setting.pod["metadata"].items() if key != "managedFields"}
    archive.Manifest(
        pod={**setting.pod, "metadata": metadata},
        record=record.document(),
        containers=[container.name for container in running],
        node=tools.node.name,
        created=times.now(),
    ).save(directory)


def shared_memory_path(tools: Facilities, record: PodRecord) -> Path:
    """Where the keeper keeps the /dev/shm of the pod's present sandbox."""
    return tools.layout.volatile / "keeper/sandboxes" / sandbox_id(record.uid, record.sandbox_attempt) / "shm"


async def thaw(tools: Facilities, record: PodRecord) -> None:
    """Let the containers go on, but those that are suspended, and forget that they were frozen. RuntimeFailure if the
    keeper cannot be reached."""
    for container in record.containers.values():
        if container.running and not container.suspended:
            with suppress(NotRunning, UnknownId):
                await tools.runtime.resume(container.container_id)
    record.checkpoint = ""
    tools.checkpoints.save_record(record)


async def settle(tools: Facilities, setting: PodSetting) -> None:
    """End what a checkpoint left frozen: thaw, for a migration only once the API has agreed that it is off.

    Asks until it has that answer. It never comes if the pod belongs to another node now: the pod's end here is near.
    """
    record, layout = setting.record, setting.layout
    path = f"/api/v1/namespaces/{layout.namespace}/pods/{layout.name}/status"
    patch = {"metadata": {"uid": record.uid}, "status": {"conditions": [_aborted()]}}
    while record.checkpoint not in ("", LOCAL):
        try:
            answer = await tools.api.patch(path, patch, "strategic")
        except (ApiError, BusError) as exc:
            # Forbidden among them: a node may not touch a pod that is no longer its own
            log.info("pod %s stays frozen until the API agrees: %s", layout.name, exc)
        else:
            if is_here(answer, tools.node.name):
                break
        await asyncio.sleep(RETRY_S)
    await thaw(tools, record)
    tools.events.pod(setting.pod, "Normal", "Resumed", "The containers go on on this node")


def is_here(pod: Mapping[str, Any], node: str) -> bool:
    """Whether the pod is bound to the node."""
    return bool((pod.get("spec") or {}).get("nodeName") == node)


def _aborted() -> dict[str, Any]:
    return {
        "type": MIGRATING,
        "status": "False",
        "reason": "Aborted",
        "message": "the migration did not come to its end; the pod goes on where it was",
        "lastTransitionTime": times.now(),
    }
