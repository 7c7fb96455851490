"""What administrators add to admission: webhooks and policies, prepared when their configurations change.

Nearly all writes concern none of them, so what an operation matches by its rules is remembered for each kind of
operation: without configurations a write pays one look at an empty index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.environment import Environment
from services.apiserver.admission.matching import EXEMPT, GROUP, Operation
from services.apiserver.admission.policies import mutating, validating
from services.apiserver.admission.policies.definitions import Policy
from services.apiserver.admission.webhooks.calls import Caller
from services.apiserver.admission.webhooks.dispatch import Dispatcher
from services.apiserver.admission.webhooks.hooks import Hook, hooks_of
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.protocol import Object
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
    changing: Sequence[Policy] = ()
    judging: Sequence[Policy] = ()

    def __bool__(self) -> bool:
        return bool(self.mutating or self.validating or self.changing or self.judging)


@dataclass(slots=True)
class Index:
    """All webhooks, all policies (`changing` and `judging`), and who is concerned by what."""

    mutating: list[Hook] = field(default_factory=list)
    validating: list[Hook] = field(default_factory=list)
    changing: list[Policy] = field(default_factory=list)
    judging: list[Policy] = field(default_factory=list)
    concerned: dict[tuple[str, str, str, str, str], Concerned] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.mutating or self.validating or self.changing or self.judging)


class Extensions:
    """Webhooks and policies of the cluster."""

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        self._store = store
        self._caller = Caller(store)
        self._environment = Environment(store, authorizer)
        self._dispatcher = Dispatcher(store, self._environment, self._caller)
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
        """Let policies and webhooks change the object, and look at it once more where others changed it after them.

        Whether it is another object now.
        """
        concerned = self._of(asked)
        if concerned is None or not (concerned.mutating or concerned.changing):
            return False
        before = asked.object
        policies = mutating.mutate(self._store, self._environment, concerned.changing, asked)
        between = asked.object
        webhooks = await self._dispatcher.mutate(concerned.mutating, asked)
        if asked.object is not between:
            policies = mutating.reinvoked(self._store, concerned.changing, asked)
        if policies:
            mutating.mutate(self._store, self._environment, concerned.changing, asked, policies)
        if webhooks:
            await self._dispatcher.mutate(concerned.mutating, asked, webhooks)
        return asked.object is not before

    async def validate(self, asked: Attributes) -> None:
        """Let policies and webhooks judge; their refusal is raised."""
        concerned = self._of(asked)
        if concerned is None:
            return
        if concerned.judging:
            validating.validate(self._store, self._environment, concerned.judging, asked)
        if concerned.validating:
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
                found.changing = [one for one in index.changing if one.matcher.resource_of(operation)]
                found.judging = [one for one in index.judging if one.matcher.resource_of(operation)]
            index.concerned[operation.key] = found
        return found

    def _current(self) -> Index:
        if self._index is None:
            self._index = Index(
                self._hooks(*MUTATING),
                self._hooks(*VALIDATING),
                self._policies("mutatingadmissionpolicies", mutating.policy_of),
                self._policies("validatingadmissionpolicies", validating.policy_of),
            )
        return self._index

    def _hooks(self, group: str, plural: str) -> list[Hook]:
        return [hook for record in self._store.state.cache.list(group, plural) for hook in hooks_of(record.object)]

    def _policies(self, plural: str, make: Callable[[Object, Sequence[Object]], Policy]) -> list[Policy]:
        """The policies that have bindings, by name."""
        cache = self._store.state.cache
        bindings: dict[str, list[Object]] = {}
        for record in cache.list(GROUP, plural.removesuffix("ies") + "ybindings"):
            name = (record.object.get("spec") or {}).get("policyName", "")
            bindings.setdefault(name, []).append(record.object)
        policies = (record.object for record in cache.list(GROUP, plural))
        return [make(one, bindings[one["metadata"]["name"]]) for one in policies if one["metadata"]["name"] in bindings]

    def _changed(self, change: Change) -> None:
        if change.record.ref.group == GROUP:
            self._index = None
