"""pods/NAME/checkpoint: a running pod with the memory of its processes, as one archive from its node's agent.

Kubernetes knows this as kubelet's checkpoint endpoint for one container (KEP-2008); here it is the whole pod, frozen
at one instant, and what comes back is the archive itself. Its memory holds secrets, so no role but cluster-admin's
includes it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.apiserver.failures import bad_request
from services.apiserver.protocol import Object, Outcome, Request, Stream
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.streaming.places import Place
from shared.bus.port import Bus
from shared.bus.streams import BusStream, open_stream
from shared.errors import InternalError, api_error_from_status

INWARD, OUTWARD, END, RESTORED, ABLE = 0, 1, 2, 3, 4
TAR = "application/x-tar"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Serves pods/NAME/checkpoint."""

    bus: Bus
    store: Store

    async def take(self, request: Request, target: Target) -> Outcome:
        pod = (await self.store.latest(target.resource, target.namespace, target.name)).object
        place = running_place(pod)
        stream = await open_stream(self.bus, place.node, "checkpoint", place.parameters())
        parts = archive(stream)
        try:
            first = await anext(parts, b"")
        except BaseException:
            await stream.close()
            raise
        return Stream(_with(first, parts), TAR, stream.close)


def running_place(pod: Object) -> Place:
    """Where a pod runs; BadRequest if it does not."""
    metadata, phase = pod["metadata"], pod.get("status", {}).get("phase")
    node = pod["spec"].get("nodeName", "")
    if not node or phase != "Running":
        raise bad_request(f"pod {metadata['name']} is not running but {phase or 'Pending'}")
    return Place(node, metadata["namespace"], metadata["name"], metadata["uid"])


async def archive(stream: BusStream) -> AsyncIterator[bytes]:
    """The parts of an archive. Its sender's ApiError; InternalError if it ends too early."""
    async for channel, data in stream:
        if channel == END:
            return
        if channel == OUTWARD:
            yield data
    raise failure(stream)


def failure(stream: BusStream) -> Exception:
    """What the other side closed a stream with, as an exception."""
    status = stream.status or {}
    if status.get("status") == "Failure":
        return api_error_from_status(status)
    return InternalError("the node ended the stream before the checkpoint was whole")


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part
