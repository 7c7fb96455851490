"""Credentials -> the caller: client certificates, bearer tokens, the bus, and impersonation by administrators."""

import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.apiserver.admission.serviceaccounts import serviceaccounts
from services.apiserver.failures import bad_request, unauthorized
from services.apiserver.store import Store
from shared.errors import Forbidden, NotFound, Unauthorized
from shared.identity import tokens
from shared.identity.tokens import TokenKey, Verified
from shared.identity.users import (
    ANONYMOUS,
    AUTHENTICATED,
    SERVICE_ACCOUNT_PREFIX,
    User,
    service_account_groups,
)
from shared.objects import registry

BOUND_KINDS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}

Certificate = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Turns what a connection brought into a user; the store tells whether a token's objects still exist."""

    store: Store
    key: TokenKey

    async def authenticate(self, headers: Mapping[str, str], certificate: Certificate | None) -> User:
        """The caller of an HTTP request; Unauthorized for a bad token, the anonymous user without credentials."""
        if certificate:
            return _of_certificate(certificate)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return ANONYMOUS
        try:
            verified = tokens.verify(self.key, token)
            await self.check_objects(verified)
        except Unauthorized:
            raise unauthorized() from None
        return authenticated(verified.user)

    async def check_objects(self, verified: Verified) -> None:
        """Unauthorized if the service account of a token, or what the token is bound to, is gone or another one."""
        account = verified.service_account
        if account is None:
            return
        namespace, name, uid = account
        try:
            record = await self.store.get(serviceaccounts(), namespace, name)
            known = [(record.object["metadata"].get("uid"), uid)]
            for bound in verified.bound_objects:
                resource = registry.by_plural("", "v1", BOUND_KINDS[bound.kind])
                assert resource is not None
                place = namespace if resource.namespaced else ""
                found = await self.store.get(resource, place, bound.name)
                known.append((found.object["metadata"].get("uid"), bound.uid))
        except NotFound:
            raise Unauthorized("the object of the token is gone") from None
        if any(stored != claimed for stored, claimed in known):
            raise Unauthorized("the object of the token was replaced")


def authenticated(user: User) -> User:
    """The user as a member of the group of all authenticated ones."""
    if AUTHENTICATED in user.groups:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


def impersonate(user: User, headers: Mapping[str, Sequence[str]]) -> User:
    """The user a request acts as (Impersonate-* headers); Forbidden unless the caller is an administrator.

    BadRequest if groups, uid or extras come without a user name.
    """
    name = _first(headers.get("impersonate-user"))
    groups = tuple(headers.get("impersonate-group", ()))
    uid = _first(headers.get("impersonate-uid"))
    prefix = "impersonate-extra-"
    extra = {
        urllib.parse.unquote(key[len(prefix) :]): tuple(values)
        for key, values in headers.items()
        if key.startswith(prefix)
    }
    if not name:
        if groups or uid or extra:
            raise bad_request("requested impersonation of groups, a uid or extras without impersonating a user name")
        return user
    if not user.is_master:
        raise Forbidden(
            f'users "{name}" is forbidden: User "{user.name}" cannot impersonate resource "users" in API group "" '
            "at the cluster scope",
            details={"name": name, "kind": "users"},
        )
    if name == ANONYMOUS.name:
        return ANONYMOUS
    if name.startswith(SERVICE_ACCOUNT_PREFIX) and not groups:
        namespace = name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")[0]
        groups = service_account_groups(namespace)
    return authenticated(User(name, groups, uid, extra))


def _of_certificate(certificate: Certificate) -> User:
    names: dict[str, list[str]] = {}
    for relative in certificate.get("subject", ()):
        for key, value in relative:
            names.setdefault(key, []).append(value)
    common = names.get("commonName", [""])[-1]
    if not common:
        raise unauthorized()
    return authenticated(User(common, tuple(names.get("organizationName", ()))))


def _first(values: Sequence[str] | None) -> str:
    return values[0] if values else ""
