"""URL paths and methods -> what is asked of which object; pure, so that authorization and handlers agree on it."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from services.apiserver.failures import method_not_allowed, unknown_path
from services.apiserver.protocol import Outcome, Request
from shared.objects import registry
from shared.objects.registry import Resource
from shared.objects.schema import Subresource

Serve = Callable[[Request, "Target"], Awaitable[Outcome]]
METHOD_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
# Kubernetes has no verb for OPTIONS, so that only a role with all verbs allows it
OPTIONS_VERB = ""
PROXIED_VERBS = {"HEAD": "get", "OPTIONS": OPTIONS_VERB}


_PROXIED = re.compile(r"/api/v1/(?:namespaces/[^/]+/(?:pods|services)|nodes)/[^/]+/proxy(?:/|$)")


@dataclass(frozen=True, slots=True)
class Target:
    """A resource path: an object, its subresource, or a collection (name empty)."""

    resource: Resource
    namespace: str
    name: str
    subresource: Subresource | None
    watch: bool

    @property
    def subresource_name(self) -> str:
        return self.subresource.name if self.subresource else ""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an authorizer decides on; `path` is set for what is no resource, `fields` are required field values."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


def resolve(path: str) -> Target | None:
    """The resource a path names; None if it is no resource path; NotFound if nothing is served there."""
    parts = path.rstrip("/").split("/")
    if len(parts) < 2 or parts[0] != "":
        return None
    if parts[1] == "api" and len(parts) >= 4:
        group, version, rest = "", parts[2], parts[3:]
    elif parts[1] == "apis" and len(parts) >= 5:
        group, version, rest = parts[2], parts[3], parts[4:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    depth = 4 if rest[0] == "namespaces" else 2
    if group == "" and rest[depth : depth + 1] == ["proxy"]:
        # what comes after is for whoever is behind the proxy
        rest = rest[: depth + 1]
    if "" in rest:
        raise unknown_path()
    namespace = ""
    if rest[0] == "namespaces" and group == "" and (len(rest) < 3 or rest[2] in ("status", "finalize")):
        plural, tail = "namespaces", rest[1:]
    elif rest[0] == "namespaces" and len(rest) >= 3:
        namespace, plural, tail = rest[1], rest[2], rest[3:]
    else:
        plural, tail = rest[0], rest[1:]
    resource = registry.by_plural(group, version, plural)
    if resource is None or len(tail) > 2 or bool(namespace) > resource.namespaced:
        raise unknown_path()
    if tail and resource.namespaced and not namespace:
        raise unknown_path()
    name = tail[0] if tail else ""
    subresource = None
    if len(tail) == 2:
        subresource = resource.subresource(tail[1])
        if subresource is None:
            raise unknown_path()
    return Target(resource, namespace, name, subresource, watch)


def is_proxied(path: str) -> bool:
    """Whether a request is for whoever is behind a proxy subresource; told from its path, before anything is read."""
    return "/proxy" in path and _PROXIED.match(path) is not None


def verb_of(target: Target, method: str, *, watch: bool) -> str:
    """The API verb of a method on a target; MethodNotAllowed if it does not take it."""
    verb = METHOD_VERBS.get(method, "")
    if method == "GET":
        wants_watch = target.watch or (watch and not target.name)
        verb = "watch" if wants_watch else "get" if target.name else "list"
    elif method == "DELETE":
        verb = "delete" if target.name else "deletecollection"
    if target.subresource_name == "proxy" and method in PROXIED_VERBS:
        return PROXIED_VERBS[method]
    if target.subresource is not None:
        allowed = verb in target.subresource.verbs
    else:
        # creation goes to the collection, changes go to a name
        misplaced = (verb == "create" and target.name) or (verb in ("update", "patch") and not target.name)
        everywhere = target.resource.namespaced and not target.namespace and verb not in ("list", "watch")
        allowed = verb in target.resource.verbs and not misplaced and not everywhere
    if not allowed:
        raise method_not_allowed()
    return verb


def attributes(target: Target, verb: str, field_selector: str) -> Attributes:
    """What the authorizer sees of a resource request."""
    resource = target.resource
    namespace = target.namespace or (target.name if resource.plural == "namespaces" and resource.group == "" else "")
    return Attributes(
        verb=verb,
        group=resource.group,
        version=resource.version,
        resource=resource.plural,
        subresource=target.subresource_name,
        namespace=namespace,
        name=target.name,
        fields=dict(_equalities(field_selector)),
    )


def _equalities(field_selector: str) -> Iterator[tuple[str, str]]:
    for part in field_selector.split(","):
        name, operator, value = part.partition("=")
        if operator and not name.endswith("!"):
            yield name.strip(), value.removeprefix("=").strip()
