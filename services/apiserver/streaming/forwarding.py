"""Port-forward: every TCP connection the client accepts becomes a stream to the node's agent.

Two forms: SPDY frames, inside WebSocket messages or on the bare connection, where the client opens a pair of streams
(error, data) for each connection (kubectl, client-go); or two WebSocket channels for each port, fixed at the start
(Python clients).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.apiserver.streaming import spdy
from services.apiserver.streaming.pipes import Pipe
from services.apiserver.streaming.places import Place
from shared.bus.port import Bus
from shared.bus.streams import BusStream, open_stream
from shared.errors import ApiError, BusError, StreamBroken

log = logging.getLogger(__name__)

SPDY_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "portforward.k8s.io")
FORWARD_PROTOCOLS = (SPDY_PROTOCOL, *CHANNEL_PROTOCOLS)
INWARD, OUTWARD, CLOSE = 0, 1, 255
PIECE = 64 * 1024


Inbox = asyncio.Queue[bytes | None]


@dataclass(slots=True)
class Pair:
    """The two streams of one forwarded connection; bytes that arrive before the node answers wait in the queue."""

    port: int = 0
    error: int = 0
    data: int = 0
    inbox: Inbox = field(default_factory=lambda: asyncio.Queue(64))


class Forwarder:
    """Serves one client's port-forward."""

    def __init__(self, bus: Bus, place: Place, pipe: Pipe) -> None:
        self._bus = bus
        self._place = place
        self._pipe = pipe
        self._session = spdy.Session()
        self._pairs: dict[str, Pair] = {}
        self._by_stream: dict[int, Pair] = {}

    async def run_spdy(self) -> None:
        """Until the client leaves; it names the ports as it goes."""
        with contextlib.suppress(ConnectionResetError):
            await self._run_spdy()

    async def run_channels(self, ports: Sequence[int]) -> None:
        """Until the client leaves, with two channels for each port."""
        with contextlib.suppress(ConnectionResetError):
            await self._run_channels(ports)

    async def _run_spdy(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks: set[asyncio.Task[None]] = set()
            try:
                while (data := await self._pipe.receive()) is not None:
                    for event in self._session.feed(data):
                        pair = await self._on_event(event)
                        if pair is not None:
                            task = group.create_task(self._forward_pair(pair), name=f"forward to {pair.port}")
                            tasks.add(task)
                            task.add_done_callback(tasks.discard)
            except spdy.ProtocolError as exc:
                log.info("port-forward to pod %s ends: %s", self._place.pod, exc)
            for task in tasks:
                task.cancel()

    async def _on_event(self, event: spdy.Incoming) -> Pair | None:
        """Handle an event; the pair that became complete by it, if any."""
        match event:
            case spdy.Opened(stream, headers, _):
                return await self._on_opened(stream, headers)
            case spdy.Received(stream, data, finished):
                pair = self._by_stream.get(stream)
                if pair is not None and stream == pair.data:
                    if data:
                        await pair.inbox.put(data)
                    if finished:
                        await pair.inbox.put(None)
            case spdy.Reset(stream):
                pair = self._by_stream.pop(stream, None)
                if pair is not None and stream == pair.data:
                    await pair.inbox.put(None)
            case spdy.Pinged(number):
                await self._pipe.send(spdy.pong(number))
        return None

    async def _on_opened(self, stream: int, headers: Mapping[str, str]) -> Pair | None:
        port, kind = headers.get("port", ""), headers.get("streamtype", "")
        if not port.isdigit() or not 0 < int(port) < 65536 or kind not in ("error", "data"):
            await self._pipe.send(spdy.reset(stream, spdy.REFUSED_STREAM))
            return None
        await self._pipe.send(self._session.reply(stream))
        # clients without request ids open the error stream directly before the data stream
        key = headers.get("requestid") or str(stream if kind == "error" else stream - 2)
        pair = self._pairs.setdefault(key, Pair(int(port)))
        self._by_stream[stream] = pair
        if kind == "error":
            pair.error = stream
        else:
            pair.data = stream
        if pair.error and pair.data:
            del self._pairs[key]
            return pair
        return None

    async def _forward_pair(self, pair: Pair) -> None:
        async def emit(data: bytes) -> None:
            for start in range(0, len(data), PIECE):
                await self._pipe.send(spdy.data(pair.data, data[start : start + PIECE]))

        with contextlib.suppress(ConnectionResetError):
            failure = await self._exchange(pair.port, pair.inbox, emit)
            await self._pipe.send(spdy.data(pair.error, failure.encode(), finished=True))
            await self._pipe.send(spdy.data(pair.data, b"", finished=True))
        self._by_stream.pop(pair.data, None)
        self._by_stream.pop(pair.error, None)
        _drain(pair.inbox)

    async def _run_channels(self, ports: Sequence[int]) -> None:
        inboxes: list[Inbox] = [asyncio.Queue(64) for _ in ports]
        async with asyncio.TaskGroup() as group:
            tasks = []
            for index, port in enumerate(ports):
                # each channel begins with the port it belongs to
                for channel in (2 * index, 2 * index + 1):
                    await self._pipe.send(bytes((channel,)) + port.to_bytes(2, "little"))
                name = f"forward to {port}"
                tasks.append(group.create_task(self._forward_channel(index, port, inboxes[index]), name=name))
            while (message := await self._pipe.receive()) is not None:
                if message and message[0] % 2 == 0:
                    index = message[0] // 2
                    if index < len(ports) and not tasks[index].done():
                        await inboxes[index].put(message[1:])
            for task in tasks:
                task.cancel()

    async def _forward_channel(self, index: int, port: int, inbox: Inbox) -> None:
        async def emit(data: bytes) -> None:
            await self._pipe.send(bytes((2 * index,)) + data)

        with contextlib.suppress(ConnectionResetError):
            failure = await self._exchange(port, inbox, emit)
            if failure:
                await self._pipe.send(bytes((2 * index + 1,)) + failure.encode())
        _drain(inbox)

    async def _exchange(self, port: int, inbox: Inbox, emit: Callable[[bytes], Awaitable[None]]) -> str:
        """Carry bytes both ways until the pod's side ends; the text of what went wrong, if anything did."""
        place = self._place
        parameters = place.parameters() | {"port": port}
        head = f"error forwarding port {port} to pod {place.pod}, uid {place.uid}"
        try:
            stream = await open_stream(self._bus, place.node, "portforward", parameters)
        except (ApiError, BusError) as exc:
            return f"{head}: {exc}"
        failure = ""
        try:
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(_inward(stream, inbox), name=f"client to port {port}")
                try:
                    async for channel, data in stream:
                        if channel == OUTWARD:
                            await emit(data)
                except StreamBroken as exc:
                    failure = f"{head}: {exc}"
                sender.cancel()
        except* ConnectionResetError as gone:
            raise gone.exceptions[0] from None
        finally:
            await stream.close()
        return failure or _failure(stream)


async def _inward(stream: BusStream, inbox: Inbox) -> None:
    with contextlib.suppress(StreamBroken):
        while (data := await inbox.get()) is not None:
            if data:
                await stream.send(INWARD, data)
        await stream.send(CLOSE, bytes((INWARD,)))
    # what still arrives is thrown away, so that the reader of the WebSocket never waits for this connection
    while await inbox.get() is not None:
        pass


def _drain(inbox: Inbox) -> None:
    while not inbox.empty():
        inbox.get_nowait()


def _failure(stream: BusStream) -> str:
    status = stream.status or {}
    return str(status.get("message", "")) if status.get("status") == "Failure" else ""
