"""A pod's checkpoint over the bus: taken and sent by one node's agent, received and kept by another's.

Channels: 0 towards the node and 1 from it carry the archive, 2 its end mark, `{"sha256": ...}` as JSON. After a
checkpoint for a migration the stream stays open, and the containers frozen, until the other side closes it: by then
the pod has moved, or it has not, which `capture.settle` finds out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from services.nodeagent.checkpoint import arrivals, capture
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.manager import PodManager
from shared.bus.streams import BusStream
from shared.errors import BadRequest, InternalError, NotFound, RuntimeFailure

INWARD, OUTWARD, END = 0, 1, 2
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
        """Receive an archive and keep it under the id `id` for the pod with the metadata `owner` that names it."""
        owner = {str(name): str(value) for name, value in (params.get("owner") or {}).items()}
        digest: dict[str, str] = {}

        async def parts() -> AsyncIterator[bytes]:
            async for channel, data in stream:
                if channel == INWARD:
                    yield data
                elif channel == END:
                    digest.update(_mark(data))
                    return

        try:
            await self._tools.arrivals.receive(str(params.get("id", "")), owner, parts(), digest)
        except RuntimeFailure as exc:
            raise InternalError(f"node {self._tools.node.name}: {exc}") from exc
        await stream.close(SUCCESS)


def _mark(data: bytes) -> dict[str, str]:
    try:
        return {"sha256": str(json.loads(data)["sha256"])}
    except (ValueError, KeyError, TypeError) as exc:
        raise BadRequest(f"the end mark of the checkpoint cannot be read: {exc}") from exc
