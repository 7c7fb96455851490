"""The bus in memory: the second adapter of the port, for logic and tests that need no broker.

It passes the same test suite as the connection to nats-server. A FakeBroker routes and stores for any number of
FakeBus connections in one event loop; `stop` and `start` are its power switch, and its streams survive that, as files
do.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from shared.bus.fake_streams import Broker, FakeJetStream, fits
from shared.bus.port import Bus, Callback, Headers, Received, Subscription, deliver
from shared.errors import BusError, Disconnected

MAX_PAYLOAD_BYTES = 8 << 20


class _FakeSubscription:
    def __init__(self, bus: FakeBus, subject: str, callback: Callback, queue: str) -> None:
        self.bus = bus
        self.pattern = subject.split(".")
        self.queue = queue
        self.messages: asyncio.Queue[Received] = asyncio.Queue()
        self._callback = callback
        self._task = bus.broker.group.create_task(self._work(), name=f"subscription {subject}")

    async def _work(self) -> None:
        while True:
            await deliver(self._callback, await self.messages.get())

    async def unsubscribe(self) -> None:
        self.close()

    def close(self) -> None:
        if self in self.bus.broker.subscriptions:
            self.bus.broker.subscriptions.remove(self)
        # a callback may take its own subscription off, and goes on to its end then
        if self._task is not asyncio.current_task():
            self._task.cancel()


class FakeBroker(Broker):
    """`async with FakeBroker() as broker`, then `broker.connect("user")` as often as needed."""

    def __init__(self) -> None:
        self.subscriptions: list[_FakeSubscription] = []
        self.running = True
        self.group = asyncio.TaskGroup()
        self._buses: list[FakeBus] = []
        self._turn = 0
        self._streams = FakeJetStream(self)

    def connect(self, user: str = "admin") -> FakeBus:
        """A new connection of a user; it is open until the broker's end or its own `close`."""
        bus = FakeBus(self, user)
        self._buses.append(bus)
        return bus

    def stop(self) -> None:
        """Lose every connection and every ephemeral consumer, as kill -9 of a broker does."""
        self.running = False
        self._streams.forget_consumers()
        for bus in self._buses:
            bus.set_connected(False)

    def start(self) -> None:
        """Come back with everything that was stored."""
        self.running = True
        for bus in self._buses:
            bus.set_connected(True)

    def hand(self, inbox: str, message: Received) -> None:
        """Give a stored message to whoever is subscribed to `inbox`, under its own subject."""
        tokens = inbox.split(".")
        for subscription in self.subscriptions:
            if fits(subscription.pattern, tokens):
                subscription.messages.put_nowait(message)

    def route(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        """Store what streams capture, and hand the message to everyone subscribed."""
        message = Received(subject, reply, data, headers)
        taken = self._streams.handle(message)
        tokens = subject.split(".")
        groups: dict[str, list[_FakeSubscription]] = {}
        delivered = False
        for subscription in self.subscriptions:
            if not fits(subscription.pattern, tokens):
                continue
            if subscription.queue:
                groups.setdefault(subscription.queue, []).append(subscription)
            else:
                subscription.messages.put_nowait(message)
                delivered = True
        for members in groups.values():
            self._turn += 1
            members[self._turn % len(members)].messages.put_nowait(message)
            delivered = True
        if reply and not delivered and not taken:
            self.route(reply, "", b"", {"Status": "503"})

    async def __aenter__(self) -> Self:
        await self.group.__aenter__()
        self.group.create_task(self._streams.keep_time(), name="fake broker's clock")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for bus in list(self._buses):
            await bus.close()
        self._streams.stopped.set()
        await self.group.__aexit__(kind, exc, tb)


class FakeBus(Bus):
    """A connection to a FakeBroker."""

    def __init__(self, broker: FakeBroker, user: str) -> None:
        super().__init__(user)
        self.broker = broker
        self._closed = False
        broker.subscriptions.append(_FakeSubscription(self, f"{self._replies}.*", self._on_reply, ""))
        self._set_connected(broker.running)

    async def publish(self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = "") -> None:
        self._send(subject, data, headers, reply)

    def post(self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = "") -> None:
        self._send(subject, data, headers, reply)

    def _send(self, subject: str, data: bytes, headers: Headers | None, reply: str) -> None:
        if not self.connected:
            raise Disconnected(f"not connected to the broker: {subject} was not sent")
        if not subject or any(character in subject for character in " \t\r\n"):
            raise BusError(f"cannot publish {subject!r}: invalid subject")
        if len(data) > MAX_PAYLOAD_BYTES:
            raise BusError(f"message on {subject} has {len(data)} bytes, more than the broker takes")
        self.broker.route(subject, reply, bytes(data), dict(headers) if headers else None)

    async def subscribe(self, subject: str, callback: Callback, queue: str = "") -> Subscription:
        if self._closed:
            raise Disconnected(f"connection is closed: cannot subscribe {subject}")
        subscription = _FakeSubscription(self, subject, callback, queue)
        self.broker.subscriptions.append(subscription)
        return subscription

    async def flush(self) -> None:
        if not self.connected:
            raise Disconnected("not connected to the broker")

    def set_connected(self, connected: bool) -> None:
        """Break or mend this connection alone."""
        if not self._closed:
            self._set_connected(connected)

    async def close(self) -> None:
        self._set_connected(False)
        self._closed = True
        self._stop()
        for subscription in list(self.broker.subscriptions):
            if subscription.bus is self:
                subscription.close()
