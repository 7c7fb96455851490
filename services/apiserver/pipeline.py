"""The way of every request: what is asked, may the caller ask it, who serves it. HTTP and the bus both end up here."""

import dataclasses
from collections.abc import Awaitable
from dataclasses import dataclass, field

from services.apiserver import decoding, discovery, negotiation, options, routes
from services.apiserver.admission.subresources import Subresources
from services.apiserver.audit.auditor import DECISION, REASON, Auditor
from services.apiserver.auth import requests
from services.apiserver.auth.authorization import Authorizer
from services.apiserver.discovery import Discovery
from services.apiserver.failures import bad_request, method_not_allowed, unknown_path
from services.apiserver.health import Health
from services.apiserver.instruments import exposition
from services.apiserver.issuer import IssuerDocuments
from services.apiserver.protocol import Document, Outcome, Raw, Request
from services.apiserver.read import Reader
from services.apiserver.routes import Attributes, Serve, Target
from services.apiserver.schemas import Schemas
from services.apiserver.watch import Watcher
from services.apiserver.write import Writer
from shared.errors import ApiError, BusError, NoResponders, ServiceUnavailable, StateError, StorageFull
from shared.objects.registry import Resource

# subresources that are the object itself under other rules
SAME_OBJECT = ("status", "finalize", "ephemeralcontainers", "resize", "approval")
INTERACTIVE = ("exec", "attach", "portforward")
CONNECTED = (*INTERACTIVE, "proxy")
STREAMS = (*INTERACTIVE, "log", "proxy")
NO_LEADER = (
    "the state log has no leader, because too few of its servers run: until it has one nothing can be written or read "
    "consistently; watches and reads with resourceVersion=0 go on"
)
NO_PAGE = Raw(b"404 page not found\n", "text/plain; charset=utf-8", 404)
DEPRECATED = {
    ("", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
}


def _deprecation(resource: Resource) -> str:
    custom = resource.schema.custom
    return custom.deprecation if custom is not None else DEPRECATED.get((resource.group, resource.plural), "")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Routes requests. `special` has the handlers of subresources and of resources that store nothing, by
    (group, resource/subresource, verb)."""

    authorizer: Authorizer
    reader: Reader
    watcher: Watcher
    writer: Writer
    discovery: Discovery
    schemas: Schemas
    health: Health
    issuer: IssuerDocuments
    special: dict[tuple[str, str, str], Serve]
    subresources: Subresources
    auditor: Auditor | None = None
    # what was found before, by group, plural, subresource and verb
    _known: dict[tuple[str, str, str, str], Serve] = field(default_factory=dict, repr=False)

    def handle(self, request: Request) -> Awaitable[Outcome]:
        """Serve a request; every failure leaves as an ApiError."""
        return self._guarded(request) if self.auditor is None else self.auditor.handle(request, self._guarded)

    async def _guarded(self, request: Request) -> Outcome:
        try:
            return await self._handle(request)
        except RecursionError:
            # bodies are refused earlier; what patches made of an object may still be too much
            raise bad_request("the object is nested too deeply") from None
        except NoResponders as exc:
            raise ServiceUnavailable(NO_LEADER, details={"retryAfterSeconds": 1}) from exc
        except StorageFull as exc:
            # 507 is no code that clients know; after a 503 with Retry-After they try again by themselves
            raise ServiceUnavailable(f"the state log is full: {exc}", details={"retryAfterSeconds": 5}) from exc
        except (BusError, StateError) as exc:
            raise ServiceUnavailable(
                f"the state log cannot be reached: {exc}", details={"retryAfterSeconds": 1}
            ) from exc

    async def _handle(self, request: Request) -> Outcome:
        target = self._target(request)
        if target is None or isinstance(target, Raw):
            return target or self._document(request)
        verb = routes.verb_of(target, request.method, watch=request.query.flag("watch"))
        request.target, request.verb = target, verb
        asked = routes.attributes(target, verb, request.query.get("fieldSelector"))
        self._authorize(request, asked)
        if verb == "get" and asked.subresource in INTERACTIVE:
            # a WebSocket opens with GET, but what happens in it is no reading
            self._authorize(request, dataclasses.replace(asked, verb="create"))
        if asked.subresource in CONNECTED:
            await self.subresources.connect(request, target)
        if verb != "watch" and target.subresource_name not in STREAMS:
            # an answer that nobody could read must not be preceded by a change
            negotiation.accept(request.headers.get("accept", ""), protobuf=target.resource.schema.custom is None)
        if target.subresource_name not in STREAMS:
            options.check(request, verb)
        if request.body:
            await decoding.decode_ahead(request)
        deprecation = _deprecation(target.resource)
        if deprecation:
            request.warnings.append(deprecation)
            request.note("k8s.io/deprecated", "true")
        return await self._serve(target, verb)(request, target)

    def _authorize(self, request: Request, asked: Attributes) -> None:
        decision = self.authorizer.require(request.user, asked)
        if request.annotations is not None:
            request.annotations |= {DECISION: "allow", REASON: decision.reason}

    def _target(self, request: Request) -> Target | Raw | None:
        try:
            return routes.resolve(request.path)
        except ApiError:
            # whoever may not ask for it is not told either what exists
            asked = requests.attributes(request.method, request.path, watch=request.query.flag("watch"))
            self._authorize(request, asked)
            if asked.resource and not discovery.is_served(asked.group, asked.version):
                return NO_PAGE
            raise

    def _serve(self, target: Target, verb: str) -> Serve:
        key = (target.resource.group, target.resource.plural, target.subresource_name, verb)
        serve = self._known.get(key)
        if serve is None:
            serve = self._known[key] = self._find(target, verb)
        return serve

    def is_plain_get(self, resource: Resource) -> bool:
        """Whether the get of an object of a resource is that and nothing else."""
        return not _deprecation(resource) and (resource.group, resource.plural, "get") not in self.special

    def _find(self, target: Target, verb: str) -> Serve:
        resource, subresource = target.resource, target.subresource_name
        name = f"{resource.plural}/{subresource}" if subresource else resource.plural
        special = self.special.get((resource.group, name, verb)) or self.special.get(("*", f"*/{subresource}", verb))
        if special is not None:
            return special
        if subresource and subresource not in SAME_OBJECT:
            raise unknown_path()
        generic: dict[str, Serve] = {
            "get": self.reader.get,
            "list": self.reader.list_objects,
            "watch": self.watcher.open,
            "create": self.writer.create,
            "update": self.writer.update,
            "patch": self.writer.patch,
            "delete": self.writer.delete,
            "deletecollection": self.writer.delete_collection,
        }
        return generic[verb]

    def _document(self, request: Request) -> Outcome:
        verb = {"GET": "get", "POST": "post", "PUT": "put", "PATCH": "patch", "DELETE": "delete"}
        asked = Attributes(verb=verb.get(request.method, request.method.lower()), path=request.path)
        self._authorize(request, asked)
        outcome = self._find_document(request)
        if request.method != "GET":
            raise method_not_allowed()
        return outcome

    def _find_document(self, request: Request) -> Outcome:
        path = request.path
        if path in ("/version", "/version/"):
            return discovery.version(request)
        if path == "/metrics":
            return exposition()
        if path == "/":
            return Document(
                {"paths": ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v3", "/readyz", "/version"]}
            )
        for serve in (self.health.serve, self.discovery.serve, self.schemas.serve, self.issuer.serve):
            outcome = serve(request)
            if outcome is not None:
                return outcome
        if path.startswith(("/api/", "/apis/")):
            raise unknown_path()
        return NO_PAGE
