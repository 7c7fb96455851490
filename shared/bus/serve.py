"""The API server's side of the bus: requests and watches of nodes and services (wire.py tells the messages)."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from shared.bus import wire
from shared.bus.port import MORE, Bus, Message
from shared.errors import ApiError, BusError, InternalError, ServiceUnavailable, TooManyRequests
from shared.events.subjects import decode_name, inbox_prefix

log = logging.getLogger(__name__)

MOST_REQUESTS = 512
MOST_WATCHES_PER_CALLER = 200


class Caller(NamedTuple):
    """Who asks, as the broker vouches: `kind` "node" or "service". user and groups are what the API server sees."""

    kind: str
    name: str

    @property
    def user(self) -> str:
        if self.kind == "node":
            return f"system:node:{self.name}"
        known = {"scheduler": "system:kube-scheduler", "controllers": "system:kube-controller-manager"}
        return known.get(self.name, f"system:wherry:{self.name}")

    @property
    def groups(self) -> tuple[str, ...]:
        role = "system:nodes" if self.kind == "node" else "system:masters"
        return (role, "system:authenticated")

    @property
    def bus_user(self) -> str:
        return f"node-{self.name}" if self.kind == "node" else self.name


class Handler(Protocol):
    """What the API server implements. Both methods may raise ApiError; anything else is answered as 500."""

    async def request(
        self, caller: Caller, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        """Code and body; a body of bytes is JSON that is passed on as it is."""
        ...

    def watch(
        self, caller: Caller, path: str, query: dict[str, str]
    ) -> AsyncIterator[Sequence[Any]] | Awaitable[AsyncIterator[Sequence[Any]]]:
        """Batches of events, each {"type", "object"} or its JSON bytes. An end makes the client resume, an ApiError is
        raised at the client. An async generator is closed when the watch is over."""
        ...


class ApiServerPort:
    """Serves a handler until `run` is cancelled. Replicas share the work as one queue group."""

    def __init__(self, bus: Bus, handler: Handler) -> None:
        self._bus = bus
        self._handler = handler
        self._watches: dict[tuple[Caller, str], _Watch] = {}
        self._requests = 0

    async def run(self) -> None:
        """Serve for ever; at cancellation running watches are told to resume elsewhere."""
        async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
            self._group = group
            for pattern in ("api.node.*", "api.service.*"):
                for tail, callback, queue in (
                    ("request", self._on_request, wire.QUEUE),
                    ("watch", self._on_watch, wire.QUEUE),
                    ("watch.*.alive", self._on_alive, ""),
                ):
                    subscription = await self._bus.subscribe(f"{pattern}.{tail}", callback, queue)
                    stack.push_async_callback(subscription.unsubscribe)
            stack.callback(self._bus.on_connection(self._on_connection))
            await asyncio.get_running_loop().create_future()

    def _on_connection(self, connected: bool) -> None:
        # the clients notice the same and open their watches anew, perhaps elsewhere
        if not connected:
            for watch in list(self._watches.values()):
                watch.stop()

    def _on_request(self, message: Message) -> None:
        caller = _caller(message)
        if caller is None:
            return
        if self._requests >= MOST_REQUESTS:
            error = TooManyRequests("too many requests of nodes and services at once")
            self._group.create_task(self._reply(message.reply, wire.answer(429, error.status())), name="refusal")
            return
        self._requests += 1
        self._group.create_task(self._serve_request(caller, message), name=f"request of {caller.user}")

    async def _serve_request(self, caller: Caller, message: Message) -> None:
        try:
            try:
                payload = wire.unpack(message.data)
                code, body = await self._handler.request(
                    caller,
                    str(payload.get("method", "")),
                    str(payload.get("path", "")),
                    payload.get("query") or {},
                    payload.get("headers") or {},
                    payload.get("body"),
                )
                data = wire.answer(code, body)
            except ApiError as exc:
                data = wire.answer(exc.code, exc.status())
            except asyncio.CancelledError:
                # the caller would otherwise wait for its time limit
                error = ServiceUnavailable("the API server stopped while it served the request")
                await self._reply(message.reply, wire.answer(error.code, error.status()))
                raise
            except Exception as exc:
                log.exception("request of %s failed", caller.user)
                data = wire.answer(500, InternalError(f"{type(exc).__name__}: {exc}").status())
            await self._reply(message.reply, data)
        finally:
            self._requests -= 1

    async def _reply(self, inbox: str, data: bytes) -> None:
        try:
            while len(data) > wire.PART_BYTES:
                await self._bus.publish(inbox, data[: wire.PART_BYTES], {MORE: "1"})
                data = data[wire.PART_BYTES :]
            await self._bus.publish(inbox, data)
        except BusError as exc:
            log.info("answer was not sent: %s", exc)

    def _on_watch(self, message: Message) -> None:
        caller = _caller(message)
        if caller is None:
            return
        self._group.create_task(self._serve_watch(caller, message), name=f"watch of {caller.user}")

    async def _serve_watch(self, caller: Caller, message: Message) -> None:
        try:
            payload = wire.unpack(message.data)
            key = (caller, str(payload.get("id", "")))
            if sum(1 for other, _ in self._watches if other == caller) >= MOST_WATCHES_PER_CALLER:
                raise TooManyRequests(f"{caller.user} has {MOST_WATCHES_PER_CALLER} watches already")
            events = self._handler.watch(caller, str(payload.get("path", "")), payload.get("query") or {})
        except ApiError as exc:
            await self._reply(message.reply, wire.pack({"t": "error", "status": exc.status()}))
            return
        watch = self._watches[key] = _Watch(self._bus, message.reply)
        reader = self._group.create_task(watch.read(events), name=f"reader of a watch of {caller.user}")
        try:
            await watch.run()
        finally:
            reader.cancel()
            del self._watches[key]

    def _on_alive(self, message: Message) -> None:
        parts = message.subject.split(".")
        watch = self._watches.get((Caller(parts[1], decode_name(parts[2])), parts[4]))
        if watch is None:
            return
        try:
            payload = wire.unpack(message.data)
        except ApiError:
            return
        watch.confirm(int(payload.get("n", 0)), bool(payload.get("end")))


class _Watch:
    """One watch: events from the handler, numbered, within the window; a beat when there are none."""

    def __init__(self, bus: Bus, inbox: str) -> None:
        self._bus = bus
        self._inbox = inbox
        self._number = 0
        # sizes of the batches that are not confirmed yet, the first of them is number _confirmed + 1
        self._unconfirmed: list[int] = []
        self._confirmed = 0
        self._in_flight = 0
        self._heard = asyncio.get_running_loop().time()
        self._stopped = False
        # the batch read ahead, and how the handler ended
        self._batch: Sequence[Any] | None = None
        self._ended = False
        self._error: ApiError | None = None
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def confirm(self, number: int, end: bool) -> None:
        self._heard = asyncio.get_running_loop().time()
        if end:
            self.stop()
        done = min(number, self._number) - self._confirmed
        if done > 0:
            self._in_flight -= sum(self._unconfirmed[:done])
            del self._unconfirmed[:done]
            self._confirmed += done
            self._wake.set()

    async def read(self, opening: Any) -> None:
        """Take batches from the handler, one ahead of what is sent. A task of its own: a step of the handler that was
        cancelled at every beat would never end."""
        events: Any = None
        try:
            events = await opening if inspect.isawaitable(opening) else opening
            async for batch in events:
                self._batch = batch
                self._wake.set()
                self._taken.clear()
                await self._taken.wait()
        except ApiError as exc:
            self._error = exc
        except Exception as exc:
            log.exception("watch failed")
            self._error = InternalError(f"{type(exc).__name__}: {exc}")
        finally:
            self._ended = True
            self._wake.set()
            if events is not None and hasattr(events, "aclose"):
                await events.aclose()

    async def run(self) -> None:
        """Until the client leaves or is lost, or the handler ends."""
        try:
            await self._send({"t": "open", "n": 0})
            await self._pump()
        except BusError as exc:
            log.info("a watch ends: %s", exc)
        finally:
            final = {"t": "error", "status": self._error.status()} if self._error else {"t": "end", "n": self._number}
            with contextlib.suppress(BusError):
                await self._send(final)

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopped:
            if self._batch is not None and self._in_flight < wire.WINDOW_BYTES:
                batch, self._batch = self._batch, None
                self._taken.set()
                await self._send_events(batch)
                continue
            if self._batch is None and self._ended:
                return
            if loop.time() - self._heard > wire.ABANDONED_S:
                log.info("a watch is cut off: its client was silent for %d s", wire.ABANDONED_S)
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(wire.BEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                await self._send({"t": "beat", "n": self._number})

    async def _send_events(self, events: Sequence[Any]) -> None:
        chunk: list[bytes] = []
        size = 0
        for event in events:
            encoded = event if isinstance(event, bytes) else msgspec.json.encode(event)
            if chunk and size + len(encoded) > wire.MESSAGE_BYTES:
                await self._send_chunk(chunk, size)
                chunk, size = [], 0
            chunk.append(encoded)
            size += len(encoded)
        if chunk:
            await self._send_chunk(chunk, size)

    async def _send_chunk(self, chunk: list[bytes], size: int) -> None:
        self._number += 1
        self._unconfirmed.append(size)
        self._in_flight += size
        await self._send({"t": "events", "n": self._number, "e": chunk})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._bus.publish(self._inbox, wire.pack(message))


def _caller(message: Message) -> Caller | None:
    """The caller that the subject proves. None, and no answer, if the reply would not go to the caller's own inbox: we
    may publish where it may not, and must not do so in its stead."""
    _, kind, name, _ = message.subject.split(".", 3)
    caller = Caller(kind, decode_name(name))
    if not message.reply.startswith(f"{inbox_prefix(caller.bus_user)}."):
        log.warning("a message on %s asks for an answer on %r and is ignored", message.subject, message.reply)
        return None
    return caller
