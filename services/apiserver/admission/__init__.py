"""Admission: what the cluster demands of an object besides its own validity, and what it adds to it.

The order is Kubernetes': built-in plugins complete an object, then policies and webhooks may change it; once it is
valid they and the plugins judge it, and the quotas of its namespace are charged last.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from services.apiserver.admission import (
    certificates,
    completion,
    expressions,
    ingresses,
    namespaces,
    nodes,
    pods,
    restrictions,
    storage,
)
from services.apiserver.admission import (
    limits as limiting,
)
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.extensions import Extensions
from services.apiserver.admission.limits import Limits
from services.apiserver.admission.podsecurity import plugin as podsecurity
from services.apiserver.admission.podsecurity.plugin import PodSecurity
from services.apiserver.admission.pooling import Pool
from services.apiserver.admission.quotas import Quotas
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.auth.guards import Guards
from services.apiserver.protocol import Object, Request
from services.apiserver.store import Store
from shared.objects.registry import Resource

POD = ("", "pods")
Judge = Callable[[Attributes], None]


@dataclass(frozen=True, slots=True)
class Admission:
    """The built-in plugins; `toleration_seconds` is how long pods stay on a node that is not ready."""

    store: Store
    toleration_seconds: int
    guards: Guards
    quotas: Quotas
    limits: Limits
    extensions: Extensions
    pool: Pool
    judges: Mapping[tuple[str, str], Sequence[Judge]]
    """Who judges objects of a resource, by (group, plural); most objects are nobody's business."""

    def restrict_create(self, request: Request, resource: Resource, obj: Object) -> None:
        """Nodes create themselves only; nobody grants what he does not hold or asks in another's name."""
        restrictions.check_create(request.user, resource, obj)
        self.guards.check_create(request, resource, obj)

    def restrict_update(self, request: Request, resource: Resource, obj: Object, old: Object) -> None:
        """Nodes leave the labels of pods alone; nobody grants what he does not hold or approves for any signer."""
        restrictions.check_update(request.user, resource, obj, old)
        self.guards.check_update(request, resource, obj, old)

    async def check_namespace(self, resource: Resource, obj: Object) -> None:
        """A namespaced object needs a namespace that exists and is not going away."""
        if resource.namespaced:
            await namespaces.require_active(self.store, resource, obj)

    async def complete(self, asked: Attributes) -> None:
        """Complete a new object and let the extensions change it; Forbidden if it refers to what does not exist."""
        await self._complete(asked)
        if await self.extensions.mutate(asked):
            # what they changed may need completion as well
            await self._complete(asked)

    async def _complete(self, asked: Attributes) -> None:
        obj = asked.object
        if asked.operation != CREATE or asked.subresource or obj is None:
            return
        if asked.key == POD:
            await completion.complete(self.store, self.limits, self.toleration_seconds, asked)
        else:
            storage.complete(self.store, asked)
            nodes.complete(asked)
            ingresses.complete(self.store, asked)

    def check(self, asked: Attributes) -> None:
        """Judge a valid object; Forbidden, or Invalid for labels that mean nothing."""
        for judge in self.judges.get(asked.key, ()):
            judge(asked)

    def check_delete(self, resource: Resource, name: str) -> None:
        """The namespaces the cluster lives in stay, and its priority classes."""
        namespaces.refuse_immortal(resource, name)
        pods.refuse_system_class(resource, name)


def assemble(store: Store, toleration_seconds: int, authorizer: Authorizer) -> Admission:
    """Admission on a store."""
    extensions = Extensions(store, authorizer)
    guards, quotas, limits, security = Guards(authorizer), Quotas(store), Limits(store), PodSecurity(store)
    pool, judges = Pool(store, quotas), _judges(store, limits, security)
    return Admission(store, toleration_seconds, guards, quotas, limits, extensions, pool, judges)


def _judges(store: Store, limits: Limits, security: PodSecurity) -> dict[tuple[str, str], list[Judge]]:
    judges: dict[tuple[str, str], list[Judge]] = {}
    for concerned, judge in (
        (limiting.CONCERNED, limits.check),
        (podsecurity.CONCERNED, security.check),
        ((storage.CLAIM,), partial(storage.check, store)),
        ((certificates.REQUESTS,), certificates.check),
        (expressions.WEBHOOKS | expressions.POLICIES, expressions.check),
        ((pods.CLASSES,), partial(pods.check_default_class, store)),
    ):
        for key in concerned:
            judges.setdefault(key, []).append(judge)
    return judges
