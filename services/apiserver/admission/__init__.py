"""Admission: what the cluster demands of an object besides its own validity, and what it adds to it."""

from dataclasses import dataclass

from services.apiserver import strategies
from services.apiserver.admission import namespaces, pods, restrictions, serviceaccounts
from services.apiserver.auth.guards import Guards
from services.apiserver.protocol import Object, Request
from services.apiserver.store import Store
from shared.objects.registry import Resource


@dataclass(frozen=True, slots=True)
class Admission:
    """The built-in plugins; `toleration_seconds` is how long pods stay on a node that is not ready."""

    store: Store
    toleration_seconds: int
    guards: Guards

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

    async def mutate(self, resource: Resource, obj: Object) -> None:
        """Complete a new object; Forbidden if it refers to what does not exist."""
        if strategies.key(resource) == ("", "pods"):
            await serviceaccounts.assign(self.store, resource, obj)
            pods.add_tolerations(obj, self.toleration_seconds)
            pods.set_priority(self.store, resource, obj)

    def check_delete(self, resource: Resource, name: str) -> None:
        """The namespaces the cluster lives in stay."""
        namespaces.refuse_immortal(resource, name)
