"""Watches: the changes of a resource as events, filtered and translated for one watcher.

Objects that come to match the selectors appear as ADDED, objects that no longer do as DELETED. A quiet watch gets
bookmarks, so that it can resume from a recent revision. Everything is served from the subscription of the cache.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from functools import lru_cache

from services.apiserver import conversion
from services.apiserver.failures import invalid, status_of, too_old
from services.apiserver.protocol import Event, Object, Request, Watching
from services.apiserver.read import Reader, parse_count, parse_revision
from services.apiserver.routes import Target
from services.apiserver.selection import Selection
from shared.errors import RevisionTooOld
from shared.objects import json
from shared.objects.registry import Resource
from shared.objects.validation import Cause
from shared.state.cache import Change, Record, Subscription

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
                end.append(_bookmark(resource, cache.revision, {INITIAL_EVENTS_END: "true"}))
        alarm = _Alarm(subscription)
        batches = self._batches(resource, selection, subscription, options, alarm)
        if missed is not None:
            batches = _caught_up(resource, selection, options, missed, batches)
        elif present or end:
            batches = _after(_initial(resource, present, end), batches)
        return Watching(resource, batches, alarm.close)

    async def _batches(
        self,
        resource: Resource,
        selection: Selection,
        subscription: Subscription,
        options: "Options",
        alarm: "_Alarm",
    ) -> AsyncIterator[list[Event]]:
        loop = asyncio.get_running_loop()
        cache = self.reader.store.stream(resource).cache
        end = loop.time() + options.lifetime_s
        last_bookmark = max(end - BOOKMARK_BEFORE_END_S, loop.time())
        next_bookmark = min(loop.time() + BOOKMARK_INTERVAL_S, last_bookmark) if options.bookmarks else end
        while (now := loop.time()) < end:
            try:
                changes = subscription.take()
            except RevisionTooOld as exc:
                yield [_error(status_of(too_old(cache.revision, exc.floor)))]
                return
            if changes:
                events = translate(resource, selection, changes)
                if events:
                    yield events
                continue
            if resource.schema.custom is not None and resource.schema.custom.is_replaced:
                return
            if options.bookmarks and now >= next_bookmark:
                # nothing is buffered, so everything up to the cache's revision has been told
                next_bookmark = min(now + BOOKMARK_INTERVAL_S, last_bookmark) if now < last_bookmark else end
                yield [_bookmark(resource, cache.revision, {})]
                continue
            await alarm.wait(min(end, next_bookmark))


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


class _Alarm:
    """Waits for changes or a moment. The timer is kept over many waits: moments are far away, changes are not, and
    setting a timer costs more than sending an event."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    async def wait(self, moment: float) -> None:
        """Until there is something to take, or the loop's clock has passed `moment`, or earlier."""
        loop = asyncio.get_running_loop()
        if self._timer is None or moment < self._due or self._due <= loop.time():
            self._cancel()
            self._due = moment
            self._timer = loop.call_at(moment, self._subscription.wake)
        await self._subscription.wait()

    def close(self) -> None:
        """End the subscription as well."""
        self._cancel()
        self._subscription.close()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _initial(resource: Resource, present: list[Record], end: list[Event]) -> AsyncIterator[list[Event]]:
    """The present state in portions, so that many new watchers do not hold all of it encoded at once."""
    for start in range(0, len(present), PORTION):
        yield [_event(resource, "ADDED", one) for one in present[start : start + PORTION]]
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
            if events := translate(resource, selection, changes):
                yield events
    except RevisionTooOld as exc:
        yield [_error(status_of(too_old(options.revision, exc.floor)))]
        return
    async for batch in then:
        yield batch


def translate(resource: Resource, selection: Selection, changes: Iterable[Change]) -> list[Event]:
    """The events that a watcher with these selectors sees of some changes."""
    events = []
    for change in changes:
        record, previous = change.record, change.previous
        is_chosen = change.type != "DELETED" and selection.matches(resource, record)
        was_chosen = previous is not None and (selection.is_open or selection.matches(resource, previous))
        if is_chosen:
            events.append(_event(resource, "MODIFIED" if was_chosen else "ADDED", record))
        elif was_chosen and change.type == "DELETED":
            events.append(_event(resource, "DELETED", record))
        elif was_chosen and previous is not None:
            events.append(_left(resource, previous, change.revision))
    return events


def _event(resource: Resource, kind: str, record: Record) -> Event:
    if conversion.storage_of(resource) is resource:
        return _stored(kind, record)
    return _converted(resource, kind, record)


# watchers are told of a change within the same turn of the loop, so a few turns' changes are enough
@lru_cache(maxsize=128)
def _stored(kind: str, record: Record) -> Event:
    return Event(kind, record.json)


@lru_cache(maxsize=128)
def _converted(resource: Resource, kind: str, record: Record) -> Event:
    obj = conversion.view(resource, record)
    return Event(kind, json.encode(obj), obj)


def _left(resource: Resource, previous: Record, revision: int) -> Event:
    """An object that left the selectors is shown as it last matched, at the revision that took it out."""
    obj = conversion.view(resource, previous)
    shown = obj | {"metadata": obj["metadata"] | {"resourceVersion": str(revision)}}
    return Event("DELETED", json.encode(shown), shown)


def _bookmark(resource: Resource, revision: int, annotations: dict[str, str]) -> Event:
    metadata: Object = {"resourceVersion": str(revision)}
    if annotations:
        metadata["annotations"] = annotations
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return Event("BOOKMARK", json.encode(obj), obj)


def _error(status: Object) -> Event:
    return Event("ERROR", json.encode(status), status)


async def _failed(asked: int, floor: int) -> AsyncIterator[list[Event]]:
    yield [_error(status_of(too_old(asked, floor)))]


def _refuse(message: str, field: str = "resourceVersionMatch") -> None:
    cause = Cause("FieldValueForbidden", f"Forbidden: {message}", field)
    raise invalid("meta.k8s.io", "ListOptions", "", [cause])
