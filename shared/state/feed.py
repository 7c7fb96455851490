"""The one reader of a stream in a process: loads the cache, keeps it current, and makes the barriers of its consistent
reads. Watches are served from the cache, never by a consumer each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from shared.bus.consumer import Delivery, PullConsumer
from shared.bus.jetstream import BATCH, BATCH_COMMIT, MARKER, TTL, JetStream
from shared.bus.port import Bus
from shared.errors import BusError, StateError, StorageFull
from shared.events.envelope import Author
from shared.events.subjects import BARRIERS, EVENT_BARRIERS, EVENT_OBJECTS, FLOOR, OBJECTS, ref_of
from shared.state import floors, streams
from shared.state.barriers import Barriers
from shared.state.cache import Cache
from shared.state.record import Record, from_message

log = logging.getLogger(__name__)

_BARRIER_TTL = "60s"
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class Feed:
    """Reads `subjects` (filters of shared.events.subjects; default: everything) of a stream into `cache`.

    A process that filters out members of an atomic batch still sees its own part of it whole, but up to two seconds
    late if the last member is not for it.
    """

    def __init__(self, bus: Bus, stream: str, cache: Cache, subjects: Sequence[str] = ()) -> None:
        self._bus = bus
        self._jetstream = JetStream(bus)
        self._stream = stream
        self._cache = cache
        is_events = stream == streams.EVENTS
        barriers = EVENT_BARRIERS if is_events else BARRIERS
        self._barrier = barriers.replace("*", bus.id)
        self._filters = [*(subjects or [EVENT_OBJECTS if is_events else OBJECTS]), self._barrier]
        if not is_events:
            self._filters.append(FLOOR)
        self._loaded = asyncio.Event()
        self._authors: dict[Author, Author] = {}
        # None once the content of the stream at the start of the consumer was taken in
        self._loading: list[Record] | None = None
        # a load is complete at the end of what the consumer found at its start, and not before this sequence: a
        # replica that lags behind would otherwise pass off an older content as the present one
        self._load_until = 0
        self._exhausted = False
        self._reached = 0
        self._load_floor = 0
        self._compacted = 0
        # when the stream was made: another one of the same name has other revisions
        self._created = ""
        self._anew = False
        self._held: list[Record] = []
        self._held_batch = ""
        self._held_at = 0.0
        self._current = 0.0
        self._barriers = Barriers(lambda data: bus.post(self._barrier, data, {TTL: _BARRIER_TTL}))
        cache.barriers = self._barriers
        cache.barrier = self.make_barrier

    async def wait_loaded(self) -> None:
        """Wait until the cache holds the whole present content."""
        await self._loaded.wait()

    @property
    def current(self) -> bool:
        """Whether the broker was heard within the last few seconds: the cache is not stale."""
        return self._loaded.is_set() and asyncio.get_running_loop().time() - self._current < 5.0

    async def run(self) -> None:
        """Read for ever; begins again by itself after a gap, a lost connection or a restart of the broker.

        StateError if the state log has lost its end since.
        """
        pause = _FIRST_PAUSE_S
        while True:
            await self._bus.wait_connected()
            started = asyncio.get_running_loop().time()
            try:
                reason = await self._read()
            except BusError as exc:
                reason = str(exc)
            log.warning("feed of %s begins again: %s", self._stream, reason)
            if asyncio.get_running_loop().time() - started > _LONGEST_PAUSE_S:
                pause = _FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def make_barrier(self) -> int:
        """Store a message behind everything written so far; its sequence.

        A store that is full takes none, and reads must go on: then it is the last message that this feed gets to see,
        as the stream's leader knows it.
        """
        try:
            return await self._jetstream.publish(self._barrier, b"", {TTL: _BARRIER_TTL})
        except StorageFull:
            return await self._jetstream.last_sequence(self._stream, self._filters)

    async def _read(self) -> str:
        info = await self._jetstream.stream_info(self._stream)
        last = int(info["state"]["last_seq"])
        floor = 0 if self._stream == streams.EVENTS else (await floors.read(self._jetstream)).revision
        absence = asyncio.get_running_loop().time() - self._current
        self._drop_held()
        if self._stream == streams.STATE and self._cache.loaded and last < self._cache.revision:
            # nothing may be told to be gone that nobody deleted: the process starts again, and its watermark decides
            raise StateError(f"the state log ends at revision {last}, but {self._cache.revision} was read from it")
        created = str(info.get("created", ""))
        self._anew, self._created = created != self._created, created
        resume = (
            self._cache.loaded
            and not self._anew
            and absence < streams.STREAMS[self._stream].absence_s
            and last >= self._cache.revision
            # revisions and tombstones that were not read yet may be gone
            and self._cache.revision >= floor
        )
        if resume:
            start: int | str = self._cache.revision + 1
            self._loading = None
        else:
            start = "last_per_subject"
            self._reached = 0
            self._load_until = self._load_floor = await self.make_barrier()
            self._exhausted = False
            self._compacted = floor
            self._loading = []
        consumer = PullConsumer(self._bus, self._stream, self._filters, start, self._on_delivery, self._on_idle)
        return await consumer.run(self._on_created)

    def _on_created(self, pending: int) -> None:
        self._current = self._held_at = asyncio.get_running_loop().time()
        self._exhausted = pending == 0
        self._check_load(in_batch=False)

    def _on_idle(self) -> None:
        self._current = asyncio.get_running_loop().time()
        # a heartbeat right behind a message may have been sent in the middle of a batch
        if self._held and self._current - self._held_at > 0.5:
            self._release()
        if self._loading is not None and self._current - self._held_at > 0.5:
            # the broker sends heartbeats when it has nothing to send, whatever it says is pending
            self._exhausted = True
            self._check_load(in_batch=False)

    def _on_delivery(self, delivery: Delivery) -> None:
        self._current = asyncio.get_running_loop().time()
        headers = delivery.headers
        batch = headers.get(BATCH, "") if headers else ""
        if self._loading is not None:
            self._on_load(delivery, in_batch=bool(batch) and BATCH_COMMIT not in (headers or ()))
            return
        if delivery.sequence <= self._cache.revision:
            # a replica that lags behind starts a consumer where it is itself, which may be before where we are
            return
        if self._held and batch != self._held_batch:
            self._release()
        subject = delivery.subject
        if subject == self._barrier:
            self._cache.advance(delivery.sequence)
            self._barriers.passed(delivery.data)
        elif subject == FLOOR:
            self._on_floor(delivery)
            self._cache.advance(delivery.sequence)
        elif headers and MARKER in headers:
            self._on_marker(delivery)
        elif (record := self._record(delivery)) is not None:
            if batch:
                self._held.append(record)
                self._held_batch = batch
                self._held_at = self._current
                if headers and BATCH_COMMIT in headers:
                    self._release()
            else:
                self._cache.apply((record,))
        elif not batch:
            self._cache.advance(delivery.sequence)

    def _on_load(self, delivery: Delivery, in_batch: bool) -> None:
        assert self._loading is not None
        self._reached = max(self._reached, delivery.sequence)
        self._load_floor = max(self._load_floor, delivery.sequence)
        self._held_at = self._current
        if delivery.subject == FLOOR:
            self._on_floor(delivery)
        elif (
            delivery.subject != self._barrier
            and MARKER not in (delivery.headers or ())
            and (record := self._record(delivery)) is not None
        ):
            self._loading.append(record)
        self._exhausted = self._exhausted or delivery.pending == 0
        self._check_load(in_batch)

    def _check_load(self, in_batch: bool) -> None:
        if self._loading is not None and self._exhausted and self._reached >= self._load_until and not in_batch:
            self._finish_load()

    def _on_floor(self, delivery: Delivery) -> None:
        try:
            self._compacted = max(self._compacted, floors.decode(delivery.data).revision)
        except StateError:
            log.exception("message %d on %s is ignored", delivery.sequence, delivery.subject)
        if self._loading is None:
            self._cache.compact(self._compacted)

    def _on_marker(self, delivery: Delivery) -> None:
        try:
            ref = ref_of(delivery.subject)
        except ValueError:
            return
        self._cache.vanish(ref, delivery.sequence, streams.EVENT_MARKER_S)

    def _record(self, delivery: Delivery) -> Record | None:
        try:
            ref = ref_of(delivery.subject)
            return from_message(ref, delivery.sequence, delivery.data, delivery.headers, self._authors)
        except (StateError, ValueError):
            # somebody with the right to write here wrote something else: it must not stop every reader
            log.exception("message %d on %s is ignored", delivery.sequence, delivery.subject)
            return None

    def _finish_load(self) -> None:
        records, self._loading = self._loading or [], None
        self._cache.replace(records, self._load_floor, anew=self._anew and self._cache.loaded)
        self._cache.compact(self._compacted)
        self._loaded.set()
        log.info("%s loaded: %d messages up to revision %d", self._stream, len(records), self._cache.revision)

    def _release(self) -> None:
        records, self._held = self._held, []
        self._held_batch = ""
        self._cache.apply(records)

    def _drop_held(self) -> None:
        # they come again: the cache's revision has not passed them
        self._held = []
        self._held_batch = ""
