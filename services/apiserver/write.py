"""Create, update, patch and delete: the order in which a body becomes a stored object.

decode -> what the server sets -> defaults -> admission -> validation -> allocation -> compare-and-set. A dry run takes
the same way up to the last step.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.apiserver import conversion, decoding, ownership, patching, remove, render, strategies
from services.apiserver.admission import Admission, attributes
from services.apiserver.admission.attributes import Attributes, Lens
from services.apiserver.allocations import Allocator, Along
from services.apiserver.causes import cause
from services.apiserver.companions import Companions
from services.apiserver.failures import (
    already_exists,
    bad_request,
    conflict,
    conflict_on,
    invalid,
    plain,
    success,
    unsupported_body,
)
from services.apiserver.forms import Form
from services.apiserver.ownership import Ownership
from services.apiserver.protocol import Document, Item, Listing, Object, Outcome, Request
from services.apiserver.read import MOST_DIGITS, parse_count
from services.apiserver.routes import Target
from services.apiserver.selection import Selection
from services.apiserver.store import Change, Store, Written
from shared.errors import AlreadyExists, MethodNotAllowed, NotFound
from shared.events.envelope import Author
from shared.objects import defaults, meta, validation
from shared.objects.registry import Resource
from shared.objects.validation import Cause
from shared.state.cache import Record

MAX_OBJECT_BYTES = 1024 * 1024
GENERATED_NAME_ATTEMPTS = 8
Settled = Change | Awaitable[Change]


@dataclass(frozen=True, slots=True)
class Writer:
    """The write side of the API for every resource."""

    store: Store
    admission: Admission
    allocator: Allocator
    companions: Companions

    async def create(self, request: Request, target: Target) -> Outcome:
        obj = decoding.decode(request, target.resource)
        return item(target.resource, await self.store_new(request, target.resource, target.namespace, obj), 201)

    async def store_new(self, request: Request, resource: Resource, namespace: str, obj: Object) -> Written:
        """Create an object for a caller, generating its name if it has only a generateName."""
        _set_namespace(resource, obj, namespace)
        metadata = obj["metadata"]
        version = metadata.get("resourceVersion")
        if version not in (None, "", "0"):
            raise plain(500, "resourceVersion should not be set on objects to be created")
        generates = not metadata.get("name") and bool(metadata.get("generateName"))
        for attempt in range(GENERATED_NAME_ATTEMPTS):
            if generates:
                metadata["name"] = meta.generate_name(metadata["generateName"])
            try:
                # a name that is taken is drawn again, and then the object as the client sent it is needed once more
                return await self._create(request, resource, meta.copy(obj) if generates else obj)
            except AlreadyExists:
                if not generates or attempt == GENERATED_NAME_ATTEMPTS - 1:
                    raise
        raise already_exists(resource, metadata["name"])

    async def _create(
        self, request: Request, resource: Resource, obj: Object, owned: Ownership | None = None
    ) -> Written:
        if resource.schema.custom is not None and resource.schema.custom.is_terminating:
            raise MethodNotAllowed("create not allowed while custom resource definition is terminating", details={})
        self.admission.restrict_create(request, resource, obj)
        await self.admission.check_namespace(resource, obj)
        defaults.apply_defaults(resource, obj)
        if owned is None:
            owned = ownership.created(request, resource, obj)
        strategies.identify(obj)
        ownership.record(obj, owned)
        asked = attributes.creation(request, resource, obj)
        await self.admission.complete(asked)
        obj = asked.current
        strategies.prepare_create(resource, obj)
        _refuse(resource, obj, validation.validate_create(resource, obj))
        obj = asked.object = render.canonical(obj)
        form = self._sized(resource, obj)
        self.admission.check(asked)
        await self.admission.extensions.validate(asked)
        plan = self.allocator.plan(resource, obj, None) or self.companions.plan(resource, obj)
        charge = self.admission.quotas.charge(asked)
        if request.dry_run:
            metadata = obj["metadata"]
            if self.store.peek(resource, metadata.get("namespace", ""), metadata["name"]) is not None:
                raise already_exists(resource, metadata["name"])
            if plan is not None:
                # picks addresses for show
                plan()
            if charge is not None:
                charge()
            return Written(conversion.to_storage(resource, obj))
        because = cause(request)
        if charge is None:
            return await self.store.create(resource, obj, author(request), cause=because, along=plan, form=form)
        if plan is None:
            return await self.admission.pool.create(asked, author(request), because)
        charge()
        async with self.admission.quotas.turn(asked.namespace):
            along = _together(plan, charge)
            return await self.store.create(resource, obj, author(request), cause=because, along=along)

    async def update(self, request: Request, target: Target) -> Outcome:
        resource = target.resource
        obj = decoding.decode(request, resource, self._shared(resource, target))
        _set_namespace(resource, obj, target.namespace)
        _check_name(obj, target.name)
        expected = expected_revision(obj)
        # what is lost to a race is tried again with what the client sent
        sent = meta.copies(obj)

        def replace(record: Record) -> Object:
            replacement: Object = next(sent)
            _check_uid(resource, replacement, conversion.view(resource, record), target)
            return replacement

        try:
            return item(resource, await self.change(request, target, replace, expected))
        except NotFound:
            if strategies.key(resource) not in strategies.CREATED_BY_UPDATE or target.subresource is not None:
                raise
            obj = next(sent)
            obj["metadata"].pop("resourceVersion", None)
            return item(resource, await self.store_new(request, resource, target.namespace, obj), 201)

    def _shared(self, resource: Resource, target: Target) -> Object | None:
        """The object with which the one that takes its place may share parts."""
        if strategies.key(resource) not in strategies.SHARING:
            return None
        record = self.store.peek(resource, target.namespace, target.name)
        return record.object if record is not None else None

    async def patch(self, request: Request, target: Target) -> Outcome:
        resource = target.resource
        media = patching.media_of(request)
        if media == patching.APPLY_PATCH:
            return await self._apply(request, target)
        if media == patching.STRATEGIC_PATCH and resource.schema.custom is not None:
            raise unsupported_body((patching.JSON_PATCH, patching.MERGE_PATCH, patching.APPLY_PATCH))
        patch = patching.read_patch(request, media)

        def patched(record: Record) -> Object:
            obj = patching.apply(request, resource, media, patch, conversion.view(resource, record))
            if resource.namespaced:
                _set_namespace(resource, obj, target.namespace)
            _check_name(obj, target.name)
            given = expected_revision(obj)
            if given is not None and given != record.revision:
                raise conflict(resource, target.name)
            return obj

        return item(resource, await self.change(request, target, patched, None))

    async def _apply(self, request: Request, target: Target) -> Outcome:
        """Server-side apply: create, or lay the configuration over what is there."""
        resource, subresource = target.resource, target.subresource_name
        config = patching.read_configuration(request, resource)
        # a namespace that the configuration leaves out is not added: complaints and ownership tell what the client said
        _check_namespace(resource, config["metadata"], target.namespace)
        _check_name(config, target.name)
        expected = expected_revision(config)
        while True:
            try:
                return item(resource, await self.lay(request, target, config, expected))
            except NotFound:
                if subresource or "uid" in config["metadata"]:
                    raise
            config["metadata"].pop("resourceVersion", None)
            obj, owned = ownership.applied(request, resource, None, config, "")
            obj = meta.copy(obj)
            _set_namespace(resource, obj, target.namespace)
            patching.conform(resource, obj)
            try:
                return item(resource, await self._create(request, resource, obj, owned), 201)
            except AlreadyExists:
                # somebody else was faster: apply to what they made
                if request.dry_run:
                    raise

    async def lay(
        self, request: Request, target: Target, config: Object, expected: int | None, lens: Lens | None = None
    ) -> Written:
        """Lay an applied configuration over an object that exists; NotFound if it does not."""
        resource, subresource = target.resource, target.subresource_name

        def mutate(record: Record) -> Settled:
            old = conversion.view(resource, record)
            where = lens.subresource if lens else subresource
            obj, owned = ownership.applied(request, resource, old, config, where)
            patching.conform(resource, obj)
            defaults.apply_defaults(resource, obj)
            return self._settled(request, resource, obj, old, subresource, owned, lens)

        return await self._update(request, target, mutate, expected)

    async def change(
        self,
        request: Request,
        target: Target,
        make: Callable[[Record], Object],
        expected: int | None,
        *,
        lens: Lens | None = None,
    ) -> Written:
        """Replace an object by what `make` returns for the current record, by the rules of an update.

        With a `lens`, what changes is seen as a subresource of another kind.
        """
        resource, subresource = target.resource, target.subresource_name

        def mutate(record: Record) -> Settled:
            old = conversion.view(resource, record)
            obj = make(record)
            strategies.take_settled(resource, obj, old, subresource)
            defaults.apply_defaults(resource, obj, _settled_parts(obj, old))
            strategies.share_spec(resource, obj, old)
            owned = ownership.updated(request, resource, old, obj, lens.subresource if lens else subresource)
            return self._settled(request, resource, obj, old, subresource, owned, lens)

        return await self._update(request, target, mutate, expected)

    async def _update(
        self, request: Request, target: Target, mutate: Callable[[Record], Settled], expected: int | None
    ) -> Written:
        resource = target.resource
        if request.dry_run:
            record = await self.store.latest(resource, target.namespace, target.name)
            if expected is not None and expected != record.revision:
                raise conflict(resource, target.name)
            return _unstored(resource, await _awaited(mutate(record)))
        why = cause(request, target.subresource_name)
        return await self.store.update(
            resource, target.namespace, target.name, mutate, author(request), expected=expected, cause=why
        )

    def _settled(
        self,
        request: Request,
        resource: Resource,
        obj: Object,
        old: Object,
        subresource: str,
        owned: Ownership,
        lens: Lens | None = None,
    ) -> Settled:
        """What a changed object is stored as, at once unless somebody outside has to be asked."""
        asked = attributes.change(request, resource, obj, old, subresource)
        if self.admission.extensions.concern(resource, lens.subresource if lens else subresource, attributes.UPDATE):
            return self._asked(asked, owned, lens)
        return self._finished(asked, owned)

    async def _asked(self, asked: Attributes, owned: Ownership, lens: Lens | None) -> Change:
        """What a changed object is stored as, once webhooks and policies have had their say."""
        seen = asked if lens is None else lens.seen(asked)
        await self.admission.extensions.mutate(seen)
        if lens is not None:
            asked.object = lens.put(asked.current, seen.current)
        change = self._finished(asked, owned)
        await self.admission.extensions.validate(asked if lens is None else lens.seen(asked))
        return change

    def _finished(self, asked: Attributes, owned: Ownership) -> Change:
        """What a changed object is stored as, once the rules of its kind have been applied."""
        request, resource, subresource = asked.request, asked.resource, asked.subresource
        obj, old = asked.current, asked.old
        assert old is not None
        strategies.prepare_update(resource, obj, old, subresource)
        ownership.record(obj, owned, old)
        self.admission.restrict_update(request, resource, obj, old)
        _refuse(resource, obj, validation.validate_update(resource, obj, old, subresource))
        obj = asked.object = render.canonical(obj)
        if obj == old:
            return Change(old)
        form = self._sized(resource, obj)
        self.admission.check(asked)
        if remove.is_finished(resource, obj):
            # the event of the deletion shows the object with its last finalizer, the answer shows it without
            return Change(old, remove=True, along=self.allocator.release(resource, old), answer=obj)
        charge = self.admission.quotas.charge(asked)
        if charge is not None and request.dry_run:
            charge()
        return Change(obj, along=_together(self.allocator.plan(resource, obj, old), charge), form=form)

    def _sized(self, resource: Resource, obj: Object) -> Form | None:
        """The JSON of an object, which may not be too large; None if what is still to be planned may change it."""
        form = Form(obj)
        if form.size > MAX_OBJECT_BYTES:
            cause = Cause("FieldValueTooLong", f"Too long: may not be more than {MAX_OBJECT_BYTES} bytes", "[]")
            raise invalid(resource.group, resource.kind, obj["metadata"]["name"], [cause])
        return None if self.allocator.concerns(resource) else form

    async def delete(self, request: Request, target: Target) -> Outcome:
        options = decoding.read_options(request)
        resource = target.resource
        request.warnings += remove.warnings_of(resource, options)
        written, gone = await self.remove(request, resource, target.namespace, target.name, options)
        if gone and strategies.key(resource) not in strategies.RETURNED_WHEN_DELETED:
            return Document(success(resource, target.name, written.object["metadata"]["uid"]))
        return item(resource, written)

    async def remove(
        self, request: Request, resource: Resource, namespace: str, name: str, options: Object, *, ask: bool = True
    ) -> tuple[Written, bool]:
        """Delete an object; returns what is or was left of it, and whether it is gone.

        Webhooks and policies are not asked about an eviction once more.
        """
        self.admission.check_delete(resource, name)
        gone = False

        def mutate(record: Record) -> Settled:
            old = conversion.view(resource, record)
            remove.check_preconditions(resource, old, options)
            if ask and self.admission.extensions.concern(resource, "", attributes.DELETE):
                return asked(old)
            return removed(old)

        async def asked(old: Object) -> Change:
            seen = attributes.removal(request, resource, old, options)
            await self.admission.extensions.mutate(seen)
            await self.admission.extensions.validate(seen)
            return removed(old)

        def removed(old: Object) -> Change:
            nonlocal gone
            removal = remove.decide(resource, old, options, datetime.now(UTC))
            gone = removal.gone
            if not removal.changed:
                return Change(old)
            along = self.allocator.release(resource, old) if removal.gone else None
            return Change(removal.object, remove=removal.gone, along=along)

        if request.dry_run or "All" in (options.get("dryRun") or ()):
            record = await self.store.latest(resource, namespace, name)
            return _unstored(resource, await _awaited(mutate(record))), gone
        return await self.store.update(resource, namespace, name, mutate, author(request), cause=cause(request)), gone

    async def delete_collection(self, request: Request, target: Target) -> Outcome:
        """Delete what the selectors choose, or the first `limit` of it; answers the objects as they were."""
        resource = target.resource
        selection = Selection.of(request, resource)
        options = decoding.read_options(request)
        request.warnings += remove.warnings_of(resource, options)
        cache = self.store.stream(resource).cache
        await cache.consistent()
        revision = cache.revision
        chosen = [
            one for one in self.store.list_objects(resource, target.namespace) if selection.matches(resource, one)
        ]
        chosen = chosen[: parse_count(request, "limit") or None]
        for record in chosen:
            try:
                await self.remove(request, resource, record.ref.namespace, record.ref.name, options)
            except NotFound:
                continue
        return Listing(resource, chosen, revision)


def author(request: Request) -> Author:
    """Who a write is recorded under."""
    return Author(request.user.name, request.agent, request.manager)


def item(resource: Resource, written: Written, status: int = 200) -> Item:
    """The answer that shows a written object."""
    if conversion.storage_of(resource) is resource:
        return Item(resource, written.source, status, written.encoded)
    return Item(resource, conversion.from_storage(resource, written.object), status)


def _settled_parts(obj: Object, old: Object) -> Sequence[str]:
    """What an object has from the stored one, defaults included."""
    return ("status",) if "status" in old and obj.get("status") is old["status"] else ()


def _together(plan: Along | None, charge: Along | None) -> Along | None:
    """What two plans want to be written along with an object."""
    if plan is None or charge is None:
        return plan or charge
    return lambda: [*plan(), *charge()]


async def _awaited(settled: Settled) -> Change:
    return settled if isinstance(settled, Change) else await settled


def _unstored(resource: Resource, change: Change) -> Written:
    """What a dry run shows."""
    return Written(conversion.to_storage(resource, change.answer or change.object))


def expected_revision(obj: Object) -> int | None:
    """The revision a client's update is based on; None if it says nothing."""
    version = obj["metadata"].get("resourceVersion")
    if version in (None, "", "0"):
        return None
    if not isinstance(version, str) or len(version) > MOST_DIGITS or not version.isascii() or not version.isdigit():
        raise plain(500, f'strconv.ParseUint: parsing "{version}": invalid syntax')
    return int(version)


def _set_namespace(resource: Resource, obj: Object, namespace: str) -> None:
    metadata = obj.setdefault("metadata", {})
    if metadata is None:
        metadata = obj["metadata"] = {}
    _check_namespace(resource, metadata, namespace)
    if resource.namespaced:
        metadata["namespace"] = namespace


def _check_namespace(resource: Resource, metadata: Object, namespace: str) -> None:
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.get("namespace") not in (None, "", namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def _check_name(obj: Object, name: str) -> None:
    given = obj["metadata"].get("name")
    if not given:
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def _check_uid(resource: Resource, obj: Object, old: Object, target: Target) -> None:
    given, stored = obj["metadata"].get("uid"), old["metadata"].get("uid")
    if given and given != stored:
        where = f"{target.namespace}/{target.name}" if target.namespace else target.name
        why = (
            f"StorageError: invalid object, Code: 4, Key: /registry/{resource.plural}/{where}, ResourceVersion: 0, "
            f"AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"
        )
        raise conflict_on(resource.group, resource.plural, target.name, why)


def _refuse(resource: Resource, obj: Object, causes: list[Cause]) -> None:
    if causes:
        raise invalid(resource.group, resource.kind, obj["metadata"].get("name", ""), causes)
