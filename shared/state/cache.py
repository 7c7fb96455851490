"""All objects of a stream (or the part a process needs) in memory: what every read, list and watch is served from.

It has no I/O: a feed puts revisions in, in order, and everything else happens synchronously, so that whoever reads two
objects without awaiting in between reads one snapshot.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from shared.errors import BusTimeout, RevisionTooOld, StateError
from shared.events.subjects import Ref
from shared.state.barriers import Barriers
from shared.state.record import Change, Record
from shared.state.streams import TOMBSTONE_S
from shared.state.subscription import Subscription

__all__ = ["Cache", "Change", "Record", "Subscription"]

log = logging.getLogger(__name__)

RING: Final = 4096
# what the changes of one resource that can be replayed may hold: a few large objects must not fill the memory
RING_BYTES: Final = 32 << 20

Key = tuple[str, str]
ChangeCallback = Callable[[Change], None]
# inside the class the name list is the method
Records = list[Record]
Replay = list[Change]


class _Table:
    """The objects of one resource, their keys in order, and the last changes."""

    __slots__ = (
        "floor",
        "held",
        "keys",
        "records",
        "ring",
        "ring_bytes",
        "ring_size",
        "sizes",
        "sorted",
        "subscriptions",
    )

    def __init__(self, floor: int, ring_size: int, ring_bytes: int) -> None:
        self.records: dict[Key, Record] = {}
        self.keys: list[Key] = []
        self.sorted = True
        self.ring: deque[Change] = deque()
        # the bytes of each change in the ring, and of all
        self.sizes: deque[int] = deque()
        self.held = 0
        self.ring_size = ring_size
        self.ring_bytes = ring_bytes
        self.floor = floor
        self.subscriptions: set[Subscription] = set()

    def put(self, key: Key, record: Record) -> None:
        if key not in self.records:
            if self.sorted and len(self.keys) > 32 and self.keys[-1] > key:
                insort(self.keys, key)
            else:
                self.sorted = self.sorted and (not self.keys or self.keys[-1] < key)
                self.keys.append(key)
        self.records[key] = record

    def remove(self, key: Key) -> None:
        del self.records[key]
        self.order()
        del self.keys[bisect_left(self.keys, key)]

    def order(self) -> list[Key]:
        if not self.sorted:
            self.keys.sort()
            self.sorted = True
        return self.keys

    def cut(self) -> None:
        """End every watch: it must list again."""
        for subscription in tuple(self.subscriptions):
            subscription.cut()

    def restart(self, floor: int) -> None:
        """Let no watch go on, or resume, from before `floor`."""
        self.cut()
        self.forget(floor)

    def forget(self, floor: int) -> None:
        """Remember no change any more; what was up to `floor` cannot be replayed."""
        self.ring.clear()
        self.sizes.clear()
        self.held = 0
        self.floor = floor

    def remember(self, change: Change) -> None:
        size = change.record.size
        self.ring.append(change)
        self.sizes.append(size)
        self.held += size
        while len(self.ring) > self.ring_size or self.held > self.ring_bytes:
            self.floor = self.ring.popleft().revision
            self.held -= self.sizes.popleft()
        for subscription in self.subscriptions:
            subscription.offer(change)


class Cache:
    """See the module. `ring` is how many changes per resource can be replayed to a watch that resumes, `ring_bytes` how
    many bytes they may have."""

    def __init__(self, ring: int = RING, ring_bytes: int = RING_BYTES) -> None:
        self.revision = 0
        self.loaded = False
        # how consistent reads are made: the quick way, and one that is told why if there is none
        self.barriers: Barriers | None = None
        self.barrier: Callable[[], Awaitable[int]] | None = None
        self._ring = ring
        self._ring_bytes = ring_bytes
        self._floor = 0
        self._tables: dict[tuple[str, str], _Table] = {}
        # below this revision the log's history is gone, for every reader alike
        self.history_floor = 0
        self._tombstones: dict[Ref, tuple[int, float]] = {}
        # the highest revision of a tombstone that is no longer remembered
        self._forgotten = 0
        self._expiry: deque[tuple[float, Ref, int]] = deque()
        self._callbacks: list[ChangeCallback] = []
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiter_count = 0
        # who waits for the next barrier, while there is somebody about to make it
        self._followers: list[asyncio.Future[int | None]] | None = None
        self._barrier_lock = asyncio.Lock()

    # reading

    def get(self, ref: Ref) -> Record | None:
        """The object's last revision, None if it does not exist."""
        table = self._tables.get(ref[:2])
        return table.records.get(ref[2:]) if table else None

    def list(self, group: str, resource: str, namespace: str = "") -> Records:
        """All objects of a resource, or of one namespace, sorted by namespace and name."""
        table = self._tables.get((group, resource))
        if table is None:
            return []
        keys = table.order()
        records = table.records
        if namespace:
            keys = keys[bisect_left(keys, (namespace, "")) : bisect_left(keys, (namespace + "\0", ""))]
        return [records[key] for key in keys]

    def count(self, group: str, resource: str) -> int:
        """How many objects of a resource there are."""
        table = self._tables.get((group, resource))
        return len(table.records) if table else 0

    def resources(self) -> Sequence[tuple[str, str]]:
        """(group, plural) of every resource with at least one object."""
        return sorted(key for key, table in self._tables.items() if table.records)

    def expected(self, ref: Ref) -> int:
        """What a compare-and-set of this object must expect: its last revision, its tombstone's, or 0.

        A tombstone of long ago is forgotten: a writer that meets one looks for it and has it recalled.
        """
        record = self.get(ref)
        if record is not None:
            return record.revision
        self._expire_tombstones()
        return self._tombstones.get(ref, (0, 0.0))[0]

    def floor(self, group: str, resource: str) -> int:
        """The lowest revision from which a watch of this resource can resume."""
        table = self._tables.get((group, resource))
        return table.floor if table else self._floor

    # waiting and watching

    async def wait_revision(self, revision: int, timeout: float | None = None) -> None:
        """Wait until everything up to `revision` has been applied. BusTimeout after `timeout` seconds."""
        if self.revision >= revision:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiter_count += 1
        heapq.heappush(self._waiters, (revision, self._waiter_count, future))
        if timeout is None:
            await future
            return
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError as exc:
            raise BusTimeout(f"revision {revision} was not reached, the cache is at {self.revision}") from exc

    async def consistent(self, timeout: float = 5.0) -> int:
        """Wait until the cache holds everything written before this call; the revision reached.

        Callers that arrive while a barrier is on its way share the next one. BusTimeout, Disconnected.
        """
        loop = asyncio.get_running_loop()
        if self.barriers is not None:
            began = loop.time()
            passed: asyncio.Future[bool] = loop.create_future()
            if self.barriers.wait(lambda reached: None if passed.done() else passed.set_result(reached)):
                if await passed:
                    return self.revision
                timeout = max(timeout - (loop.time() - began), 1.0)
        if self.barrier is None:
            raise StateError("the cache has no feed that could make a barrier")
        while True:
            if self._followers is None:
                return await self._lead(timeout)
            waiter: asyncio.Future[int | None] = loop.create_future()
            self._followers.append(waiter)
            if (revision := await waiter) is not None:
                return revision

    async def _lead(self, timeout: float) -> int:
        """Make a barrier for this caller and for all that arrive before it is published."""
        assert self.barrier is not None
        followers: list[asyncio.Future[int | None]] = []
        self._followers = followers
        # None tells the followers that their leader was cancelled, and one of them must lead
        reached: int | None = None
        failure: Exception | None = None
        try:
            async with asyncio.timeout(timeout):
                async with self._barrier_lock:
                    # whoever arrives from here on might have written after the barrier was published
                    self._followers = None
                    revision = await self.barrier()
                await self.wait_revision(revision)
            reached = max(revision, self.revision)
            return reached
        except TimeoutError as exc:
            failure = BusTimeout(f"no consistent read within {timeout:g} s")
            raise failure from exc
        except Exception as exc:
            failure = exc
            raise
        finally:
            if self._followers is followers:
                self._followers = None
            for waiter in followers:
                if waiter.done():
                    continue
                if failure is not None:
                    waiter.set_exception(failure)
                else:
                    waiter.set_result(reached)

    def subscribe(self, group: str, resource: str, namespace: str = "", since: int | None = None) -> Subscription:
        """The changes after revision `since`, or from now on. RevisionTooOld if they are no longer remembered."""
        table = self._table((group, resource))
        after = self.revision if since is None else since
        if after < table.floor:
            raise RevisionTooOld(f"revision {after} is below {table.floor}", floor=table.floor)
        subscription = Subscription(namespace, after, table.subscriptions.discard)
        if after < self.revision:
            replay: Replay = []
            for change in reversed(table.ring):
                if change.revision <= after:
                    break
                replay.append(change)
            for change in reversed(replay):
                subscription.offer(change)
        table.subscriptions.add(subscription)
        return subscription

    def wake(self, group: str, resource: str) -> None:
        """Wake the readers of a resource's subscriptions: something else than its objects concerns them."""
        table = self._tables.get((group, resource))
        for subscription in table.subscriptions if table else ():
            subscription.wake()

    def on_change(self, callback: ChangeCallback) -> Callable[[], None]:
        """Call `callback` with every Change, synchronously; first with an ADDED for everything that is there.

        The result takes the callback off again.
        """
        for table in self._tables.values():
            for record in list(table.records.values()):
                callback(Change("ADDED", record, None, record.revision))
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    # writing, for the feed

    def apply(self, records: Iterable[Record]) -> None:
        """Take in revisions, in order; those of one call become visible together."""
        for record in records:
            self._apply(record)
        self._wake()

    def advance(self, revision: int) -> None:
        """Note that everything up to `revision` was seen, though it may have held nothing for this cache."""
        if revision > self.revision:
            self.revision = revision
            self._wake()

    def recall(self, ref: Ref, revision: int) -> None:
        """Note the tombstone of an object that does not exist, as the log has it; 0 for none."""
        self._tombstones.pop(ref, None)
        if revision:
            self._bury(ref, revision, time.time() + TOMBSTONE_S)

    def compact(self, floor: int) -> None:
        """Note that the log's history below `floor` is gone."""
        self.history_floor = max(self.history_floor, floor)

    def vanish(self, ref: Ref, revision: int, keep_s: float) -> None:
        """The broker removed the object's last message by age; its marker stays on the subject for `keep_s`."""
        record = self.get(ref)
        if record is not None:
            gone = Record(ref, revision, record.raw, record.author, "expired", record.time, deleted=True)
            self._remove(gone, record)
        self._bury(ref, revision, time.time() + keep_s)
        self.advance(revision)

    def replace(self, records: Iterable[Record], revision: int, *, anew: bool = False) -> None:
        """The whole content at `revision`: the first load, or a load after an absence too long to replay.

        Differences are told to the callbacks; watches end, because what lay between is unknown, and cannot resume from
        before. With `anew` the log is not the one that was read before: its revisions say nothing about ours.
        """
        seen: set[Ref] = set()
        # a log restored to an earlier state has a shorter number line: no watch can go on across that
        anew = anew or revision < self.revision
        for table in self._tables.values():
            table.cut()
        self.loaded = False
        if anew:
            self.history_floor = self._forgotten = 0
            self._tombstones.clear()
            self._expiry.clear()
        for record in records:
            seen.add(record.ref)
            current = self.get(record.ref)
            if anew or current is None or current.revision != record.revision:
                self._apply(record)
        vanished = [
            record for table in self._tables.values() for record in table.records.values() if record.ref not in seen
        ]
        for record in vanished:
            gone = Record(record.ref, revision, record.raw, record.author, "vanished", record.time, deleted=True)
            self._remove(gone, record)
        self._floor = revision
        for table in self._tables.values():
            table.forget(revision)
        self.revision = revision
        self.loaded = True
        self._wake()

    def _apply(self, record: Record) -> None:
        ref = record.ref
        if self.loaded and record.predecessor > self._known(ref):
            # what happened in between was no longer in the log: no watcher must take this for the whole story
            log.warning("revisions of %s before %d are missing", ref, record.revision)
            self._table(ref[:2]).restart(record.revision - 1)
        if record.deleted:
            current = self.get(ref)
            if current is not None:
                self._remove(record, current)
            self._bury(ref, record.revision, record.time + TOMBSTONE_S)
        else:
            table = self._table(ref[:2])
            key = ref[2:]
            previous = table.records.get(key)
            table.put(key, record)
            self._tombstones.pop(ref, None)
            self._emit(table, Change("MODIFIED" if previous else "ADDED", record, previous, record.revision))
        if record.revision > self.revision:
            self.revision = record.revision

    def _known(self, ref: Ref) -> int:
        current = self.get(ref)
        if current is not None:
            return current.revision
        tombstone = self._tombstones.get(ref)
        return tombstone[0] if tombstone else self._forgotten

    def _remove(self, gone: Record, current: Record) -> None:
        table = self._table(gone.ref[:2])
        table.remove(gone.ref[2:])
        self._emit(table, Change("DELETED", gone, current, gone.revision))

    def _emit(self, table: _Table, change: Change) -> None:
        if self.loaded:
            table.remember(change)
        for callback in self._callbacks:
            try:
                callback(change)
            except Exception:
                log.exception("callback for a change of %s failed", change.record.ref)

    def _table(self, key: tuple[str, str]) -> _Table:
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = _Table(self._floor, self._ring, self._ring_bytes)
        return table

    def _bury(self, ref: Ref, revision: int, until: float) -> None:
        self._tombstones[ref] = (revision, until)
        self._expiry.append((until, ref, revision))
        self._expire_tombstones()

    def _expire_tombstones(self) -> None:
        now = time.time()
        while self._expiry and self._expiry[0][0] < now:
            _, ref, revision = self._expiry.popleft()
            if self._tombstones.get(ref, (0, 0.0))[0] == revision:
                del self._tombstones[ref]
                self._forgotten = max(self._forgotten, revision)

    def _wake(self) -> None:
        while self._waiters and self._waiters[0][0] <= self.revision:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)
