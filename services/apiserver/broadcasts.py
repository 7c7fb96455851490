"""Watchers that are told the same are told together, without waking a task for each of them.

Fifty controllers that watch all pods ask for the same bytes. One channel takes the changes from the cache, makes events
of them, joins them to one chunk, and hands that to each connection: an event costs a watcher a share of one TLS record
and of one system call. The first event goes out at once. What follows is gathered for a moment that grows with what the
last round took, so that telling watchers cannot take the processor from the writes they are to be told of.

A watcher sits in a channel only while it has nothing else to send. One whose client does not take what it is sent
leaves, and is served by its own task from its own subscription, which is bounded, until it has caught up.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from services.apiserver import events, instruments
from services.apiserver.protocol import Outlet
from services.apiserver.selection import Selection
from shared.errors import RevisionTooOld
from shared.objects.registry import Resource
from shared.state.cache import Cache, Change, Subscription

log = logging.getLogger(__name__)

# between two rounds of a channel: at least so long, at most so long, and else a multiple of what the last one took
SHORTEST_S = 0.002
LONGEST_S = 0.05
REST = 16
# more than that goes out in pieces, each when the client has taken the one before
ROUND_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Audience:
    """Which changes: of a resource in a namespace (empty: all), chosen by `selection`, which `words` tell apart."""

    cache: Cache
    stored: Resource
    resource: Resource
    namespace: str
    selection: Selection
    words: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        # a definition that changes makes another resource
        return (id(self.cache), id(self.resource), self.namespace, self.words)

    def subscribe(self, missed: Sequence[Change] = ()) -> Subscription:
        """The changes from now on, after some that were taken from another subscription."""
        subscription = self.cache.subscribe(self.stored.group, self.stored.plural, self.namespace)
        subscription.resume(missed)
        return subscription


class Channel:
    """One stream of chunks for all seats with the same audience and form of events."""

    def __init__(self, audience: Audience, outlet: Outlet, on_close: Callable[[], object]) -> None:
        self._audience = audience
        self._on_close = on_close
        self._outlet = outlet
        self._seats: dict[Seat, None] = {}
        self._timer: asyncio.Handle | None = None
        self._rested = 0.0
        resource = audience.resource
        self._counter = instruments.WATCH_EVENTS.labels(resource.group, resource.version, resource.kind)
        self._subscribe()

    def _subscribe(self) -> None:
        self._subscription = self._audience.subscribe()
        self._subscription.listener = self

    def add(self, seat: "Seat") -> None:
        """Send a seat everything after the cache's revision."""
        self.flush()
        self._seats[seat] = None

    def remove(self, seat: "Seat") -> None:
        """Release a seat that was not released; what gathered is sent before."""
        if seat in self._seats:
            self.flush()
        if seat in self._seats:
            del self._seats[seat]
            seat.release([])
        if not self._seats and self._subscription.listener is not None:
            self._stop()
            self._subscription.listener = None
            self._subscription.close()
            self._on_close()

    # what the subscription tells

    def changed(self) -> None:
        """There is something to send."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._rested:
                self._timer = loop.call_soon(self.flush)
            else:
                self._timer = loop.call_at(self._rested, self.flush)

    def woken(self) -> None:
        """Something else than changes concerns the watchers."""
        # not now: it may be told in the middle of a change
        asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self.flush()
        for seat in self._seats:
            seat.wake()

    def flush(self) -> None:
        """Send what has gathered."""
        self._stop()
        began = time.perf_counter()
        try:
            changes = self._subscription.take()
        except RevisionTooOld:
            self._release([], is_cut=True)
            self._subscribe()
            return
        if not changes:
            return
        try:
            found = events.translate(self._audience.resource, self._audience.selection, changes)
            if not found:
                return
            data = self._outlet.encode(found)
        except Exception:
            # the task of each watcher will meet the same, and can end its watch
            log.exception("events of %s cannot be told", self._audience.resource.plural)
            self._release(changes)
            return
        if len(data) > ROUND_BYTES and len(found) > 1:
            self._release(changes)
            return
        self._counter.inc(len(found) * len(self._seats))
        for seat in [one for one in self._seats if not one.send(data)]:
            del self._seats[seat]
            seat.release([])
        took = time.perf_counter() - began
        self._rested = asyncio.get_running_loop().time() + min(max(took * REST, SHORTEST_S), LONGEST_S)

    def _release(self, changes: list[Change], *, is_cut: bool = False) -> None:
        seats, self._seats = self._seats, {}
        for seat in seats:
            seat.release(changes, is_cut=is_cut)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(slots=True)
class Broadcasts:
    """The channels of a process, as long as somebody sits in them."""

    _channels: dict[Hashable, Channel] = field(default_factory=dict)

    def channel(self, audience: Audience, outlet: Outlet) -> Channel:
        """The channel for an audience and the form of an outlet."""
        key = (audience.key, outlet.form)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(audience, outlet, lambda: self._channels.pop(key, None))
        return channel


class Seat:
    """One watcher's place: a subscription of its own, or a seat in a channel while it waits and has an outlet."""

    def __init__(self, broadcasts: Broadcasts, audience: Audience, subscription: Subscription) -> None:
        self._broadcasts = broadcasts
        self._audience = audience
        # None while it sits in a channel
        self._subscription: Subscription | None = subscription
        self._outlet: Outlet | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def attach(self, outlet: Outlet) -> None:
        """Let events go to an outlet directly while the watcher waits for some."""
        self._outlet = outlet

    def take(self) -> list[Change]:
        """The changes that are to be sent by the watcher's task. RevisionTooOld if it fell too far behind."""
        assert self._subscription is not None
        return self._subscription.take()

    async def wait(self, moment: float) -> None:
        """Until there is something for the watcher's task to do, or the loop's clock has passed `moment`, or earlier.

        The timer is kept over many waits: moments are far away, changes are not, and setting a timer costs more than
        sending an event.
        """
        loop = asyncio.get_running_loop()
        if self._timer is None or moment < self._due or self._due <= loop.time():
            self._cancel()
            self._due = moment
            self._timer = loop.call_at(moment, self.wake)
        outlet, subscription = self._outlet, self._subscription
        assert subscription is not None
        if outlet is None:
            await subscription.wait()
        elif outlet.is_full:
            await outlet.drained()
        else:
            await self._sit(outlet, subscription)

    async def _sit(self, outlet: Outlet, subscription: Subscription) -> None:
        subscription.close()
        self._subscription = None
        self._waiter = asyncio.get_running_loop().create_future()
        channel = self._broadcasts.channel(self._audience, outlet)
        channel.add(self)
        try:
            await self._waiter
        finally:
            channel.remove(self)

    # what the channel does

    def send(self, data: bytes) -> bool:
        """Whether the client can be sent more."""
        assert self._outlet is not None
        self._outlet.write(data)
        return not self._outlet.is_full

    def release(self, missed: list[Change], *, is_cut: bool = False) -> None:
        """Let the watcher's task go on by itself from the cache's revision on, after changes that were not sent."""
        self._subscription = self._audience.subscribe(missed)
        if is_cut:
            self._subscription.cut()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def wake(self) -> None:
        """Let `wait` return."""
        if self._subscription is not None:
            self._subscription.wake()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """End the subscription as well."""
        self._cancel()
        if self._subscription is not None:
            self._subscription.close()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
