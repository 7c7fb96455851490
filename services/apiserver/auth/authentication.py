"""Credentials -> the caller: client certificates and bearer tokens."""

import base64
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.apiserver.admission.serviceaccounts import serviceaccounts
from services.apiserver.auth import opaque
from services.apiserver.auth.opaque import StaticTokens
from services.apiserver.failures import unauthorized
from services.apiserver.store import Store
from shared.errors import NotFound, Unauthorized
from shared.identity import tokens
from shared.identity.tokens import TokenKey, Verified
from shared.identity.users import (
    ANONYMOUS,
    AUTHENTICATED,
    User,
)
from shared.objects import registry
from shared.objects.registry import Resource

# how a script in a browser brings its token (kube-apiserver's websocket authenticator)
BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
BOUND_KINDS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}

Certificate = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """The caller that headers named, and the token he did it with, if any."""

    user: User
    verified: Verified | None = None


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Turns what a connection brought into a user; the store tells whether a token's objects still exist."""

    store: Store
    key: TokenKey
    static: StaticTokens = field(default_factory=StaticTokens)

    async def authenticate(self, headers: Mapping[str, str], certificate: Certificate | None) -> User:
        """The caller of an HTTP request; Unauthorized for a bad token, the anonymous user without credentials."""
        if certificate:
            return of_certificate(certificate)
        token = _token(headers)
        if (bearer := await self.bearer(token)) is not None:
            return bearer
        known = self._known(token)
        if known.verified is not None:
            try:
                await self.check_objects(known.verified)
            except Unauthorized:
                raise unauthorized() from None
        return known.user

    def remember(self, headers: Mapping[str, str]) -> Known:
        """Whom headers name, to be recalled when they come again. Unauthorized for a bad token."""
        return self._known(_token(headers))

    async def bearer(self, token: str) -> User | None:
        """Whose static or bootstrap token this is; None if it is no good one of these."""
        user = self.static.find(token) or await opaque.bootstrapper(self.store, token)
        return None if user is None else authenticated(user)

    def _known(self, token: str) -> Known:
        if not token:
            return Known(ANONYMOUS)
        try:
            verified = tokens.verify(self.key, token)
        except Unauthorized:
            raise unauthorized() from None
        return Known(authenticated(verified.user), verified)

    def recall(self, known: Known) -> User | None:
        """The caller that headers name again; None unless it is certain without waiting that he is still good."""
        verified = known.verified
        if verified is None:
            return known.user
        if verified.claims["exp"] <= time.time():
            return None
        if verified.service_account is not None:
            for resource, namespace, name, uid in _bound(verified):
                record = self.store.peek(resource, namespace, name)
                if record is None or record.object["metadata"].get("uid") != uid:
                    return None
        return known.user

    async def check_objects(self, verified: Verified) -> None:
        """Unauthorized if the service account of a token, or what the token is bound to, is gone or another one."""
        for resource, namespace, name, uid in _bound(verified):
            try:
                record = await self.store.get(resource, namespace, name)
            except NotFound:
                raise Unauthorized("the object of the token is gone") from None
            if record.object["metadata"].get("uid") != uid:
                raise Unauthorized("the object of the token was replaced")


def _bound(verified: Verified) -> Iterator[tuple[Resource, str, str, str]]:
    """(resource, namespace, name, uid) of the service account of a token, and of what else it is bound to."""
    account = verified.service_account
    if account is None:
        return
    namespace, name, uid = account
    yield serviceaccounts(), namespace, name, uid
    for bound in verified.bound_objects:
        resource = registry.by_plural("", "v1", BOUND_KINDS[bound.kind])
        assert resource is not None
        yield resource, namespace if resource.namespaced else "", bound.name, bound.uid


def authenticated(user: User) -> User:
    """The user as a member of the group of all authenticated ones."""
    if AUTHENTICATED in user.groups:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


def _token(headers: Mapping[str, str]) -> str:
    """The bearer token that headers bring, "" if none. Unauthorized for one that is brought in a wrong way."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if token and scheme.lower() == "bearer" else _token_of_browser(headers)


def _token_of_browser(headers: Mapping[str, str]) -> str:
    """The token among the subprotocols of a WebSocket, where scripts in a browser may set no other header; "" if none.

    Unauthorized unless there is one of them, and another protocol beside it, as for Kubernetes.
    """
    if headers.get("upgrade", "").lower() != "websocket":
        return ""
    offered = [one.strip() for one in headers.get("sec-websocket-protocol", "").split(",")]
    encoded = [one.removeprefix(BEARER_PROTOCOL) for one in offered if one.startswith(BEARER_PROTOCOL)]
    if not encoded:
        return ""
    if len(encoded) > 1 or len(offered) == 1:
        raise unauthorized()
    try:
        return base64.urlsafe_b64decode(encoded[0] + "=" * (-len(encoded[0]) % 4)).decode()
    except ValueError:
        raise unauthorized() from None


def of_certificate(certificate: Certificate) -> User:
    """The subject of a client certificate, which the TLS handshake has verified; Unauthorized if it names nobody.

    Its `fingerprint`, if there is one, tells credentials of one user apart (as Kubernetes' x509 request authenticator).
    """
    names: dict[str, list[str]] = {}
    for relative in certificate.get("subject", ()):
        for key, value in relative:
            names.setdefault(key, []).append(value)
    common = names.get("commonName", [""])[-1]
    if not common:
        raise unauthorized()
    fingerprint = certificate.get("fingerprint")
    extra = {tokens.CREDENTIAL_ID: (f"X509SHA256={fingerprint}",)} if fingerprint else {}
    return authenticated(User(common, tuple(names.get("organizationName", ())), "", extra))
