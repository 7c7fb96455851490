"""Watches: the changes of a resource as events, from where the watcher wants them.

Everything is served from the cache: first what was before the watch or what it missed, then what happens, which goes
to all watchers of the same together (broadcasts.py). A quiet watch gets bookmarks, so that it can resume from a recent
revision.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from services.apiserver import conversion, events
from services.apiserver.broadcasts import Audience, Broadcasts, Seat
from services.apiserver.failures import invalid, status_of, too_old
from services.apiserver.protocol import Event, Request, Watching
from services.apiserver.read import Reader, parse_count, parse_revision
from services.apiserver.routes import Target
from services.apiserver.selection import Selection
from shared.errors import RevisionTooOld
from shared.objects.registry import Resource
from shared.objects.validation import Cause
from shared.state.cache import Change, Record

BOOKMARK_INTERVAL_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
# Kubernetes ends watches after --min-request-timeout (30 minutes) and up to twice that
LIFETIME_S = (1800.0, 3600.0)
# events of the initial state that are made at once
PORTION = 500
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class Watcher:
    """Opens watches on the state that a reader reads."""

    reader: Reader
    broadcasts: Broadcasts = field(default_factory=Broadcasts)

    async def open(self, request: Request, target: Target) -> Watching:
        """Begin a watch; the failures of a bad request are raised here, later ones arrive as an ERROR event."""
        resource = target.resource
        selection = Selection.of(request, resource, target)
        options = Options.of(request)
        cache = self.reader.store.stream(resource).cache
        if options.revision:
            await self.reader.wait_for(resource, options.revision)
        elif not options.any_revision:
            await cache.consistent()
        custom = resource.schema.custom
        if custom is not None and 0 < options.revision < custom.since and not options.initial_events:
            # what was before this form of the definition is told by a list
            return Watching(resource, _failed(options.revision, custom.since), lambda: None)
        stored = conversion.storage_of(resource)
        since = options.revision if options.revision and not options.initial_events else None
        missed: AsyncIterator[list[Change]] | None = None
        try:
            if since is not None and since < cache.history_floor:
                raise RevisionTooOld(floor=cache.history_floor)
            subscription = cache.subscribe(stored.group, stored.plural, target.namespace, since=since)
        except RevisionTooOld as exc:
            history = self.reader.store.stream(resource).history
            if since is None or history is None or since < cache.history_floor:
                return Watching(resource, _failed(options.revision, exc.floor), lambda: None)
            # further back than this process remembers, as after its start: the log itself knows
            subscription = cache.subscribe(stored.group, stored.plural, target.namespace)
            missed = history.changes(stored.group, stored.plural, target.namespace, since, cache.revision)
        present: list[Record] = []
        end: list[Event] = []
        if options.initial_events:
            records = self.reader.store.list_objects(resource, target.namespace)
            present = [one for one in records if selection.matches(resource, one)]
            if options.marks_end:
                end.append(events.bookmark(resource, cache.revision, {INITIAL_EVENTS_END: "true"}))
        words = (target.name, request.query.get("labelSelector"), request.query.get("fieldSelector"))
        audience = Audience(cache, stored, resource, target.namespace, selection, words)
        seat = Seat(self.broadcasts, audience, subscription)
        batches = self._batches(audience, options, seat)
        if missed is not None:
            batches = _caught_up(resource, selection, options, missed, batches)
        elif present or end:
            batches = _after(_initial(resource, present, end), batches)
        return Watching(resource, batches, seat.close, seat.attach)

    async def _batches(self, audience: Audience, options: "Options", seat: Seat) -> AsyncIterator[list[Event]]:
        """What the watcher's task has to send itself; what happens while this waits goes to the seat's outlet."""
        loop = asyncio.get_running_loop()
        cache, resource = audience.cache, audience.resource
        end = loop.time() + options.lifetime_s
        last_bookmark = max(end - BOOKMARK_BEFORE_END_S, loop.time())
        next_bookmark = min(loop.time() + BOOKMARK_INTERVAL_S, last_bookmark) if options.bookmarks else end
        while (now := loop.time()) < end:
            try:
                changes = seat.take()
            except RevisionTooOld as exc:
                yield [events.error(status_of(too_old(cache.revision, exc.floor)))]
                return
            if changes:
                if told := events.translate(resource, audience.selection, changes):
                    yield told
                continue
            if resource.schema.custom is not None and resource.schema.custom.is_replaced:
                return
            if options.bookmarks and now >= next_bookmark:
                # nothing is buffered, so everything up to the cache's revision has been told
                next_bookmark = min(now + BOOKMARK_INTERVAL_S, last_bookmark) if now < last_bookmark else end
                yield [events.bookmark(resource, cache.revision, {})]
                continue
            await seat.wait(min(end, next_bookmark))


@dataclass(frozen=True, slots=True)
class Options:
    """What a watch request asks for. `revision` 0 stands for none; `any_revision` accepts whatever is at hand."""

    revision: int
    any_revision: bool
    initial_events: bool
    marks_end: bool
    bookmarks: bool
    lifetime_s: float

    @classmethod
    def of(cls, request: Request) -> "Options":
        """Read and check the parameters (meta/v1 ListOptions, KEP-3157)."""
        query = request.query
        version, match = query.get("resourceVersion"), query.get("resourceVersionMatch")
        bookmarks = query.flag("allowWatchBookmarks")
        wants_initial = query.flag("sendInitialEvents") if "sendInitialEvents" in query else None
        if wants_initial is not None and match != "NotOlderThan":
            _refuse("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        if wants_initial is None and match:
            _refuse("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        if wants_initial and not bookmarks:
            _refuse("sendInitialEvents requires allowWatchBookmarks to be set to true", "sendInitialEvents")
        revision = parse_revision(version) if version else 0
        seconds = parse_count(request, "timeoutSeconds")
        # without a revision a watch starts with the present state, and bookmarks then mark its end
        initial = revision == 0 if wants_initial is None else wants_initial
        return cls(
            revision=revision,
            any_revision=version == "0",
            initial_events=initial,
            marks_end=initial and bookmarks,
            bookmarks=bookmarks,
            lifetime_s=float(seconds) if seconds else random.uniform(*LIFETIME_S),
        )


async def _initial(resource: Resource, present: list[Record], end: list[Event]) -> AsyncIterator[list[Event]]:
    """The present state in portions, so that many new watchers do not hold all of it encoded at once."""
    for start in range(0, len(present), PORTION):
        yield [events.of_record(resource, "ADDED", one) for one in present[start : start + PORTION]]
    if end:
        yield end


async def _after(first: AsyncIterator[list[Event]], then: AsyncIterator[list[Event]]) -> AsyncIterator[list[Event]]:
    async for batch in first:
        yield batch
    del first
    async for batch in then:
        yield batch


async def _caught_up(
    resource: Resource,
    selection: Selection,
    options: Options,
    missed: AsyncIterator[list[Change]],
    then: AsyncIterator[list[Event]],
) -> AsyncIterator[list[Event]]:
    """What the watcher missed, from the log, and then what happens."""
    try:
        async for changes in missed:
            if told := events.translate(resource, selection, changes):
                yield told
    except RevisionTooOld as exc:
        yield [events.error(status_of(too_old(options.revision, exc.floor)))]
        return
    async for batch in then:
        yield batch


async def _failed(asked: int, floor: int) -> AsyncIterator[list[Event]]:
    yield [events.error(status_of(too_old(asked, floor)))]


def _refuse(message: str, field: str = "resourceVersionMatch") -> None:
    cause = Cause("FieldValueForbidden", f"Forbidden: {message}", field)
    raise invalid("meta.k8s.io", "ListOptions", "", [cause])
