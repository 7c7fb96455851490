"""Admission: what the cluster demands of an object besides its own validity, and what it adds to it.

The order is Kubernetes': built-in plugins complete an object, then policies and webhooks may change it; once it is
valid they and the plugins judge it, and the quotas of its namespace are charged last.
"""

from dataclasses import dataclass

from services.apiserver.admission import (
    certificates,
    expressions,
    ingresses,
    namespaces,
    nodes,
    pods,
    restrictions,
    runtimeclasses,
    serviceaccounts,
    storage,
)
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.extensions import Extensions
from services.apiserver.admission.limits import Limits
from services.apiserver.admission.podsecurity.plugin import PodSecurity
from services.apiserver.admission.pooling import Pool
from services.apiserver.admission.quotas import Quotas
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.auth.guards import Guards
from services.apiserver.protocol import Object, Request
from services.apiserver.store import Store
from shared.objects.registry import Resource

POD = ("", "pods")


@dataclass(frozen=True, slots=True)
class Admission:
    """The built-in plugins; `toleration_seconds` is how long pods stay on a node that is not ready."""

    store: Store
    toleration_seconds: int
    guards: Guards
    quotas: Quotas
    limits: Limits
    security: PodSecurity
    extensions: Extensions
    pool: Pool

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
        resource, obj = asked.resource, asked.object
        if asked.operation != CREATE or asked.subresource or obj is None:
            return
        if asked.key == POD:
            self.limits.complete(asked)
            await serviceaccounts.assign(self.store, resource, obj)
            pods.set_priority(self.store, resource, obj)
            pods.add_tolerations(obj, self.toleration_seconds)
            runtimeclasses.complete(self.store, asked)
        else:
            storage.complete(self.store, asked)
            nodes.complete(asked)
            ingresses.complete(self.store, asked)

    def check(self, asked: Attributes) -> None:
        """Judge a valid object; Forbidden, or Invalid for labels that mean nothing."""
        self.limits.check(asked)
        self.security.check(asked)
        storage.check(self.store, asked)
        certificates.check(asked)
        expressions.check(asked)
        pods.check_default_class(self.store, asked)

    def check_delete(self, resource: Resource, name: str) -> None:
        """The namespaces the cluster lives in stay."""
        namespaces.refuse_immortal(resource, name)


def assemble(store: Store, toleration_seconds: int, authorizer: Authorizer) -> Admission:
    """Admission on a store."""
    extensions = Extensions(store, authorizer)
    guards, quotas, limits, security = Guards(authorizer), Quotas(store), Limits(store), PodSecurity(store)
    return Admission(store, toleration_seconds, guards, quotas, limits, security, extensions, Pool(store, quotas))
