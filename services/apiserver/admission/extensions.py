"""What administrators add to admission: webhooks and policies, prepared when their configurations change.

Nearly all writes concern none of them, so what an operation matches by its rules is remembered for each kind of
operation: without configurations a write pays one look at an empty index.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.environment import Environment
from services.apiserver.admission.matching import EXEMPT, GROUP, Operation
from services.apiserver.admission.webhooks.calls import Caller
from services.apiserver.admission.webhooks.dispatch import Dispatcher
from services.apiserver.admission.webhooks.hooks import Hook, hooks_of
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.store import Store
from shared.objects.registry import Resource
from shared.state.cache import Change

VALIDATING = (GROUP, "validatingwebhookconfigurations")
MUTATING = (GROUP, "mutatingwebhookconfigurations")


@dataclass(slots=True)
class Concerned:
    """Who wants to hear of one kind of operation; `resource` as it was when this was found out."""

    resource: Resource
    mutating: Sequence[Hook] = ()
    validating: Sequence[Hook] = ()

    def __bool__(self) -> bool:
        return bool(self.mutating or self.validating)


@dataclass(slots=True)
class Index:
    """All webhooks, and who is concerned by what."""

    mutating: list[Hook] = field(default_factory=list)
    validating: list[Hook] = field(default_factory=list)
    concerned: dict[tuple[str, str, str, str, str], Concerned] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.mutating or self.validating)


class Extensions:
    """Webhooks and policies of the cluster."""

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        self._store = store
        self._caller = Caller(store)
        self._dispatcher = Dispatcher(store, Environment(store, authorizer), self._caller)
        self._index: Index | None = None
        store.state.cache.on_change(self._changed)

    async def close(self) -> None:
        """Close the connections to webhooks."""
        await self._caller.close()

    def concern(self, resource: Resource, subresource: str, operation: str) -> bool:
        """Whether anybody wants to hear of an operation, as far as rules tell."""
        index = self._current()
        return not index.empty and bool(self._concerned(index, Operation(resource, subresource, operation)))

    async def mutate(self, asked: Attributes) -> bool:
        """Let webhooks change the object; whether built-in plugins and they are to look at it again."""
        concerned = self._of(asked)
        if concerned is None or not concerned.mutating:
            return False
        before = asked.object
        again = await self._dispatcher.mutate(concerned.mutating, asked)
        if again:
            await self._dispatcher.mutate(concerned.mutating, asked, again)
        return asked.object is not before

    async def validate(self, asked: Attributes) -> None:
        """Let policies and webhooks judge; their refusal is raised."""
        concerned = self._of(asked)
        if concerned is not None and concerned.validating:
            await self._dispatcher.validate(concerned.validating, asked)

    def _of(self, asked: Attributes) -> Concerned | None:
        index = self._current()
        if index.empty:
            return None
        return self._concerned(index, Operation.of(asked))

    def _concerned(self, index: Index, operation: Operation) -> Concerned:
        found = index.concerned.get(operation.key)
        if found is None or found.resource is not operation.resource:
            found = Concerned(operation.resource)
            if (operation.resource.group, operation.resource.plural) not in EXEMPT:
                found.mutating = [one for one in index.mutating if one.matcher.resource_of(operation)]
                found.validating = [one for one in index.validating if one.matcher.resource_of(operation)]
            index.concerned[operation.key] = found
        return found

    def _current(self) -> Index:
        if self._index is None:
            self._index = Index(self._hooks(*MUTATING), self._hooks(*VALIDATING))
        return self._index

    def _hooks(self, group: str, plural: str) -> list[Hook]:
        return [hook for record in self._store.state.cache.list(group, plural) for hook in hooks_of(record.object)]

    def _changed(self, change: Change) -> None:
        if change.record.ref.group == GROUP:
            self._index = None
