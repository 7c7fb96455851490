"""The bus as every other module knows it: publish, subscribe, call. Two adapters fulfil it, the connection to a real
broker and the in-memory fake; what they share, the matching of replies to calls, is here."""

from __future__ import annotations

import abc
import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from shared.errors import BrokerError, BusError, BusTimeout, Disconnected, NoResponders
from shared.events.subjects import inbox_prefix

log = logging.getLogger(__name__)

# a part of a reply that does not fit one message; the last part comes without it
MORE = "Wherry-More"
_SWEEP_S = 0.2

Headers = Mapping[str, str]


class Message(Protocol):
    """A message as delivered to a subscriber."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None


@dataclass(slots=True)
class Received:
    """A message made by ourselves: by the fake broker, or joined from the parts of a long reply."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None = None


Callback = Callable[[Message], Awaitable[None] | None]
ConnectionCallback = Callable[[bool], None]


class Subscription(Protocol):
    """What subscribe returns."""

    async def unsubscribe(self) -> None: ...


class _Call:
    __slots__ = ("deadline", "future", "parts", "subject", "timeout")

    def __init__(self, future: asyncio.Future[Message], subject: str, timeout: float, deadline: float) -> None:
        self.future = future
        self.subject = subject
        self.timeout = timeout
        self.deadline = deadline
        self.parts: list[bytes] | None = None


class Bus(abc.ABC):
    """A connection of one user.

    Nothing is stored for later: while disconnected, publish and call raise Disconnected at once, and a call whose
    connection breaks raises Disconnected without waiting for its time limit. Subscriptions survive a reconnect;
    messages of the gap are lost. Callbacks of one subscription run one after the other, in order.
    """

    def __init__(self, user: str) -> None:
        self.user = user
        self.prefix = inbox_prefix(user)
        # names this connection among all of its user's
        self.id = secrets.token_hex(8)
        self._replies = f"{self.prefix}.{self.id}"
        self._calls: dict[str, _Call] = {}
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._listeners: list[ConnectionCallback] = []
        self._connected = asyncio.Event()

    @abc.abstractmethod
    async def publish(self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = "") -> None:
        """Hand a message to the connection. Disconnected without one; BusError for a subject or size that is bad."""

    @abc.abstractmethod
    def post(self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = "") -> None:
        """`publish` for timers and plain callbacks, which cannot wait; the same errors."""

    @abc.abstractmethod
    async def subscribe(self, subject: str, callback: Callback, queue: str = "") -> Subscription:
        """Receive messages; with `queue`, one member of the group gets each. `callback` may be a plain function."""

    @abc.abstractmethod
    async def flush(self) -> None:
        """Wait until the broker has taken in everything published and subscribed so far. Disconnected."""

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Wait until there is a connection."""
        await self._connected.wait()

    def on_connection(self, callback: ConnectionCallback) -> Callable[[], None]:
        """Call `callback(connected)` at every change; the result takes the callback off again."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def new_inbox(self) -> str:
        """A fresh subject that only this user may subscribe."""
        return f"{self.prefix}.{secrets.token_hex(10)}"

    async def call(
        self, subject: str, data: bytes = b"", headers: Headers | None = None, timeout: float = 5.0
    ) -> Message:
        """Publish with a reply inbox and wait for the reply, at most `timeout` seconds.

        Raises NoResponders, BusTimeout, Disconnected, BrokerError (the broker refuses the subject to this user).
        """
        loop = asyncio.get_running_loop()
        self._count += 1
        key = f"{self._count:x}"
        call = _Call(loop.create_future(), subject, timeout, loop.time() + timeout)
        self._calls[key] = call
        if self._sweeper is None:
            self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        try:
            await self.publish(subject, data, headers, f"{self._replies}.{key}")
            return await call.future
        finally:
            del self._calls[key]

    async def request(self, subject: str, payload: Any, timeout: float = 5.0) -> Any:
        """`call` with msgpack both ways. BusError if the reply is not msgpack."""
        message = await self.call(subject, msgspec.msgpack.encode(payload), timeout=timeout)
        try:
            return msgspec.msgpack.decode(message.data)
        except msgspec.DecodeError as exc:
            raise BusError(f"reply on {subject} is not msgpack: {exc}") from exc

    async def _subscribe_replies(self) -> None:
        await self.subscribe(f"{self._replies}.*", self._on_reply)

    def _on_reply(self, message: Message) -> None:
        call = self._calls.get(message.subject.rpartition(".")[2])
        if call is None or call.future.done():
            return
        headers = message.headers
        if headers:
            if headers.get("Status") == "503" and not message.data:
                call.future.set_exception(NoResponders(f"nobody answers on {call.subject}"))
                return
            if MORE in headers:
                call.deadline = asyncio.get_running_loop().time() + call.timeout
                call.parts = call.parts or []
                call.parts.append(message.data)
                return
        if call.parts is not None:
            data = b"".join((*call.parts, message.data))
            message = Received(message.subject, message.reply, data, headers)
        call.future.set_result(message)

    def _sweep(self) -> None:
        # one timer for all calls: a timer per call costs more than the call's own bookkeeping
        loop = asyncio.get_running_loop()
        now = loop.time()
        for call in self._calls.values():
            if call.deadline <= now and not call.future.done():
                call.future.set_exception(BusTimeout(f"no answer on {call.subject} within {call.timeout:g} s"))
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep) if self._calls else None

    def _set_connected(self, connected: bool) -> None:
        if connected == self._connected.is_set():
            return
        if connected:
            self._connected.set()
        else:
            self._connected.clear()
            self._fail_calls(lambda call: Disconnected(f"connection lost while waiting on {call.subject}", sent=True))
        for listener in tuple(self._listeners):
            listener(connected)

    def _refused(self, subject: str) -> None:
        """The broker refused a publish; it names the subject in lower case."""
        self._fail_calls(
            lambda call: (
                BrokerError(f"the broker refuses {call.subject} to {self.user}")
                if call.subject.lower() == subject.lower()
                else None
            )
        )

    def _fail_calls(self, error: Callable[[_Call], BusError | None]) -> None:
        for call in self._calls.values():
            if not call.future.done() and (exc := error(call)) is not None:
                call.future.set_exception(exc)

    def _stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


def parse_headers(raw: bytes) -> dict[str, str]:
    """The headers in a block of `Name: value` lines (NATS ADR-4). Names and values are not checked."""
    headers = {}
    for line in raw.decode(errors="replace").split("\r\n"):
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip()] = value.strip()
    return headers


def deliver_now(callback: Callback, message: Message) -> None:
    """Run a subscriber's plain function; what it raises is logged, for there is nobody else to tell."""
    try:
        callback(message)
    except Exception:
        log.exception("callback for %s failed", message.subject)


async def deliver(callback: Callback, message: Message) -> None:
    """Run a subscriber's callback; what it raises is logged, for there is nobody else to tell."""
    try:
        result = callback(message)
        if result is not None:
            await result
    except Exception:
        log.exception("callback for %s failed", message.subject)
