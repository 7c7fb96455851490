"""Acting as somebody else: the Impersonate-* headers, and who may use them.

There are two ways to be allowed. The verb `impersonate` on users, groups, service accounts, uids and extras opens
everything the other may do. Constrained impersonation (KEP-5284) grants `impersonate:<mode>` on the identity and, for
each action, `impersonate-on:<mode>:<verb>` on what is acted on.
"""

import dataclasses
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence

from services.apiserver.auth.authentication import authenticated
from services.apiserver.auth.authorization import Authorizer, refusal
from services.apiserver.failures import bad_request
from services.apiserver.routes import Attributes
from shared.identity.users import (
    ANONYMOUS,
    NODE_PREFIX,
    SERVICE_ACCOUNT_PREFIX,
    User,
    service_account_groups,
)

GROUP = "authentication.k8s.io"
EXTRA = "impersonate-extra-"


def impersonate(user: User, headers: Mapping[str, Sequence[str]], authorizer: Authorizer, action: Attributes) -> User:
    """The user a request acts as, by lower-case headers; Forbidden if the caller may not do `action` as that one.

    BadRequest if groups, uid or extras come without a user name.
    """
    other = _requested(headers)
    if not other.name:
        if other == User(""):
            return user
        raise bad_request(f"requested {_as_go_prints(other)} without impersonating a user name")
    _check(user, other, authorizer, action)
    if other.name == ANONYMOUS.name:
        return ANONYMOUS
    if other.name.startswith(SERVICE_ACCOUNT_PREFIX) and not other.groups:
        namespace = other.name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")[0]
        other = dataclasses.replace(other, groups=service_account_groups(namespace))
    return authenticated(other)


def _requested(headers: Mapping[str, Sequence[str]]) -> User:
    extra = {
        urllib.parse.unquote(key.removeprefix(EXTRA)): tuple(values)
        for key, values in headers.items()
        if key.startswith(EXTRA)
    }
    name, uid = (next(iter(headers.get(f"impersonate-{key}") or ()), "") for key in ("user", "uid"))
    return User(name, tuple(headers.get("impersonate-group", ())), uid, extra)


def _check(user: User, other: User, authorizer: Authorizer, action: Attributes) -> None:
    def allowed(asked: Attributes) -> bool:
        return authorizer.decide(user, asked).allowed

    if all(map(allowed, _identity(other, "impersonate", ""))):
        return
    mode = _mode(other.name)
    steps = [dataclasses.replace(action, verb=f"impersonate-on:{mode}:{action.verb}")]
    steps += _identity(other, f"impersonate:{mode}", GROUP)
    for asked in steps:
        if not allowed(asked):
            raise refusal(user, asked, authorizer.decide(user, asked).reason)


def _identity(other: User, verb: str, group: str) -> Iterator[Attributes]:
    """What must be allowed on each part of an identity; users, groups and accounts are in `group`."""
    if other.name.startswith(SERVICE_ACCOUNT_PREFIX):
        namespace, _, name = other.name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
        yield Attributes(verb, group, "v1", "serviceaccounts", "", namespace, name)
    elif group and other.name.startswith(NODE_PREFIX):
        yield Attributes(verb, group, "v1", "nodes", name=other.name.removeprefix(NODE_PREFIX))
    else:
        yield Attributes(verb, group, "v1", "users", name=other.name)
    for one in other.groups:
        yield Attributes(verb, group, "v1", "groups", name=one)
    if other.uid:
        yield Attributes(verb, GROUP, "v1", "uids", name=other.uid)
    for key, values in other.extra.items():
        for value in values:
            yield Attributes(verb, GROUP, "v1", "userextras", key, name=value)


def _mode(name: str) -> str:
    if name.startswith(SERVICE_ACCOUNT_PREFIX):
        return "serviceaccount"
    return "arbitrary-node" if name.startswith(NODE_PREFIX) else "user-info"


def _as_go_prints(user: User) -> str:
    groups = _strings(user.groups) if user.groups else "[]string(nil)"
    pairs = ", ".join(f'"{key}":{_strings(values)}' for key, values in sorted(user.extra.items()))
    extra = f"map[string][]string{{{pairs}}}" if user.extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"{user.name}", UID:"{user.uid}", Groups:{groups}, Extra:{extra}}}'


def _strings(values: Sequence[str]) -> str:
    joined = ", ".join(f'"{value}"' for value in values)
    return f"[]string{{{joined}}}"
