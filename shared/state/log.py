"""Writing to the state log: whole objects, compare-and-set on the object's last revision, several at once if needed.

An answer that was lost says nothing about the write. Every write carries an id inside its message, so the question is
settled by reading what follows the expected revision on the subject.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.bus.jetstream import EXPECTED, MARKER, MAX_BATCH, OPERATION, ROLLUP, TTL, JetStream, Outgoing
from shared.bus.port import Bus
from shared.errors import BusTimeout, Disconnected, NoResponders, RevisionConflict, StateError
from shared.events import envelope
from shared.events.envelope import DELETE, PUT, Author
from shared.events.subjects import BARRIERS, Ref, event_subject_of, subject_of
from shared.state import streams

__all__ = ["CREATE", "Author", "StateLog", "Write"]

log = logging.getLogger(__name__)

BARRIER_TTL = "60s"
CREATE = "create"
# how long a write whose answer was lost waits for a broker that can tell what became of it
SETTLE_S = 10.0
_ATTEMPTS = 3


class Write(NamedTuple):
    """One write; `op` is "put", "delete", or "create" for an object that does not exist, though its tombstone may."""

    ref: Ref
    obj: dict[str, Any]
    expected: int
    op: str = PUT
    cause: str = ""


class StateLog:
    """Appends to STATE, and to EVENTS for Event objects. Objects are never changed.

    Every method raises Disconnected at once without a connection, and Disconnected or BusTimeout when it remained
    unknown whether the write happened.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._jetstream = JetStream(bus)
        self._barrier = BARRIERS.replace("*", bus.id)
        self._write_ids = (f"{secrets.token_hex(8)}{number:x}" for number in itertools.count())

    async def put(
        self, ref: Ref, obj: dict[str, Any], *, expected: int, author: Author, cause: str = "", timeout: float = 5.0
    ) -> int:
        """Store an object if its last revision is `expected` (0: none, or `cache.expected`); the new revision.

        RevisionConflict otherwise; its `actual` is 0 when a tombstone that was expected has just been removed.
        """
        return await self._write(Write(ref, obj, expected, PUT, cause), author, timeout)

    async def delete(
        self, ref: Ref, obj: dict[str, Any], *, expected: int, author: Author, cause: str = "", timeout: float = 5.0
    ) -> int:
        """Store the object's last state as its tombstone; the revision. It stays as long as the history does."""
        return await self._write(Write(ref, obj, expected, DELETE, cause), author, timeout)

    async def write(self, write: Write, author: Author, timeout: float = 5.0) -> int:
        """`put` or `delete`, as the write says."""
        return await self._write(write, author, timeout)

    async def batch(self, writes: Sequence[Write], author: Author, timeout: float = 10.0) -> list[int]:
        """Store up to 1000 objects of STATE, all or none; their revisions. RevisionConflict does not tell whose."""
        if not writes:
            return []
        if len(writes) == 1:
            return [await self._write(writes[0], author, timeout)]
        if len(writes) > MAX_BATCH:
            raise StateError(f"a batch holds at most {MAX_BATCH} writes, not {len(writes)}")
        write_id = next(self._write_ids)
        messages = [_message(write, write_id, author) for write in writes]
        if any(streams.stream_of(message.subject) != streams.STATE for message in messages):
            raise StateError("a batch cannot hold events: they have a stream of their own")
        first = writes[0]
        for attempt in range(_ATTEMPTS):
            try:
                last = await self._jetstream.publish_batch(messages, timeout)
                return list(range(last - len(writes) + 1, last + 1))
            except (BusTimeout, Disconnected, NoResponders, RevisionConflict) as exc:
                start = await self._settle(exc, attempt, messages[0].subject, first.expected, write_id)
                if start is not None:
                    return list(range(start, start + len(writes)))
        raise BusTimeout(f"{messages[0].subject} and others: the batch was not acknowledged")

    async def tombstone(self, ref: Ref) -> int | None:
        """The revision of the tombstone that an object's next life must be written on, 0 if there is none; None if the
        object exists."""
        subject = _subject(ref)
        last = await self._jetstream.last_message(streams.stream_of(subject), subject)
        if last is None:
            return 0
        is_tombstone = last.headers.get(OPERATION) == DELETE or MARKER in last.headers
        return last.sequence if is_tombstone else None

    async def barrier(self) -> int:
        """Store a message behind everything written so far; its revision, which a feed on the same bus will reach."""
        return await self._jetstream.publish(self._barrier, b"", {TTL: BARRIER_TTL})

    async def _write(self, write: Write, author: Author, timeout: float) -> int:
        write_id = next(self._write_ids)
        subject, data, headers = _message(write, write_id, author)
        for attempt in range(_ATTEMPTS):
            try:
                return await self._jetstream.publish(subject, data, headers, timeout)
            except (BusTimeout, Disconnected, NoResponders, RevisionConflict) as exc:
                revision = await self._settle(exc, attempt, subject, write.expected, write_id)
                if revision is not None:
                    return revision
        raise BusTimeout(f"{subject}: the write was not acknowledged")

    async def _settle(self, error: Exception, attempt: int, subject: str, expected: int, write_id: str) -> int | None:
        """The revision if the write happened in spite of `error`, None if it did not and may be tried again."""
        unsent = isinstance(error, NoResponders) or (isinstance(error, Disconnected) and not error.sent)
        if attempt == 0 and (unsent or isinstance(error, RevisionConflict)):
            raise error
        # a replicated stream refuses a second attempt while the first is on its way to the replicas: then something is
        # going to follow, and it may be ours
        refused = isinstance(error, RevisionConflict)
        try:
            async with asyncio.timeout(SETTLE_S):
                following = await self._following(subject, expected, wait=refused)
        except TimeoutError:
            if refused:
                raise BusTimeout(f"{subject}: what became of the write remained unknown") from error
            raise error from None
        if following is None:
            return None
        sequence, found = following
        if found == write_id:
            return sequence
        if isinstance(error, RevisionConflict):
            raise error
        raise RevisionConflict(f"{subject}: revision {sequence} came first", actual=sequence) from error

    async def _following(self, subject: str, expected: int, *, wait: bool) -> tuple[int, str] | None:
        """Sequence and write id of the first message on the subject after the expected one, which `wait` waits for."""
        stream = streams.stream_of(subject)
        while True:
            await self._bus.wait_connected()
            try:
                stored = await self._jetstream.next_message(stream, subject, expected + 1, timeout=1.0)
            except (BusTimeout, Disconnected, NoResponders) as exc:
                log.info("fate of a write on %s is still unknown: %s", subject, exc)
                await asyncio.sleep(0.1)
                continue
            if stored is None:
                if not wait:
                    return None
                await asyncio.sleep(0.1)
                continue
            try:
                return stored.sequence, envelope.decode(stored.data).id
            except StateError:
                return stored.sequence, ""


def _message(write: Write, write_id: str, author: Author) -> Outgoing:
    subject = _subject(write.ref)
    headers = {EXPECTED: str(write.expected)}
    op = write.op
    if op not in (PUT, DELETE, CREATE):
        raise StateError(f"{subject}: {op!r} is no operation")
    if op != PUT or not write.expected:
        headers[OPERATION] = DELETE if op == DELETE else CREATE
    if op == DELETE and streams.stream_of(subject) == streams.EVENTS:
        # events have no history: without the rollup an expiring tombstone would bring the event back
        headers |= {ROLLUP: "sub", TTL: f"{streams.TOMBSTONE_S}s"}
    data = envelope.encode(write_id, DELETE if op == DELETE else PUT, write.obj, author, write.cause)
    return Outgoing(subject, data, headers)


def _subject(ref: Ref) -> str:
    is_event = ref.resource == "events" and ref.group in ("", "events.k8s.io")
    return event_subject_of(ref) if is_event else subject_of(ref)
