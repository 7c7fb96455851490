"""Tokens of service accounts: issued on request, and looked into for others (TokenRequest, TokenReview)."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.apiserver import decoding
from services.apiserver.auth.authentication import BOUND_KINDS, Authenticator, authenticated
from services.apiserver.auth.nodes import NodeAuthorizer
from services.apiserver.failures import bad_request, conflict_on, invalid
from services.apiserver.protocol import Document, Object, Outcome, Request
from services.apiserver.routes import Target
from services.apiserver.store import Store
from shared.errors import Forbidden, Unauthorized
from shared.identity import tokens
from shared.identity.tokens import AUDIENCE, BoundObject, TokenKey
from shared.objects import registry, times
from shared.objects.validation import Cause

GROUP = "authentication.k8s.io"
VERSION = f"{GROUP}/v1"
DEFAULT_SECONDS = 3600
SHORTEST_SECONDS = 600
LONGEST_SECONDS = 1 << 32


@dataclass(frozen=True, slots=True)
class TokenRequests:
    """Issues tokens for service accounts that exist."""

    store: Store
    key: TokenKey
    nodes: NodeAuthorizer

    async def create(self, request: Request, target: Target) -> Outcome:
        body = decoding.decode_as(request, VERSION, "TokenRequest")
        spec = body.get("spec") or {}
        account = (await self.store.latest(target.resource, target.namespace, target.name)).object
        seconds = spec.get("expirationSeconds", DEFAULT_SECONDS)
        _check_seconds(seconds)
        audiences = spec.get("audiences") or [AUDIENCE]
        bound, node = await self._bound(request, target, spec.get("boundObjectRef"))
        now = time.time()
        token = tokens.issue_service_account(
            self.key,
            namespace=target.namespace,
            name=target.name,
            uid=account["metadata"]["uid"],
            audiences=audiences,
            ttl=seconds,
            bound=bound,
            node=node,
            now=now,
        )
        answer = {
            "kind": "TokenRequest",
            "apiVersion": VERSION,
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "uid": account["metadata"]["uid"],
                "creationTimestamp": times.now(),
            },
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {
                "token": token,
                "expirationTimestamp": times.format_time(
                    datetime.fromtimestamp(int(now), UTC) + timedelta(seconds=seconds)
                ),
            },
        }
        return Document(answer, 201)

    async def _bound(
        self, request: Request, target: Target, reference: Object | None
    ) -> tuple[BoundObject | None, BoundObject | None]:
        """What the token is bound to, and the node of a pod; a node may only ask for its own pods."""
        caller = request.user.node
        if reference is None:
            if caller is not None:
                raise Forbidden(f"node '{caller}' may only request tokens that are bound to one of its pods")
            return None, None
        kind, name, uid = reference.get("kind", ""), reference.get("name", ""), reference.get("uid", "")
        if kind not in BOUND_KINDS or reference.get("apiVersion", "v1") != "v1":
            raise bad_request(
                f"cannot bind token for serviceaccount {target.name!r} to {kind}, only to Pod, Secret or Node"
            )
        if caller is not None and not (
            kind == "Pod" and self.nodes.pod_uses_account(caller, target.namespace, name, uid, target.name)
        ):
            raise Forbidden(f"node '{caller}' requested a token bound to an object that is none of its pods")
        resource = registry.by_plural("", "v1", BOUND_KINDS[kind])
        assert resource is not None
        record = await self.store.get(resource, target.namespace if resource.namespaced else "", name)
        stored = record.object["metadata"]["uid"]
        if uid and uid != stored:
            why = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict_on("", resource.plural, name, why)
        bound = BoundObject(kind, name, stored)
        node_name = record.object.get("spec", {}).get("nodeName") if kind == "Pod" else None
        if kind == "Pod" and record.object["spec"].get("serviceAccountName") != target.name:
            raise bad_request(
                f"cannot bind token for serviceaccount {target.name!r} to a pod that runs as another service account"
            )
        if not node_name:
            return bound, None
        nodes = registry.by_plural("", "v1", "nodes")
        assert nodes is not None
        node = self.store.peek(nodes, "", node_name)
        return bound, BoundObject("Node", node_name, node.object["metadata"]["uid"] if node is not None else "")


@dataclass(frozen=True, slots=True)
class TokenReviews:
    """Tells who a token names, for servers that get tokens from their clients."""

    authenticator: Authenticator
    key: TokenKey

    async def create(self, request: Request, target: Target) -> Outcome:
        body = decoding.decode_as(request, VERSION, "TokenReview")
        spec = body.get("spec") or {}
        if not spec.get("token"):
            raise bad_request("token is required for TokenReview in authentication")
        status: Object
        audiences = spec.get("audiences") or [AUDIENCE]
        # tokens that name no audience are for this server
        bearer = await self.authenticator.bearer(spec["token"]) if AUDIENCE in audiences else None
        if bearer is not None:
            status = {"authenticated": True, "user": bearer.info(), "audiences": [AUDIENCE]}
        else:
            status = await self._verified(spec["token"], audiences)
        answer = {
            "kind": "TokenReview",
            "apiVersion": VERSION,
            "metadata": body.get("metadata") or {},
            "spec": spec,
            "status": status,
        }
        return Document(answer, 201)

    async def _verified(self, token: str, audiences: list[str]) -> Object:
        try:
            verified = tokens.verify(self.key, token, audiences)
            await self.authenticator.check_objects(verified)
        except Unauthorized as exc:
            return {"user": {}, "error": exc.message}
        user = authenticated(verified.user)
        return {"authenticated": True, "user": user.info(), "audiences": list(verified.audiences)}


def _check_seconds(seconds: int) -> None:
    text = ""
    if seconds < SHORTEST_SECONDS:
        text = "may not specify a duration less than 10 minutes"
    elif seconds > LONGEST_SECONDS:
        text = "may not specify a duration larger than 2^32 seconds"
    if text:
        cause = Cause("FieldValueInvalid", f"Invalid value: {seconds}: {text}", "spec.expirationSeconds")
        raise invalid(GROUP, "TokenRequest", "", [cause])
