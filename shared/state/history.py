"""What was: the state at a revision, the changes since one, the revisions of one object, read from the log itself.

The broker drops the oldest revisions of an object that has too many, and says nothing. But every message carries the
revision that its writer expected, so the revisions of an object are a chain, and a missing link is always noticed: a
part of the history is told whole or refused with RevisionTooOld, never with a silent gap. Only the stream is read, and
through its leader where one message is wanted: a mirror may lack what was removed, or not yet have what was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from shared.bus.consumer import Delivery
from shared.bus.jetstream import OPERATION, TTL, JetStream
from shared.bus.port import Bus
from shared.bus.scan import scan
from shared.errors import RevisionTooOld, StorageFull
from shared.events.envelope import Author
from shared.events.subjects import BARRIERS, Ref, ref_of, resource_filter, subject_of
from shared.state.cache import Cache
from shared.state.log import BARRIER_TTL, CREATE, StateLog
from shared.state.record import Change, Record, from_message, predecessor_of
from shared.state.streams import STATE

# single messages fetched at the same time
_AT_ONCE = 32


class History:
    """Reads the past of STATE; `cache` is the present it is told from, and knows the floor."""

    def __init__(self, bus: Bus, cache: Cache) -> None:
        self._bus = bus
        self._jetstream = JetStream(bus)
        self._cache = cache
        self._authors: dict[Author, Author] = {}

    def check(self, revision: int) -> None:
        """RevisionTooOld if a revision is below the floor."""
        floor = self._cache.history_floor
        if revision < floor:
            raise RevisionTooOld(f"revision {revision} is below the floor {floor} of the history", floor=floor)

    async def at(self, group: str, resource: str, namespace: str, revision: int) -> list[Record]:
        """The objects as they were at a revision that the cache has passed, sorted by namespace and name.

        RevisionTooOld if that can no longer be told.
        """
        self.check(revision)
        present = self._cache.revision
        state: dict[Ref, Record | None] = {one.ref: one for one in self._cache.list(group, resource, namespace)}
        first: dict[Ref, Delivery] = {}
        filters = [resource_filter(group, resource, namespace)]
        async with self._read(filters, revision + 1, headers_only=True) as batches:
            async for batch in batches:
                for delivery in batch:
                    if delivery.sequence <= present:
                        first.setdefault(ref_of(delivery.subject), delivery)
        for record in await self._predecessors(revision, first):
            state[record[0]] = record[1]
        await self._confirm(revision)
        kept = [one for one in state.values() if one is not None]
        kept.sort(key=lambda one: (one.ref.namespace, one.ref.name))
        return kept

    async def get(self, ref: Ref, revision: int) -> Record | None:
        """The object as it was at a revision that the cache has passed. RevisionTooOld."""
        self.check(revision)
        present = self._cache.get(ref)
        following: Delivery | None = None
        async with self._read([subject_of(ref)], revision + 1, headers_only=True) as batches:
            async for batch in batches:
                following = following or (batch[0] if batch else None)
        if following is not None:
            ((_, present),) = await self._predecessors(revision, {ref: following})
        await self._confirm(revision)
        return present

    async def changes(
        self, group: str, resource: str, namespace: str, since: int, until: int
    ) -> AsyncGenerator[list[Change], None]:
        """The changes after revision `since` up to `until`, which the cache has passed, in order.

        RevisionTooOld, also in the middle, if some of them are no longer there.
        """
        self.check(since)
        known: dict[Ref, Record | None] = {}
        async with self._read([resource_filter(group, resource, namespace)], since + 1) as batches:
            async for batch in batches:
                wanted = [one for one in batch if one.sequence <= until]
                first: dict[Ref, Delivery] = {}
                for delivery in wanted:
                    ref = ref_of(delivery.subject)
                    if ref not in known:
                        first.setdefault(ref, delivery)
                known.update(await self._predecessors(since, first))
                changes = [change for one in wanted if (change := self._change(one, known)) is not None]
                await self._confirm(since)
                if changes:
                    yield changes

    async def revisions(self, ref: Ref) -> list[Record]:
        """The revisions of an object that are kept, oldest first, deletions included."""
        found: list[Record] = []
        async with self._read([subject_of(ref)], 1) as batches:
            async for batch in batches:
                found += [self._record(one) for one in batch]
        return found

    @asynccontextmanager
    async def _read(
        self, filters: Sequence[str], start: int, *, headers_only: bool = False
    ) -> AsyncGenerator[AsyncGenerator[list[Delivery], None], None]:
        """The messages of objects from a sequence to the present, which a barrier marks."""
        barrier = BARRIERS.replace("*", secrets.token_hex(8))
        try:
            end = await self._jetstream.publish(barrier, b"", {TTL: BARRIER_TTL})
        except StorageFull:
            # the past can be read all the same, up to the last message that is wanted
            end = await self._jetstream.last_sequence(STATE, filters)
        source = scan(self._bus, STATE, [*filters, barrier], start, headers_only=headers_only)

        async def bounded() -> AsyncGenerator[list[Delivery], None]:
            if end < start:
                return
            async for batch in source:
                yield [one for one in batch if one.sequence <= end and one.subject != barrier]
                if batch[-1].sequence >= end:
                    return

        async with contextlib.aclosing(source), contextlib.aclosing(bounded()) as batches:
            yield batches

    async def _confirm(self, since: int) -> None:
        """Make sure that nothing was removed while it was read: the floor is published before that."""
        await self._cache.consistent()
        self.check(since)

    async def _predecessors(self, since: int, first: dict[Ref, Delivery]) -> list[tuple[Ref, Record | None]]:
        """What each object was at `since`, from the first message on it afterwards. RevisionTooOld."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def find(ref: Ref, delivery: Delivery) -> tuple[Ref, Record | None]:
            async with limit:
                return ref, await self._predecessor(since, ref, delivery)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(find(*one), name=f"revision before {one[1].sequence}") for one in first.items()
                ]
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from exc
        return [task.result() for task in tasks]

    async def _predecessor(self, since: int, ref: Ref, delivery: Delivery) -> Record | None:
        predecessor = predecessor_of(delivery.headers)
        if predecessor == 0:
            return None
        if not 0 < predecessor <= since:
            raise _missing(ref, delivery)
        stored = await self._jetstream.message(STATE, predecessor)
        if stored is None:
            if (delivery.headers or {}).get(OPERATION) == CREATE:
                # what it was created on top of was a tombstone that has since been removed
                return None
            raise _missing(ref, delivery)
        record = from_message(ref, predecessor, stored.data, stored.headers, self._authors)
        return None if record.deleted else record

    def _change(self, delivery: Delivery, known: dict[Ref, Record | None]) -> Change | None:
        record = self._record(delivery)
        previous = known[record.ref]
        if previous is not None and record.predecessor != previous.revision:
            raise _missing(record.ref, delivery)
        known[record.ref] = None if record.deleted else record
        if record.deleted:
            return Change("DELETED", record, previous, record.revision) if previous is not None else None
        return Change("MODIFIED" if previous is not None else "ADDED", record, previous, record.revision)

    def _record(self, delivery: Delivery) -> Record:
        ref = ref_of(delivery.subject)
        return from_message(ref, delivery.sequence, delivery.data, delivery.headers, self._authors)


async def revision_at(bus: Bus, moment: float) -> int:
    """The last revision that the log held at a time (unix seconds)."""
    # a message of our own at the end: without it, "nothing younger" could not be told from "not yet read"
    end = await StateLog(bus).barrier()
    since = datetime.fromtimestamp(moment, UTC).isoformat()
    async with contextlib.aclosing(scan(bus, STATE, [], since, headers_only=True, limit=1)) as found:
        return min((await anext(found))[0].sequence, end) - 1


def _missing(ref: Ref, delivery: Delivery) -> RevisionTooOld:
    text = f"revisions of {ref.resource} {ref.namespace}/{ref.name} before {delivery.sequence} are no longer kept"
    return RevisionTooOld(text, floor=delivery.sequence)
