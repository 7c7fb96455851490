"""The variables that expressions of webhooks and policies see, computed once for a request and only if one is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.matching import convert, namespace_of
from services.apiserver.admission.webhooks import reviews
from services.apiserver.auth import authorization
from services.apiserver.protocol import Object
from services.apiserver.routes import Attributes as Action
from services.apiserver.store import Store
from shared.identity.users import AUTHENTICATED, User
from shared.objects.cel.library.authorization import (
    AUTHORIZER,
    RESOURCE_CHECK,
    Authorizer,
    Question,
    ResourceCheck,
    Verdict,
)
from shared.objects.cel.types import DYN, Type, object_of
from shared.objects.registry import Resource

NOTHING = Question()
SERVICE_ACCOUNT = "system:serviceaccount:"
BY_REQUEST = object_of(AUTHORIZER.name, {"requestResource": RESOURCE_CHECK})
WEBHOOK: Mapping[str, Type] = {"object": DYN, "oldObject": DYN, "request": DYN, "authorizer": BY_REQUEST}
POLICY: Mapping[str, Type] = {**WEBHOOK, "namespaceObject": DYN}
NO_TYPES: Mapping[str, Type] = {}
# the fields of a namespace that policies see (CreateNamespaceObject of Kubernetes)
NAMESPACE_METADATA = (
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "resourceVersion",
    "finalizers",
)


@dataclass(frozen=True, slots=True)
class RequestAuthorizer(Authorizer):
    """`authorizer`, with `authorizer.requestResource` for what the request is about."""

    asked: Question = NOTHING

    def field(self, name: str) -> Any:
        if name != "requestResource":
            return Authorizer.field(self, name)
        return ResourceCheck(self.decide, self.asked)


@dataclass(frozen=True, slots=True)
class Environment:
    """Makes the bindings of a request."""

    store: Store
    authorizer: authorization.Authorizer

    def bindings(self, asked: Attributes, matched: Resource) -> dict[str, Any]:
        """object, oldObject, request, authorizer and namespaceObject, as the matched resource shows them."""
        whole = not asked.subresource
        request = dict(reviews.question(asked, matched, "v1")["request"])
        for name in ("object", "oldObject", "uid"):
            request.pop(name, None)
        return {
            "object": convert(asked.object, asked.resource, matched) if whole else asked.object,
            "oldObject": convert(asked.old, asked.resource, matched) if whole else asked.old,
            "request": request,
            "authorizer": self._authorizer(asked),
            "namespaceObject": _shown(namespace_of(asked, self.store)),
        }

    def _authorizer(self, asked: Attributes) -> Authorizer:
        user = asked.request.user
        question = Question(
            group=asked.resource.group,
            resource=asked.resource.plural,
            subresource=asked.subresource,
            namespace=asked.namespace,
            name=asked.name,
        )

        def decide(wanted: Question) -> Verdict:
            who = _service_account(wanted.user) if wanted.user else user
            decision = self.authorizer.decide(who, _action(wanted))
            return Verdict(decision.allowed, decision.reason)

        return RequestAuthorizer(decide, asked=question)


def _action(wanted: Question) -> Action:
    if wanted.path:
        return Action(verb=wanted.verb, path=wanted.path)
    return Action(
        verb=wanted.verb,
        group=wanted.group,
        version="*",
        resource=wanted.resource,
        subresource=wanted.subresource,
        namespace=wanted.namespace,
        name=wanted.name,
    )


def _service_account(name: str) -> User:
    namespace = name.removeprefix(SERVICE_ACCOUNT).partition(":")[0]
    return User(name, ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED))


def _shown(namespace: Object | None) -> Object | None:
    """A namespace without what policies must not depend on."""
    if namespace is None:
        return None
    shown: Object = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {name: value for name, value in namespace["metadata"].items() if name in NAMESPACE_METADATA},
    }
    return shown | {name: namespace[name] for name in ("spec", "status") if name in namespace}
