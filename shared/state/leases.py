"""Leases: messages that expire by themselves. The broker emits a marker when one did, so nobody polls to learn that a
node fell silent or a leader died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.bus.consumer import Delivery, PullConsumer
from shared.bus.jetstream import EXPECTED, MARKER, ROLLUP, TTL, JetStream
from shared.bus.port import Bus
from shared.errors import BusError, RevisionConflict
from shared.events.subjects import NODE_LEASES, decode_name, leader_subject, node_subject
from shared.state.streams import LEASE, NODES

log = logging.getLogger(__name__)

_RETRY_S = 0.5


class Leases:
    """Takes and renews leases. Times to live are whole seconds, at least 1."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._jetstream = JetStream(bus)

    async def renew_node(self, node: str, ttl_s: int, payload: dict[str, Any] | None = None) -> None:
        """Say that a node lives. Nobody acknowledges this; Disconnected if it could not even be sent."""
        data = msgspec.msgpack.encode({"node": node, **(payload or {})})
        await self._bus.publish(node_subject(node, "lease"), data, {TTL: f"{ttl_s}s"})

    @asynccontextmanager
    async def leadership(self, service: str, identity: str, ttl_s: int = 10) -> AsyncIterator[asyncio.Event]:
        """Wait to become the leader of a service, and stay it inside the block.

        Gives an Event that is set when leadership was lost, or could not be renewed for so long that another may have
        it: the holder must stop acting then. Leaving the block gives it back at once.
        """
        async with self.hold(leader_subject(service), identity, ttl_s) as lost:
            yield lost

    @asynccontextmanager
    async def hold(self, subject: str, identity: str, ttl_s: int = 10) -> AsyncIterator[asyncio.Event]:
        """`leadership` of any subject of the LEASE stream."""
        lost = asyncio.Event()
        lease = _Lease(self._bus, self._jetstream, subject, identity, ttl_s)
        await lease.acquire()
        log.info("%s holds %s", identity, subject)
        # not a TaskGroup, which would wrap whatever the block raises; the task ends with the block all the same
        renewal = asyncio.create_task(lease.renew(lost), name=f"renewal of {subject}")
        try:
            yield lost
        finally:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
            if not lost.is_set():
                with contextlib.suppress(BusError, RevisionConflict):
                    await lease.release()


class _Lease:
    """One lease as its candidate and holder sees it."""

    def __init__(self, bus: Bus, jetstream: JetStream, subject: str, identity: str, ttl_s: int) -> None:
        self._bus = bus
        self._jetstream = jetstream
        self._subject = subject
        self._ttl = ttl_s
        self._data = msgspec.msgpack.encode({"identity": identity})
        self._sequence = 0
        self._renewed = 0.0

    async def acquire(self) -> None:
        """Try whenever the lease was released or has expired."""
        free = asyncio.Event()
        while True:
            await self._bus.wait_connected()
            try:
                holder = await self._jetstream.last_message(LEASE, self._subject)
                if holder is None or _is_free(holder.headers, holder.data):
                    await self._write(holder.sequence if holder else 0)
                    return
                free.clear()
                await self._wait_free(holder.sequence, free)
            except RevisionConflict:
                # another candidate was faster
                continue
            except BusError as exc:
                log.info("%s cannot be taken yet: %s", self._subject, exc)
                await asyncio.sleep(_RETRY_S)

    async def renew(self, lost: asyncio.Event) -> None:
        """Renew at a third of the time to live until another has the lease or time runs out."""
        loop = asyncio.get_running_loop()
        # one second of the broker's clock resolution, and one to stop acting, before another can take over
        patience = max(self._ttl - 2.0, self._ttl * 0.5)
        while True:
            await asyncio.sleep(min(self._ttl / 3, max(0.05, self._renewed + patience - loop.time())))
            try:
                async with asyncio.timeout_at(self._renewed + patience):
                    await self._write(self._sequence)
                continue
            except RevisionConflict as exc:
                if not await self._is_mine():
                    log.warning("%s was lost: %s", self._subject, exc)
                    break
            except (BusError, TimeoutError) as exc:
                log.info("%s was not renewed: %s", self._subject, exc)
            if loop.time() >= self._renewed + patience:
                log.warning("%s could not be renewed in time", self._subject)
                break
            await asyncio.sleep(min(_RETRY_S, self._ttl / 10))
        lost.set()

    async def release(self) -> None:
        """Leave the lease free for the next candidate."""
        headers = {EXPECTED: str(self._sequence), TTL: "1s", ROLLUP: "sub"}
        await self._jetstream.publish(self._subject, msgspec.msgpack.encode({"identity": ""}), headers, timeout=2.0)

    async def _write(self, expected: int) -> None:
        # the time to live counts from when the broker stored it, which was not before we asked
        asked = asyncio.get_running_loop().time()
        headers = {EXPECTED: str(expected), TTL: f"{self._ttl}s"}
        self._sequence = await self._jetstream.publish(
            self._subject, self._data, headers, timeout=max(1.0, self._ttl / 3)
        )
        self._renewed = asked

    async def _is_mine(self) -> bool:
        """Whether a renewal whose answer was lost is what stands in the way of this one."""
        try:
            holder = await self._jetstream.last_message(LEASE, self._subject)
        except BusError:
            return True
        if holder is None or holder.data != self._data:
            return False
        self._sequence = holder.sequence
        return True

    async def _wait_free(self, sequence: int, free: asyncio.Event) -> None:
        """Wait for the marker or the release that follows `sequence`. BusError if it cannot be watched for."""

        def deliver(delivery: Delivery) -> None:
            if delivery.sequence > sequence and _is_free(delivery.headers, delivery.data):
                free.set()

        consumer = PullConsumer(self._bus, LEASE, [self._subject], "last_per_subject", deliver, lambda: None)
        failures: list[BusError] = []

        async def read() -> None:
            # the group would wrap the error, and no caller expects that
            try:
                await consumer.run()
            except BusError as exc:
                failures.append(exc)

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read(), name=f"watch of {self._subject}")
            waiter = group.create_task(free.wait(), name=f"wait for {self._subject}")
            await asyncio.wait((reader, waiter), return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            waiter.cancel()
        if failures:
            raise failures[0]


def _is_free(headers: dict[str, str] | None, data: bytes) -> bool:
    if headers and MARKER in headers:
        return True
    try:
        return not msgspec.msgpack.decode(data).get("identity")
    except (msgspec.DecodeError, AttributeError):
        return True


@dataclass(frozen=True, slots=True)
class NodeLease:
    """What is known of a node: `alive`, and since when (monotonic seconds of this process) that is known.

    `renewed` is the monotonic time of the last message.
    """

    node: str
    alive: bool
    since: float
    renewed: float
    payload: dict[str, Any]


class LeaseWatch:
    """The leases of all nodes: `nodes`, and `on_change(lease)` whenever one appears, expires or comes back.

    `up_since` is the monotonic time since when this watch has seen everything without a gap, None while it does not.
    Whoever acts on an expired lease must wait its own grace from the later of the two: during an outage of the broker,
    or of the watcher, leases expire though their nodes are well.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.nodes: dict[str, NodeLease] = {}
        self.up_since: float | None = None
        self.on_change: Callable[[NodeLease], None] | None = None
        self._loading: set[str] | None = None
        self._loaded = asyncio.Event()

    async def wait_loaded(self) -> None:
        """Wait for the first complete picture."""
        await self._loaded.wait()

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self._bus.wait_connected()
            self._loading = set()
            consumer = PullConsumer(self._bus, NODES, [NODE_LEASES], "last_per_subject", self._on_delivery)
            try:
                reason = await consumer.run(self._on_created)
            except BusError as exc:
                reason = str(exc)
            finally:
                self.up_since = None
            log.warning("watch of the node leases begins again: %s", reason)
            await asyncio.sleep(_RETRY_S / 2)

    def _on_created(self, pending: int) -> None:
        if pending == 0:
            self._finish_load()

    def _on_delivery(self, delivery: Delivery) -> None:
        node = decode_name(delivery.subject.split(".")[2])
        if delivery.headers and MARKER in delivery.headers:
            self._expire(node)
        else:
            if self._loading is not None:
                self._loading.add(node)
            self._renew(node, delivery.data)
        if delivery.pending == 0:
            self._finish_load()

    def _finish_load(self) -> None:
        if self._loading is None:
            return
        present, self._loading = self._loading, None
        for node, lease in list(self.nodes.items()):
            if lease.alive and node not in present:
                self._expire(node)
        self.up_since = asyncio.get_running_loop().time()
        self._loaded.set()

    def _renew(self, node: str, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        try:
            payload = msgspec.msgpack.decode(data, type=dict[str, Any])
        except msgspec.DecodeError:
            payload = {}
        before = self.nodes.get(node)
        was_alive = before is not None and before.alive
        since = before.since if before is not None and was_alive else now
        lease = self.nodes[node] = NodeLease(node, True, since, now, payload)
        if not was_alive:
            self._tell(lease)

    def _expire(self, node: str) -> None:
        before = self.nodes.get(node)
        if before is not None and not before.alive:
            return
        now = asyncio.get_running_loop().time()
        lease = NodeLease(node, False, now, before.renewed if before else 0.0, before.payload if before else {})
        self.nodes[node] = lease
        self._tell(lease)

    def _tell(self, lease: NodeLease) -> None:
        log.info("lease of node %s %s", lease.node, "holds" if lease.alive else "expired")
        if self.on_change is None:
            return
        try:
            self.on_change(lease)
        except Exception:
            log.exception("handler of the lease of node %s failed", lease.node)
