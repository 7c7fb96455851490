"""The life of custom resource definitions: names are accepted, objects served, and at the end cleaned away.

Kubernetes runs controllers for this inside its API server, and so does this, so that definitions are served whether or
not the controllers run. Several servers may do it side by side: they write the same.
"""

import itertools
import logging
from collections.abc import Callable

from services.apiserver import definitions
from services.apiserver.protocol import Object, Request
from services.apiserver.routes import Target
from services.apiserver.settling import keep_settled
from services.apiserver.store import Store
from services.apiserver.write import Writer
from shared.errors import ApiError, NotFound, WherryError
from shared.objects import meta, registry, times
from shared.objects.custom import kinds, naming
from shared.objects.registry import Resource
from shared.state.cache import Change

log = logging.getLogger(__name__)

BURST = 100
"""How many objects of a definition that goes are deleted before others have their turn."""


class Establishing:
    """Settles definitions as they change; `request` is whom the writes are recorded under."""

    def __init__(self, store: Store, writer: Writer, request: Request) -> None:
        self._store = store
        self._writer = writer
        self._request = request
        self._groups: dict[str, dict[str, Object]] = {}
        """Outlines of the definitions by group and name: names are taken within a group."""
        self._stale: set[str] = set()
        self._emptying: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Follow the changes of definitions, and of the objects of those that go, until cancelled."""
        await keep_settled("custom resource definitions", self._store.state.cache, self._concerns, self.settle)

    async def settle(self) -> None:
        """Bring the definitions of changed groups a step further, or raise why some could not be: then the next call
        has all of these groups before it again."""
        stale, self._stale = self._stale, set()
        try:
            await self._settle(stale)
        except WherryError:
            self._stale |= stale
            raise

    async def _settle(self, stale: set[str]) -> None:
        failures: list[ApiError] = []
        outlines = [one for group in stale for one in self._groups.get(group, {}).values()]
        # names are a matter of moments, what goes may have many objects
        for outline in sorted(outlines, key=meta.is_deleting):
            name = outline["metadata"]["name"]
            try:
                if meta.is_deleting(outline):
                    await self._clean(name, outline)
                elif self._named(outline) != outline:
                    await self._write(name, "status", self._named)
            except NotFound:
                log.debug("custom resource definition %s went meanwhile", name)
            except ApiError as exc:
                # the others must not wait for one that cannot be settled
                failures.append(exc)
        if failures:
            raise failures[0]

    def _named(self, definition: Object) -> Object:
        accepted, conditions = naming.decide(
            definition, self._groups[definition["spec"]["group"]].values(), times.now()
        )
        status = definition.get("status") or {}
        return definition | {"status": status | {"conditions": conditions, "acceptedNames": accepted}}

    async def _clean(self, name: str, outline: Object) -> None:
        if definitions.CLEANUP not in (outline["metadata"].get("finalizers") or ()):
            return
        custom = kinds.stored_resource(outline)
        self._emptying.add((custom.group, custom.plural))
        if _terminating(outline) != outline:
            await self._write(name, "status", _terminating)
        # a server that had not heard of the deletion may have let an object in until the condition was written
        await self._store.state.cache.consistent()
        staying = (one for one in self._store.list_objects(custom) if not meta.is_deleting(one.object))
        for one in list(itertools.islice(staying, BURST)):
            try:
                await self._writer.remove(self._request, custom, one.ref.namespace, one.ref.name, {})
            except NotFound:
                continue
        if self._store.list_objects(custom):
            # their end is told by the cache
            return
        self._emptying.discard((custom.group, custom.plural))
        await self._write(name, "", _released)

    async def _write(self, name: str, subresource: str, make: Callable[[Object], Object]) -> None:
        resource = _definitions()
        spoken = resource.subresource(subresource) if subresource else None
        target = Target(resource, "", name, spoken, False)
        await self._writer.change(self._request, target, lambda record: meta.copy(make(record.object)), None)

    def _concerns(self, change: Change) -> bool:
        """Keep the outlines current, and note the group that the change makes stale, if any."""
        ref = change.record.ref
        if ref[:2] == definitions.KEY:
            # the name is the plural and the group
            group = ref.name.partition(".")[2]
            known = self._groups.setdefault(group, {})
            if change.type == "DELETED":
                known.pop(ref.name, None)
            else:
                known[ref.name] = definitions.outline(change.record.object)
        elif ref[:2] in self._emptying:
            group = ref.group
        else:
            return False
        self._stale.add(group)
        return True


def _terminating(definition: Object) -> Object:
    status = definition.get("status") or {}
    conditions = [dict(one) for one in status.get("conditions") or ()]
    text = "CustomResource deletion is in progress"
    meta.set_condition(conditions, "Terminating", "True", "InstanceDeletionInProgress", text)
    return definition | {"status": status | {"conditions": conditions}}


def _released(definition: Object) -> Object:
    metadata = definition["metadata"]
    left = [one for one in metadata.get("finalizers") or () if one != definitions.CLEANUP]
    kept = {name: value for name, value in metadata.items() if name != "finalizers"}
    return definition | {"metadata": kept | {"finalizers": left} if left else kept}


def _definitions() -> Resource:
    found = registry.by_plural("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert found is not None
    return found
