"""A pod's checkpoint over the bus: taken and sent by one node's agent, received and kept by another's.

Channels: 0 towards the node and 1 from it carry the archive, 2 its end mark, `{"sha256": ...}` as JSON. Two are empty
messages of the receiving node: 4, it is able to restore, so the containers may be frozen, and 3, the pod of a migration
is restored. In a migration both streams stay open, and the containers frozen at both ends, until the API server closes
them: by then the pod has moved, or it has not, which each node finds out for itself (`capture.settle`,
`CheckpointStreams._settle`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from services.nodeagent.checkpoint import arrivals, capture
from services.nodeagent.link import is_offline
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.pods.worker import PodWorker
from shared.bus.streams import BusStream
from shared.errors import ApiError, BadRequest, BusError, InternalError, NotFound, RuntimeFailure, StreamBroken

INWARD, OUTWARD, END, RESTORED, ABLE = 0, 1, 2, 3, 4
# pulling the image and reading back some gigabytes
RESTORE_LIMIT_S = 600.0
SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}

Handler = Callable[[dict[str, Any], BusStream], Awaitable[None]]


class CheckpointStreams:
    """The handlers of the agent's StreamServer for checkpoints."""

    def __init__(self, manager: PodManager, tools: Facilities) -> None:
        self._manager = manager
        self._tools = tools

    def handlers(self) -> dict[str, Handler]:
        return {"checkpoint": self.checkpoint, "restore": self.restore}

    async def checkpoint(self, params: dict[str, Any], stream: BusStream) -> None:
        """Send the checkpoint of a running pod; with `migration`, its id, leave the containers frozen."""
        worker = self._manager.find(params["namespace"], params["pod"], params.get("uid") or "")
        if worker is None:
            raise NotFound(f'pods "{params["pod"]}" not found on node {self._tools.node.name}')
        migration = str(params.get("migration") or "")
        try:
            async with capture.taken(self._tools, worker.setting, migration, worker.poke) as directory:
                mark = await arrivals.send(directory, lambda data: stream.send(OUTWARD, data))
                await stream.send(END, mark.encode())
                if migration:
                    await stream.wait_closed()
        except RuntimeFailure as exc:
            raise InternalError(f"checkpoint of pod {params['pod']}: {exc}") from exc
        finally:
            worker.poke()
        await stream.close(SUCCESS)

    async def restore(self, params: dict[str, Any], stream: BusStream) -> None:
        """Receive an archive and keep it under the id `id` for the pod with the metadata `owner` that names it.

        With `pod`, the object of a pod that is to move here, restore it as well, to be thawed when it has moved.
        """
        owner = {str(name): str(value) for name, value in (params.get("owner") or {}).items()}
        digest: dict[str, str] = {}

        async def parts() -> AsyncIterator[bytes]:
            async for channel, data in stream:
                if channel == INWARD:
                    yield data
                elif channel == END:
                    digest.update(_mark(data))
                    return

        identity = str(params.get("id", ""))
        try:
            await self._tools.arrivals.check(identity, owner)
            await stream.send(ABLE, b"\0")
            await self._tools.arrivals.receive(identity, owner, parts(), digest)
        except RuntimeFailure as exc:
            raise InternalError(f"node {self._tools.node.name}: {exc}") from exc
        if params.get("pod"):
            await self._await(params["pod"], stream)
        await stream.close(SUCCESS)

    async def _await(self, pod: dict[str, Any], stream: BusStream) -> None:
        name = pod["metadata"]["name"]
        try:
            worker = self._manager.expect(pod)
            try:
                async with asyncio.timeout(RESTORE_LIMIT_S):
                    await worker.wait_restored()
            except (TimeoutError, RuntimeFailure):
                self._manager.discard(worker)
                raise
        except TimeoutError as exc:
            raise InternalError(f"node {self._tools.node.name}: pod {name} was not restored in time") from exc
        except RuntimeFailure as exc:
            raise InternalError(f"node {self._tools.node.name}: pod {name} cannot be restored: {exc}") from exc
        with contextlib.suppress(StreamBroken):
            await stream.send(RESTORED, b"\0")
            await stream.wait_closed()
        await self._settle(worker)

    async def _settle(self, worker: PodWorker) -> None:
        """The migration has ended: leave the pod to the event that gives it to this node, or throw it away.

        That is safe even if the move is still to come: none of its processes has run, and the checkpoint is still here.
        """
        layout = worker.setting.layout
        path = f"/api/v1/namespaces/{layout.namespace}/pods/{layout.name}"
        while worker.record.awaiting:
            try:
                found = await self._tools.api.get(path)
            except (ApiError, BusError) as exc:
                if is_offline(exc):
                    await asyncio.sleep(capture.RETRY_S)
                    continue
                found = {}  # NotFound, or Forbidden: it has nothing to do with this node
            if capture.is_here(found, self._tools.node.name) and found["metadata"]["uid"] == layout.uid:
                return
            self._manager.discard(worker)
            return


def _mark(data: bytes) -> dict[str, str]:
    try:
        return {"sha256": str(json.loads(data)["sha256"])}
    except (ValueError, KeyError, TypeError) as exc:
        raise BadRequest(f"the end mark of the checkpoint cannot be read: {exc}") from exc
