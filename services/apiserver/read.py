"""Get and list: from the cache, consistent unless the client says that older is good enough, pages pinned to one
revision. An older state is rebuilt by undoing the changes since, as far back as the cache remembers them, and further
back from the log's history."""

from dataclasses import dataclass

from services.apiserver import conversion, pages
from services.apiserver.failures import bad_request, future_revision, not_found
from services.apiserver.protocol import Item, Listing, Outcome, Request
from services.apiserver.routes import Target
from services.apiserver.selection import Selection
from services.apiserver.store import Store
from shared.errors import RevisionTooOld
from shared.events.subjects import Ref
from shared.objects.registry import Resource
from shared.state.cache import Record

# of a number of 64 bits
MOST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Reader:
    """The read side of the API for every resource."""

    store: Store

    async def get(self, request: Request, target: Target) -> Outcome:
        resource = target.resource
        version, match = request.query.get("resourceVersion"), request.query.get("resourceVersionMatch")
        if match == "Exact":
            # Kubernetes has this for lists only: one object as it was
            check_match(version)
            record = await self._one_at(resource, target, parse_revision(version))
        elif version == "0":
            record = await self.store.get(resource, target.namespace, target.name)
        elif version:
            await self.wait_for(resource, parse_revision(version))
            record = await self.store.get(resource, target.namespace, target.name)
        else:
            record = await self.store.latest(resource, target.namespace, target.name)
        if conversion.storage_of(resource) is resource:
            return Item(resource, record, encoded=record.json)
        return Item(resource, conversion.view(resource, record))

    async def list_objects(self, request: Request, target: Target) -> Outcome:
        resource, query = target.resource, request.query
        selection = Selection.of(request, resource, target)
        limit = parse_count(request, "limit")
        version, match = query.get("resourceVersion"), query.get("resourceVersionMatch")
        after: tuple[str, str] | None = None
        if query.get("continue"):
            if version not in ("", "0"):
                raise bad_request("specifying resource version is not allowed when using continue")
            page = pages.decode(query.get("continue"))
            after = page.after
            if page.revision == pages.LATEST:
                records, revision = await self._current(resource, target.namespace, "")
            else:
                records, revision = await self._at(resource, target.namespace, page.revision, after, limit)
        elif match == "Exact":
            records, revision = await self._at(resource, target.namespace, parse_revision(version), None, limit)
        else:
            records, revision = await self._current(resource, target.namespace, version)
        if after is not None:
            records = [one for one in records if (one.ref.namespace, one.ref.name) > after]
        if not selection.is_open:
            records = [one for one in records if selection.matches(resource, one)]
        if not limit or len(records) <= limit:
            return Listing(resource, records, revision)
        shown = records[:limit]
        last = shown[-1].ref
        token = pages.encode(pages.Page(revision, (last.namespace, last.name)))
        # with selectors Kubernetes does not know how many remain
        remaining = len(records) - limit if selection.labels is None and selection.fields is None else None
        return Listing(resource, shown, revision, token, remaining)

    async def _current(self, resource: Resource, namespace: str, version: str) -> tuple[list[Record], int]:
        cache = self.store.stream(resource).cache
        if version in ("", None):
            await cache.consistent()
        elif version != "0":
            await self.wait_for(resource, parse_revision(version))
        return self.store.list_objects(resource, namespace), cache.revision

    async def wait_for(self, resource: Resource, revision: int) -> None:
        """Wait until the cache is at least at a revision; Timeout (ResourceVersionTooLarge) if none is that new."""
        cache = self.store.stream(resource).cache
        if cache.revision < revision:
            await cache.consistent()
        if cache.revision < revision:
            raise future_revision(revision, cache.revision)

    async def _at(
        self, resource: Resource, namespace: str, revision: int, after: tuple[str, str] | None, limit: int
    ) -> tuple[list[Record], int]:
        """The objects as they were at a revision; Expired with a token for the rest if that is too long ago."""
        await self.wait_for(resource, revision)
        stored = conversion.storage_of(resource)
        cache, history = self.store.stream(resource).cache, self.store.stream(resource).history
        try:
            if revision < cache.history_floor:
                raise RevisionTooOld(floor=cache.history_floor)
            if history is not None and revision < cache.floor(stored.group, stored.plural):
                return await history.at(stored.group, stored.plural, namespace, revision), revision
            subscription = cache.subscribe(stored.group, stored.plural, namespace, since=revision)
        except RevisionTooOld as exc:
            raise pages.expired(after, limit) from exc
        changes = subscription.take()
        subscription.close()
        records = self.store.list_objects(resource, namespace)
        if not changes:
            return records, revision
        state: dict[Ref, Record | None] = {one.ref: one for one in records}
        for change in reversed(changes):
            state[change.record.ref] = None if change.type == "ADDED" else change.previous
        kept = [one for one in state.values() if one is not None]
        kept.sort(key=lambda one: (one.ref.namespace, one.ref.name))
        return kept, revision

    async def _one_at(self, resource: Resource, target: Target, revision: int) -> Record:
        """One object as it was at a revision; NotFound if it did not exist then, Expired if that is too long ago."""
        history = self.store.stream(resource).history
        if history is None:
            raise bad_request(f"{resource.plural} have no history: resourceVersionMatch=Exact is for lists of them")
        await self.wait_for(resource, revision)
        try:
            record = await history.get(self.store.ref(resource, target.namespace, target.name), revision)
        except RevisionTooOld as exc:
            raise pages.expired(None, 0) from exc
        if record is None:
            raise not_found(resource, target.name)
        return record


def parse_revision(text: str) -> int:
    """A resourceVersion parameter; BadRequest if it is no number."""
    if len(text) > MOST_DIGITS or not text.isascii() or not text.isdigit():
        raise bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def check_match(version: str) -> None:
    """The revision of an exact get must be given."""
    if not version:
        raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if version == "0":
        raise bad_request('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')


def parse_count(request: Request, name: str) -> int:
    """A number among the query parameters, 0 if absent; BadRequest if it is none."""
    text = request.query.get(name)
    if not text:
        return 0
    try:
        return max(int(text), 0)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax ({name})') from None
