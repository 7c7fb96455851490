"""Bearer tokens: signed statements (JWT, ES256) that any API server replica can verify from one key file.

Two shapes share the key. A *user token* names a user and its groups, for people and tests. A *service account token*
has the claims Kubernetes gives it (KEP-1205 bound tokens): `sub`, `aud`, and below `kubernetes.io` the namespace, the
service account and the object the token is bound to. Whether those objects still exist is for the API server to check.
"""

import base64
import hashlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import Unauthorized
from shared.identity.keys import load_private_key
from shared.identity.users import SERVICE_ACCOUNT_PREFIX, User, service_account_groups, service_account_name

ISSUER = "https://kubernetes.default.svc"
AUDIENCE = "https://kubernetes.default.svc"
ALGORITHM = "ES256"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"
NODE_NAME = "authentication.kubernetes.io/node-name"
NODE_UID = "authentication.kubernetes.io/node-uid"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """The signing key, its public half and the key id a verifier finds it by."""

    private: ec.EllipticCurvePrivateKey
    public: ec.EllipticCurvePublicKey
    identifier: str


@dataclass(frozen=True, slots=True)
class BoundObject:
    """What a service account token dies with: a Pod, Secret or Node."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that carries a good signature: whom it names and the raw claims."""

    user: User
    audiences: tuple[str, ...]
    claims: Mapping[str, Any]

    @property
    def service_account(self) -> tuple[str, str, str] | None:
        """(namespace, name, uid) of the service account, if the token is of one."""
        private = self.claims.get("kubernetes.io")
        if not isinstance(private, dict) or not self.user.name.startswith(SERVICE_ACCOUNT_PREFIX):
            return None
        account = private.get("serviceaccount", {})
        return private.get("namespace", ""), account.get("name", ""), account.get("uid", "")

    @property
    def bound_objects(self) -> tuple[BoundObject, ...]:
        """The objects that must still exist for the token to be good."""
        private = self.claims.get("kubernetes.io")
        if not isinstance(private, dict):
            return ()
        found = []
        for claim, kind in (("pod", "Pod"), ("secret", "Secret"), ("node", "Node")):
            reference = private.get(claim)
            # a pod's token also tells the node, as information: only a token bound to the node alone depends on it
            if isinstance(reference, dict) and not (kind == "Node" and "pod" in private):
                found.append(BoundObject(kind, reference.get("name", ""), reference.get("uid", "")))
        return tuple(found)


def load_key(path: Path) -> TokenKey:
    """Read `sa.key`."""
    private = load_private_key(path)
    public = private.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    identifier = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    return TokenKey(private, public, identifier)


def issue(
    key: TokenKey, user: str, groups: Sequence[str], ttl: float, extra: Mapping[str, Sequence[str]] | None = None
) -> str:
    """A user token that is good for `ttl` seconds."""
    claims: dict[str, Any] = {"sub": user, "groups": list(groups), "aud": [AUDIENCE]}
    # the same user has the same uid whenever and by whomever a token is issued
    claims["uid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"wherry:user:{user}"))
    if extra:
        claims["extra"] = {name: list(values) for name, values in extra.items()}
    return _sign(key, claims, time.time(), ttl)


def issue_service_account(
    key: TokenKey,
    *,
    namespace: str,
    name: str,
    uid: str,
    audiences: Sequence[str] = (AUDIENCE,),
    ttl: float,
    bound: BoundObject | None = None,
    node: BoundObject | None = None,
    now: float | None = None,
) -> str:
    """A service account token good for `ttl` seconds, optionally bound to an object and telling the pod's node."""
    private: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
    for reference in (bound, node):
        if reference is not None:
            private[reference.kind.lower()] = {"name": reference.name, "uid": reference.uid}
    claims = {
        "sub": service_account_name(namespace, name),
        "aud": list(audiences),
        "kubernetes.io": private,
    }
    return _sign(key, claims, time.time() if now is None else now, ttl)


def verify(key: TokenKey, token: str, audiences: Sequence[str] = (AUDIENCE,)) -> Verified:
    """The caller a token names; Unauthorized if malformed, expired, signed by another key or for other audiences.

    A client sends the same token with every request and its signature costs as much as a small write, so what was
    verified is remembered until the token expires.
    """
    remembered = _remembered(key.identifier, token, tuple(audiences))
    if remembered.verified is None or remembered.good_until <= time.time():
        remembered.verified = _verify(key, token, audiences)
        remembered.good_until = float(remembered.verified.claims["exp"])
    return remembered.verified


@dataclass(slots=True)
class _Remembered:
    verified: Verified | None = None
    good_until: float = 0.0


@lru_cache(maxsize=4096)
def _remembered(key_identifier: str, token: str, audiences: tuple[str, ...]) -> _Remembered:
    return _Remembered()


def _verify(key: TokenKey, token: str, audiences: Sequence[str]) -> Verified:
    try:
        claims = jwt.decode(
            token,
            key.public,
            algorithms=[ALGORITHM],
            audience=list(audiences),
            issuer=ISSUER,
            options={"require": ["exp", "sub", "aud"]},
        )
    except jwt.InvalidTokenError as exc:
        raise Unauthorized("invalid bearer token") from exc
    granted = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    accepted = tuple(audience for audience in audiences if audience in granted)
    return Verified(_user(claims), accepted, claims)


def _user(claims: Mapping[str, Any]) -> User:
    private = claims.get("kubernetes.io")
    if not isinstance(private, dict):
        extra = {name: tuple(values) for name, values in claims.get("extra", {}).items()}
        return User(claims["sub"], tuple(claims.get("groups", ())), claims.get("uid", ""), extra)
    extra = {CREDENTIAL_ID: (f"JTI={claims['jti']}",)} if "jti" in claims else {}
    for claim, name_key, uid_key in (("node", NODE_NAME, NODE_UID), ("pod", POD_NAME, POD_UID)):
        reference = private.get(claim)
        if isinstance(reference, dict):
            extra[name_key] = (reference.get("name", ""),)
            if reference.get("uid"):
                extra[uid_key] = (reference["uid"],)
    account = private.get("serviceaccount", {})
    groups = service_account_groups(private.get("namespace", ""))
    return User(claims["sub"], groups, account.get("uid", ""), extra)


def _sign(key: TokenKey, claims: dict[str, Any], now: float, ttl: float) -> str:
    issued = int(now)
    complete = claims | {
        "iss": ISSUER,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int(ttl),
        "jti": str(uuid.uuid4()),
    }
    # Kubernetes' tokens carry no "typ"
    return jwt.encode(complete, key.private, algorithm=ALGORITHM, headers={"kid": key.identifier, "typ": None})
