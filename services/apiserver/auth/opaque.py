"""Bearer tokens that say nothing by themselves: static ones from a file, and bootstrap tokens, which are Secrets.

Sources: Kubernetes' Authenticating page (static token file); k8s.io/kubernetes
plugin/pkg/auth/authenticator/token/bootstrap and k8s.io/cluster-bootstrap (names and patterns).
"""

import base64
import csv
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from services.apiserver.protocol import Object
from services.apiserver.store import Store
from shared.errors import NotFound, SettingsError
from shared.identity.users import User
from shared.objects import registry, times

BOOTSTRAP_TYPE = "bootstrap.kubernetes.io/token"
BOOTSTRAP_USER = "system:bootstrap:"
BOOTSTRAPPERS = "system:bootstrappers"
NAMESPACE = "kube-system"
SECRET_PREFIX = "bootstrap-token-"
FEWEST_COLUMNS = 3

_bootstrap = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})").fullmatch
_group = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]").fullmatch


class StaticTokens:
    """The callers that a file names. Tokens are kept and looked up as digests, so that the time a look-up takes tells
    nothing of them."""

    def __init__(self, users: Mapping[str, User] | None = None) -> None:
        self._users = {_digest(token): user for token, user in (users or {}).items()}

    @classmethod
    def load(cls, path: Path) -> "StaticTokens":
        """Read lines of `token,user,uid,"group1,group2"`, the groups being optional. SettingsError names the line."""
        users: dict[str, User] = {}
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = csv.reader(file, skipinitialspace=True, strict=True)
                for row in rows:
                    where = f"{path}, line {rows.line_num}"
                    if not row:
                        continue
                    if len(row) < FEWEST_COLUMNS:
                        raise SettingsError(
                            f"{where}: token, user and uid are needed, and there are {len(row)} columns"
                        )
                    token, name, uid = row[:FEWEST_COLUMNS]
                    if not token or not name:
                        raise SettingsError(f"{where}: the {'user' if token else 'token'} is empty")
                    if token in users:
                        raise SettingsError(f"{where}: the token of {name} is that of {users[token].name} as well")
                    listed = row[FEWEST_COLUMNS] if len(row) > FEWEST_COLUMNS else ""
                    users[token] = User(name, tuple(one.strip() for one in listed.split(",") if one.strip()), uid)
        except (OSError, UnicodeDecodeError, csv.Error) as exc:
            raise SettingsError(f"the file of static tokens {path} cannot be read: {exc}") from exc
        return cls(users)

    def find(self, token: str) -> User | None:
        """Whose token this is; None if it is nobody's."""
        return self._users.get(_digest(token)) if self._users else None


async def bootstrapper(store: Store, token: str) -> User | None:
    """Who bears a bootstrap token; None if it is none, or not good (any more)."""
    parts = _bootstrap(token)
    if parts is None:
        return None
    identifier, secret = parts.groups()
    secrets = registry.by_plural("", "v1", "secrets")
    assert secrets is not None
    try:
        record = await store.get(secrets, NAMESPACE, SECRET_PREFIX + identifier)
    except NotFound:
        return None
    groups = _groups(record.object, identifier, secret, datetime.now(UTC))
    return None if groups is None else User(BOOTSTRAP_USER + identifier, groups)


def _groups(obj: Object, identifier: str, secret: str, now: datetime) -> tuple[str, ...] | None:
    """The groups that a bootstrap token's Secret grants; None if it grants nothing."""
    if obj["metadata"].get("deletionTimestamp") or obj.get("type") != BOOTSTRAP_TYPE:
        return None
    data = {name: _text(value) for name, value in (obj.get("data") or {}).items()}
    if not hmac.compare_digest(data.get("token-secret", "").encode(), secret.encode()):
        return None
    if data.get("token-id") != identifier or data.get("usage-bootstrap-authentication") != "true":
        return None
    if _is_expired(data.get("expiration", ""), now):
        return None
    extra = [one for one in data.get("auth-extra-groups", "").split(",") if one]
    if not all(_group(one) for one in extra):
        return None
    return (BOOTSTRAPPERS, *sorted(set(extra)))


def _is_expired(text: str, now: datetime) -> bool:
    if not text:
        return False
    try:
        return times.parse(text) <= now
    except ValueError:
        # what cannot be read must not be good for ever
        return True


def _text(value: str) -> str:
    return base64.b64decode(value).decode("utf-8", "replace")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
