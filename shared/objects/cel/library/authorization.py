"""Kubernetes' authorizer library: authorizer.group("apps").resource("deployments").check("create").allowed().

Who may do what is decided by the server: a binding `authorizer` is an Authorizer made with its `decide` function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from shared.objects.cel.declarations import Library
from shared.objects.cel.types import BOOL, STRING, Type
from shared.objects.cel.values import Opaque

library = Library()
_COST = 350_000
"""What Kubernetes charges for one check."""


class Verdict(NamedTuple):
    """What an authorizer answered; `error` is empty if it could decide."""

    allowed: bool
    reason: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: about a resource, or about a path if `path` is set; `user` if another service account asks."""

    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    verb: str = ""
    path: str = ""
    user: str = ""
    field_selector: str = ""
    label_selector: str = ""


Decide = Callable[[Question], Verdict]


@dataclass(frozen=True, slots=True)
class Authorizer(Opaque):
    """The variable `authorizer`."""

    decide: Decide
    question: Question = Question()
    type_name = "kubernetes.authorization.Authorizer"


class PathCheck(Authorizer):
    """authorizer.path("/healthz")"""

    __slots__ = ()
    type_name = "kubernetes.authorization.PathCheck"


class GroupCheck(Authorizer):
    """authorizer.group("apps")"""

    __slots__ = ()
    type_name = "kubernetes.authorization.GroupCheck"


class ResourceCheck(Authorizer):
    """authorizer.group("apps").resource("deployments"), and the variable `authorizer.requestResource`"""

    __slots__ = ()
    type_name = "kubernetes.authorization.ResourceCheck"


@dataclass(frozen=True, slots=True)
class Decision(Opaque):
    """The outcome of a check."""

    verdict: Verdict
    type_name = "kubernetes.authorization.Decision"


AUTHORIZER = library.opaque_type("kubernetes.authorization.Authorizer", Authorizer)
PATH_CHECK = library.opaque_type("kubernetes.authorization.PathCheck", PathCheck)
GROUP_CHECK = library.opaque_type("kubernetes.authorization.GroupCheck", GroupCheck)
RESOURCE_CHECK = library.opaque_type("kubernetes.authorization.ResourceCheck", ResourceCheck)
DECISION = library.opaque_type("kubernetes.authorization.Decision", Decision)


def _service_account(held: Authorizer, namespace: str, name: str) -> Authorizer:
    user = f"system:serviceaccount:{namespace}:{name}"
    return Authorizer(held.decide, replace(held.question, user=user))


def _check(held: Authorizer, verb: str) -> Decision:
    return Decision(held.decide(replace(held.question, verb=verb)))


def _with(field: str) -> Callable[[ResourceCheck, str], ResourceCheck]:
    def made(held: ResourceCheck, value: str) -> ResourceCheck:
        return ResourceCheck(held.decide, replace(held.question, **{field: value}))

    return made


def _path(held: Authorizer, path: str) -> PathCheck:
    return PathCheck(held.decide, replace(held.question, path=path))


def _group(held: Authorizer, group: str) -> GroupCheck:
    return GroupCheck(held.decide, replace(held.question, group=group))


def _resource(held: GroupCheck, resource: str) -> ResourceCheck:
    return ResourceCheck(held.decide, replace(held.question, resource=resource))


def _method(name: str, target: Type, result: Type, implementation: Callable[..., object]) -> None:
    library.method(name, (target, STRING), result, implementation)


_method("path", AUTHORIZER, PATH_CHECK, _path)
_method("group", AUTHORIZER, GROUP_CHECK, _group)
library.method("serviceAccount", (AUTHORIZER, STRING, STRING), AUTHORIZER, _service_account)
_method("resource", GROUP_CHECK, RESOURCE_CHECK, _resource)
for _name, _field in (
    ("subresource", "subresource"),
    ("namespace", "namespace"),
    ("name", "name"),
    ("fieldSelector", "field_selector"),
    ("labelSelector", "label_selector"),
):
    _method(_name, RESOURCE_CHECK, RESOURCE_CHECK, _with(_field))
library.method("check", (RESOURCE_CHECK, STRING), DECISION, _check, cost=lambda held, verb: _COST)
library.method("check", (PATH_CHECK, STRING), DECISION, _check, cost=lambda held, verb: _COST)
library.method("allowed", (DECISION,), BOOL, lambda held: held.verdict.allowed)
library.method("reason", (DECISION,), STRING, lambda held: held.verdict.reason)
library.method("errored", (DECISION,), BOOL, lambda held: bool(held.verdict.error))
library.method("error", (DECISION,), STRING, lambda held: held.verdict.error)
