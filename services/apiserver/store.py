"""Objects as the API handlers see them: read from the caches, written through the log, one door for both streams.

A write returns when this process's cache has applied it, so whatever this client asks next is answered from a state
that contains it. A read that must be consistent passes a barrier that concurrent readers share. The caches may lag
behind another replica's writes, so an object that seems absent or changed is looked at again after a barrier before
a client is told so.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.apiserver import conversion
from services.apiserver.failures import already_exists, conflict, not_found
from services.apiserver.forms import Form
from services.apiserver.protocol import Object
from shared.errors import ApiError, RevisionConflict
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.objects.registry import Resource
from shared.state.cache import Cache, Record
from shared.state.history import History
from shared.state.log import CREATE, StateLog, Write
from shared.state.space import Space

# losing this often in a row means that something else is wrong than contention
ATTEMPTS = 32


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream with its cache: the revisions of its objects are on one number line. Events have no history."""

    log: StateLog
    cache: Cache
    history: History | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a mutation decided: the object to store, or that it goes, with what must change along with it.

    `answer` is what the client is shown when that differs from what was stored; `form` is the JSON of the object, if it
    is at hand.
    """

    object: Object
    remove: bool = False
    along: Callable[[], Sequence[Write]] | None = None
    answer: Object | None = None
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind: the stored form with its resourceVersion, as the record if it is at hand."""

    source: Object | Record

    @property
    def object(self) -> Object:
        return self.source.object if isinstance(self.source, Record) else self.source

    @property
    def encoded(self) -> bytes | None:
        return self.source.json if isinstance(self.source, Record) else None


class Store:
    """Reads and writes objects of every resource; raises ApiErrors."""

    def __init__(self, state: Stream, events: Stream, space: Space | None = None) -> None:
        self.state = state
        self.events = events
        self._space = space

    def stream(self, resource: Resource) -> Stream:
        """The stream that holds objects of a resource."""
        return self.events if conversion.is_event(resource) else self.state

    def ref(self, resource: Resource, namespace: str, name: str) -> Ref:
        """The identity an object is stored under."""
        stored = conversion.storage_of(resource)
        return Ref(stored.group, stored.plural, namespace, name)

    def peek(self, resource: Resource, namespace: str, name: str) -> Record | None:
        """The object as the cache has it now."""
        return self.stream(resource).cache.get(self.ref(resource, namespace, name))

    async def get(self, resource: Resource, namespace: str, name: str) -> Record:
        """The current object; NotFound only if it was absent after this call began."""
        record = self.peek(resource, namespace, name)
        if record is None:
            await self.stream(resource).cache.consistent()
            record = self.peek(resource, namespace, name)
        if record is None:
            raise not_found(resource, name)
        return record

    async def latest(self, resource: Resource, namespace: str, name: str) -> Record:
        """The object at least as new as the moment of the call; NotFound if there is none."""
        await self.stream(resource).cache.consistent()
        record = self.peek(resource, namespace, name)
        if record is None:
            raise not_found(resource, name)
        return record

    def list_objects(self, resource: Resource, namespace: str = "") -> list[Record]:
        """The objects as the cache has them now, in key order."""
        stored = conversion.storage_of(resource)
        return self.stream(resource).cache.list(stored.group, stored.plural, namespace)

    async def create(
        self,
        resource: Resource,
        obj: Object,
        author: Author,
        *,
        cause: str = "",
        along: Callable[[], Sequence[Write]] | None = None,
        form: Form | None = None,
    ) -> Written:
        """Store a new object; AlreadyExists if its name is taken.

        `along` makes further writes that succeed or fail with it; it is asked again when one of them lost a race.
        """
        stream = self.stream(resource)
        metadata = obj["metadata"]
        ref = self.ref(resource, metadata.get("namespace", ""), metadata["name"])
        stored = conversion.to_storage(resource, obj)
        if stream.cache.get(ref) is not None:
            # it may have been deleted through another replica
            await stream.cache.consistent()
        for _ in range(ATTEMPTS):
            if stream.cache.get(ref) is not None:
                break
            write = Write(ref, stored, stream.cache.expected(ref), CREATE, cause)
            try:
                revision = await self._write(stream, write, author, along)
            except RevisionConflict:
                await stream.cache.consistent()
                continue
            return await self._applied(stream, write, revision, form if stored is obj else None)
        if stream.cache.get(ref) is None:
            # the races were lost over what had to be written along
            raise conflict(resource, ref.name)
        raise already_exists(resource, ref.name)

    async def store_together(self, writes: Sequence[Write], author: Author) -> list[Written] | None:
        """Store several objects of STATE, all or none; None if one of them lost a race, which the cache then shows."""
        try:
            revisions = await self.state.log.batch(writes, author)
        except RevisionConflict:
            await self._recall(self.state, writes)
            await self.state.cache.consistent()
            return None
        pairs = zip(writes, revisions, strict=True)
        return [await self._applied(self.state, write, revision) for write, revision in pairs]

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        mutate: Callable[[Record], Change | Awaitable[Change]],
        author: Author,
        *,
        expected: int | None = None,
        cause: str = "",
    ) -> Written:
        """Change an object by compare-and-set; returns what the client is to see.

        `mutate` gets the current record and returns, at once or later, what to store; it is called again on the newer
        record when the race was lost. An equal object is not written. With `expected`, the object must be at that
        revision, else Conflict.
        """
        stream = self.stream(resource)
        ref = self.ref(resource, namespace, name)
        record = await self.get(resource, namespace, name)
        # a compare-and-set finds out by itself that the record is not the newest; what ends without one must not be
        # decided on what another replica has changed already
        is_latest = False
        if expected is not None and record.revision != expected:
            record, is_latest = await self.latest(resource, namespace, name), True
        for _ in range(ATTEMPTS):
            if expected is not None and record.revision != expected:
                break
            try:
                change = mutate(record)
                if not isinstance(change, Change):
                    change = await change
            except ApiError:
                newer = record if is_latest else await self.latest(resource, namespace, name)
                if newer.revision == record.revision:
                    raise
                record, is_latest = newer, True
                continue
            stored = conversion.to_storage(resource, change.object)
            if not change.remove and stored == record.object:
                newer = record if is_latest else await self.latest(resource, namespace, name)
                if newer.revision == record.revision:
                    return Written(record)
                record, is_latest = newer, True
                continue
            operation = "delete" if change.remove else "put"
            try:
                write = Write(ref, stored, record.revision, operation, cause)
                revision = await self._write(stream, write, author, change.along)
            except RevisionConflict:
                record, is_latest = await self.latest(resource, namespace, name), True
                continue
            if change.answer is not None:
                await stream.cache.wait_revision(revision)
                return Written(conversion.to_storage(resource, change.answer))
            return await self._applied(stream, write, revision, change.form if stored is change.object else None)
        raise conflict(resource, name)

    async def _write(
        self,
        stream: Stream,
        write: Write,
        author: Author,
        along: Callable[[], Sequence[Write]] | None,
    ) -> int:
        if self._space is not None and write.op != "delete":
            self._space.check()
        more: Sequence[Write] = ()
        if along is not None:
            try:
                more = along()
            except ApiError:
                # what it found taken may have been given back through another replica
                await stream.cache.consistent()
                more = along()
        try:
            if not more:
                return await stream.log.write(write, author)
            revisions = await stream.log.batch([write, *more], author)
        except RevisionConflict:
            await self._recall(stream, [write, *more])
            raise
        # the cache applies a batch whole, so waiting for its last message is waiting for all of it
        await stream.cache.wait_revision(revisions[-1])
        return revisions[0]

    async def _recall(self, stream: Stream, writes: Sequence[Write]) -> None:
        """Find the tombstones that the cache has forgotten, or that are gone though it remembers them."""
        for write in writes:
            if stream.cache.get(write.ref) is None:
                revision = await stream.log.tombstone(write.ref)
                if revision is not None and stream.cache.get(write.ref) is None:
                    stream.cache.recall(write.ref, revision)

    async def _applied(self, stream: Stream, write: Write, revision: int, form: Form | None = None) -> Written:
        await stream.cache.wait_revision(revision)
        record = stream.cache.get(write.ref)
        if record is not None and record.revision == revision:
            if form is not None:
                record.adopt(form.at(revision))
            return Written(record)
        # a tombstone, or already overtaken by another write
        return Written(write.obj | {"metadata": write.obj["metadata"] | {"resourceVersion": str(revision)}})
