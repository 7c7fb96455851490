"""Acting as others: who may, as whom, and what the refusals say."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from services.apiserver.auth import requests
from services.apiserver.auth.impersonation import impersonate
from shared.errors import BadRequest, Forbidden
from shared.identity.users import ANONYMOUS, AUTHENTICATED, User, service_account_groups
from tests.unit.services.apiserver.memory_api import ADMIN, ALICE, MemoryApi

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"


def act(api: MemoryApi, user: User, headers: Mapping[str, Sequence[str]]) -> User:
    action = requests.attributes("GET", PODS, watch=False)
    return impersonate(user, headers, api.parts.pipeline.authorizer, action)


async def allow(api: MemoryApi, *rules: Any) -> None:
    await api.create(f"{RBAC}/clusterroles", {"metadata": {"name": "acting"}, "rules": list(rules)})
    subject, role = {"kind": "User", "name": "alice"}, {"kind": "ClusterRole", "name": "acting"}
    binding = {"metadata": {"name": "acting"}, "roleRef": role, "subjects": [subject]}
    await api.create(f"{RBAC}/clusterrolebindings", binding)


async def test_administrators_act_as_others(api: MemoryApi) -> None:
    headers = {"impersonate-user": ["bob"], "impersonate-group": ["devs"], "impersonate-extra-example.com%2fk": ["v"]}
    user = act(api, ADMIN, headers)
    assert (user.name, user.groups) == ("bob", ("devs", AUTHENTICATED))
    assert user.extra == {"example.com/k": ("v",)}


async def test_accounts_and_strangers_come_with_their_own_groups(api: MemoryApi) -> None:
    account = act(api, ADMIN, {"impersonate-user": ["system:serviceaccount:default:web"]})
    assert account.groups == service_account_groups("default")
    assert act(api, ADMIN, {"impersonate-user": ["system:anonymous"]}) == ANONYMOUS


async def test_nobody_else_acts_as_others(api: MemoryApi) -> None:
    with pytest.raises(Forbidden) as refused:
        act(api, ALICE, {"impersonate-user": ["bob"]})
    assert refused.value.message == (
        'pods is forbidden: User "alice" cannot impersonate-on:user-info:list resource "pods" in API group "" in the '
        'namespace "default"'
    )


async def test_the_verb_impersonate_opens_users_and_groups_one_by_one(api: MemoryApi) -> None:
    await allow(
        api,
        {"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["groups"], "resourceNames": ["devs"], "verbs": ["impersonate"]},
    )
    assert act(api, ALICE, {"impersonate-user": ["bob"], "impersonate-group": ["devs"]}).name == "bob"
    with pytest.raises(Forbidden):
        act(api, ALICE, {"impersonate-user": ["carol"]})
    with pytest.raises(Forbidden):
        act(api, ALICE, {"impersonate-user": ["bob"], "impersonate-group": ["system:masters"]})
    with pytest.raises(Forbidden):
        act(api, ALICE, {"impersonate-user": ["bob"], "impersonate-uid": ["1"]})


async def test_constrained_impersonation_needs_both_the_identity_and_the_action(api: MemoryApi) -> None:
    on_action = {"apiGroups": [""], "resources": ["pods"], "verbs": ["impersonate-on:user-info:list"]}
    await allow(api, on_action)
    with pytest.raises(Forbidden, match='"alice" cannot impersonate:user-info resource "users" in API group "auth'):
        act(api, ALICE, {"impersonate-user": ["bob"]})
    on_user = {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"]}
    await api.patch(f"{RBAC}/clusterroles/acting", {"rules": [on_action, on_user]})
    assert act(api, ALICE, {"impersonate-user": ["bob"]}).name == "bob"
    with pytest.raises(Forbidden, match="impersonate-on:arbitrary-node:list"):
        act(api, ALICE, {"impersonate-user": ["system:node:node-1"]})


async def test_groups_without_a_user_are_refused(api: MemoryApi) -> None:
    with pytest.raises(BadRequest) as refused:
        act(api, ADMIN, {"impersonate-group": ["devs"]})
    assert refused.value.message == (
        'requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"devs"}, Extra:map[string][]string(nil)} '
        "without impersonating a user name"
    )


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1", ("get", "", "", "/api/v1")),
        ("GET", "/apis/apps/v1", ("get", "", "", "/apis/apps/v1")),
        ("GET", "/apis/nosuch.group/v1/things", ("list", "things", "", "")),
        ("DELETE", "/api/v1/namespaces/x", ("delete", "namespaces", "x", "")),
        ("PUT", "/api/v1/namespaces/x/finalize", ("update", "namespaces", "x", "")),
        ("DELETE", "/api/v1/namespaces/x/pods", ("deletecollection", "pods", "x", "")),
        ("GET", "/api/v1/watch/namespaces/x/pods", ("watch", "pods", "x", "")),
        ("GET", "/healthz", ("get", "", "", "/healthz")),
    ],
)
def test_a_path_says_what_is_asked(method: str, path: str, expected: tuple[str, ...]) -> None:
    asked = requests.attributes(method, path, watch=False)
    assert (asked.verb, asked.resource, asked.namespace, asked.path) == expected
