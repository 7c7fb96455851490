"""exec, attach, logs and port-forward between the API server and a node's agent, which dials out to the broker only.

The API server publishes `agent.<node>.open` and `agent.<node>.stream.<id>`; the agent answers on
`api.node.<node>.stream.<id>`, where nobody but this node may publish. frames.py tells what the messages hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self

import msgspec

from shared.bus.frames import Endpoint
from shared.bus.port import Bus, Message, Subscription
from shared.errors import (
    ApiError,
    BadRequest,
    BusError,
    InternalError,
    ServiceUnavailable,
    StreamBroken,
    Timeout,
    TooManyRequests,
    api_error_from_status,
)
from shared.events.subjects import agent_subject, node_subject

log = logging.getLogger(__name__)

OPEN_LIMIT_S = 15.0
# a handler that neither speaks nor refuses within this has accepted
ACCEPT_S = 1.0
BEAT_S = 5.0
SILENCE_S = 20.0
# what a handler gets to notice that its stream ended before it is cancelled
GRACE_S = 5.0
MOST_STREAMS = 1000


class BusStream(AsyncIterator[tuple[int, bytes]]):
    """One end of a stream. Iterate for (channel, data) until the peer closed; then `status` is what it closed with.

    `send` and the iteration raise StreamBroken when the peer or the broker is lost.
    """

    def __init__(self, bus: Bus, subject: str, accept: bool) -> None:
        self._bus = bus
        self._subject = subject
        self._end = Endpoint()
        self._wake = asyncio.Event()
        self._broken: StreamBroken | None = None
        self._closed = False
        # the agent's end tells the other one when its handler took over
        self._accepting = accept
        self._sending = asyncio.Lock()
        self._on_end: Callable[[], None] | None = None
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        self._spoke = loop.time()
        self._timer: asyncio.TimerHandle | None = loop.call_later(ACCEPT_S, self._tick)
        self._remove = bus.on_connection(lambda connected: None if connected else self._break("connection lost"))

    @property
    def status(self) -> dict[str, Any] | None:
        """The Status the peer closed with, None before its end or if it gave none."""
        return self._end.status

    @property
    def closed(self) -> bool:
        """Whether either end closed, or the stream broke."""
        return self._closed or self._end.peer_closed or self._broken is not None

    async def accept(self) -> None:
        """On the agent: say that the handler took over. The first `send` and the first read do so as well."""
        if self._accepting:
            self._accepting = False
            await self._publish(self._end.accept())

    async def wait_closed(self) -> None:
        """Wait until either end closed or the stream broke, for a handler that neither reads nor sends."""
        while not self.closed:
            await self._pause()

    async def send(self, channel: int, data: bytes) -> None:
        """Send bytes; waits while the peer has too much unread. StreamBroken, also after either end closed."""
        await self.accept()
        view = memoryview(data)
        async with self._sending:
            while True:
                self._check()
                if self.closed:
                    raise StreamBroken("the stream is closed")
                room = self._end.may_send(channel)
                if room == 0:
                    await self._pause()
                    continue
                piece, view = view[:room], view[room:]
                await self._publish(self._end.data(channel, bytes(piece)))
                if not view:
                    return

    async def close(self, status: dict[str, Any] | None = None) -> None:
        """End the stream with an optional Status; harmless when it has already ended."""
        if not self._closed:
            self._closed = True
            if not self._end.peer_closed and self._broken is None:
                with contextlib.suppress(BusError):
                    await self._publish(self._end.close(status))
        self._dispose()

    async def refuse(self, error: ApiError) -> bool:
        """On the agent: answer the opening with an error. False if the handler has already accepted."""
        if not self._accepting:
            return False
        self._accepting = False
        self._closed = True
        with contextlib.suppress(BusError):
            await self._publish(self._end.refuse(error.status()))
        self._dispose()
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, bytes]:
        await self.accept()
        while not self._end.received:
            if self._end.peer_closed or self._closed:
                raise StopAsyncIteration
            self._check()
            await self._pause()
        channel, data = self._end.take()
        if not self._end.peer_closed and self._broken is None and (credit := self._end.credit_due()) is not None:
            await self._publish(credit)
        return channel, data

    def feed(self, frame: bytes) -> None:
        """Take in a message from the peer."""
        self._heard = asyncio.get_running_loop().time()
        try:
            self._end.feed(frame)
        except StreamBroken as exc:
            self._break(str(exc))
        if self._end.peer_closed:
            self._ended()
        self._wake.set()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the peer closed or the stream broke."""
        self._on_end = callback

    def _ended(self) -> None:
        callback, self._on_end = self._on_end, None
        if callback is not None:
            callback()

    async def wait_accepted(self) -> None:
        """On the opening end: wait for the handler. ApiError as it refused, StreamBroken."""
        while not (self._end.accepted or self._end.peer_closed):
            self._check()
            await self._pause()
        if self._end.refused is not None:
            raise api_error_from_status(self._end.refused)

    async def _pause(self) -> None:
        """Wait for anything to happen; several may wait, and each looks again by itself."""
        self._wake.clear()
        await self._wake.wait()

    async def _publish(self, frame: bytes) -> None:
        self._spoke = asyncio.get_running_loop().time()
        try:
            await self._bus.publish(self._subject, frame)
        except BusError as exc:
            self._break(str(exc))
            self._check()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._heard > SILENCE_S:
            self._break("the peer fell silent")
        if self.closed:
            self._timer = None
            return
        try:
            if self._accepting:
                self._accepting = False
                self._bus.post(self._subject, self._end.accept())
            elif now - self._spoke >= BEAT_S:
                self._spoke = now
                self._bus.post(self._subject, self._end.beat())
        except BusError as exc:
            self._break(str(exc))
        self._timer = loop.call_later(BEAT_S / 2, self._tick)

    def _break(self, reason: str) -> None:
        if self._broken is None and not self._end.peer_closed:
            self._broken = StreamBroken(reason)
            self._ended()
        self._wake.set()

    def _check(self) -> None:
        if self._broken is not None:
            raise StreamBroken(str(self._broken)) from self._broken

    def _dispose(self) -> None:
        self._remove()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake.set()


class _OpenedStream(BusStream):
    """The API server's end: it owns the subscription on which the agent answers."""

    def __init__(self, bus: Bus, subject: str) -> None:
        super().__init__(bus, subject, accept=False)
        self.subscription: Subscription | None = None

    def on_message(self, message: Message) -> None:
        if message.headers and message.headers.get("Status") == "503" and not message.data:
            self._break("no agent listens")
            return
        self.feed(message.data)

    async def close(self, status: dict[str, Any] | None = None) -> None:
        await super().close(status)
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            await subscription.unsubscribe()


async def open_stream(bus: Bus, node: str, op: str, params: Mapping[str, Any]) -> BusStream:
    """Open a stream to a node's agent; the caller must close it.

    Raises the ApiError of the agent's handler, ServiceUnavailable when no agent or no broker is there, Timeout.
    """
    stream_id = secrets.token_hex(10)
    answers = node_subject(node, f"stream.{stream_id}")
    stream = _OpenedStream(bus, agent_subject(node, f"stream.{stream_id}"))
    try:
        stream.subscription = await bus.subscribe(answers, stream.on_message)
        payload = msgspec.msgpack.encode({"id": stream_id, "op": op, "params": dict(params)})
        # the reply subject is there for the broker, which tells on it that nobody is subscribed
        await bus.publish(agent_subject(node, "open"), payload, reply=answers)
        async with asyncio.timeout(OPEN_LIMIT_S):
            await stream.wait_accepted()
    except BusError as exc:
        await stream.close()
        raise ServiceUnavailable(f"node {node} cannot be reached: {exc}") from exc
    except TimeoutError as exc:
        await stream.close()
        raise Timeout(f"node {node} did not answer within {OPEN_LIMIT_S:g} s") from exc
    except BaseException:
        await stream.close()
        raise
    return stream


StreamHandler = Callable[[dict[str, Any], BusStream], Awaitable[None]]


class StreamServer:
    """The agent's side: runs a handler per opened stream.

    An ApiError raised by a handler before it sent or read anything is raised by open_stream; later, or for any other
    failure, its Status closes the stream. A handler that goes on for 5 s after its stream ended is cancelled.
    """

    def __init__(self, bus: Bus, node: str, handlers: Mapping[str, StreamHandler]) -> None:
        self._bus = bus
        self._node = node
        self._handlers = dict(handlers)
        self._streams: dict[str, BusStream] = {}

    async def run(self) -> None:
        """Serve for ever."""
        async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
            self._group = group
            for tail, callback in (("open", self._on_open), ("stream.*", self._on_frame)):
                subscription = await self._bus.subscribe(agent_subject(self._node, tail), callback)
                stack.push_async_callback(subscription.unsubscribe)
            await asyncio.get_running_loop().create_future()

    def _on_open(self, message: Message) -> None:
        try:
            request = msgspec.msgpack.decode(message.data, type=dict[str, Any])
            stream_id, op = str(request["id"]), str(request["op"])
            params = dict(request["params"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            log.exception("a request for a stream is malformed")
            return
        # registered at once: the opener's first frames may follow in the same packet
        stream = BusStream(self._bus, node_subject(self._node, f"stream.{stream_id}"), accept=True)
        self._streams[stream_id] = stream
        self._group.create_task(self._serve(stream_id, op, params, stream), name=f"{op} stream")

    def _on_frame(self, message: Message) -> None:
        stream = self._streams.get(message.subject.rpartition(".")[2])
        if stream is not None:
            stream.feed(message.data)

    async def _serve(self, stream_id: str, op: str, params: dict[str, Any], stream: BusStream) -> None:
        loop = asyncio.get_running_loop()
        status: dict[str, Any] | None = None
        task = asyncio.current_task()
        assert task is not None
        ending: asyncio.TimerHandle | None = None

        def end_soon() -> None:
            nonlocal ending
            ending = loop.call_later(GRACE_S, task.cancel)

        stream.on_end(end_soon)
        try:
            handler = self._handlers.get(op)
            if handler is None:
                raise BadRequest(f"stream operation {op!r} is unknown")
            if len(self._streams) > MOST_STREAMS:
                raise TooManyRequests(f"node {self._node} has {MOST_STREAMS} streams already")
            await handler(params, stream)
        except ApiError as exc:
            if not await stream.refuse(exc):
                status = exc.status()
        except StreamBroken as exc:
            log.info("%s stream broke: %s", op, exc)
        except Exception as exc:
            log.exception("%s stream failed", op)
            error = InternalError(f"{op} failed: {type(exc).__name__}: {exc}")
            if not await stream.refuse(error):
                status = error.status()
        finally:
            if ending is not None:
                ending.cancel()
            await stream.close(status)
            del self._streams[stream_id]
