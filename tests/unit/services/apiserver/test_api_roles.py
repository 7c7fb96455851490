"""What roles and bindings allow, through the API: grants, refusals, escalation, reviews, aggregation."""

import asyncio
from typing import Any

import pytest

from services.apiserver.auth.aggregation import Aggregation
from services.apiserver.bootstrap import own_request
from services.apiserver.bootstrap_roles import bootstrap_roles
from shared.errors import Forbidden, NotFound
from shared.identity.users import AUTHENTICATED, User, service_account_groups, service_account_name
from tests.unit.services.apiserver.memory_api import ALICE, MemoryApi

RBAC = "/apis/rbac.authorization.k8s.io/v1"
DEFAULT = "/api/v1/namespaces/default"
LOCAL = f"{RBAC}/namespaces/default"
ACCOUNT = User(service_account_name("default", "web"), service_account_groups("default"))
DEVELOPER = User("dora", ("devs", AUTHENTICATED))


def rule(verbs: str, resources: str, group: str = "", **more: list[str]) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **more}


async def role(api: MemoryApi, name: str, *rules: Any, user: User | None = None) -> Any:
    body = {"metadata": {"name": name}, "rules": list(rules)}
    return await api.create(f"{LOCAL}/roles", body, **({"user": user} if user else {}))


async def bind(api: MemoryApi, role: str, subject: Any, *, kind: str = "Role", user: User | None = None) -> Any:
    name = f"{role}-{subject['name']}"
    body = {"metadata": {"name": name}, "roleRef": {"kind": kind, "name": role}, "subjects": [subject]}
    return await api.create(f"{LOCAL}/rolebindings", body, **({"user": user} if user else {}))


ALICE_SUBJECT = {"kind": "User", "name": "alice"}


async def test_a_role_counts_from_its_binding_to_its_end(api: MemoryApi) -> None:
    await role(api, "reader", rule("get list", "configmaps"))
    assert await api.code("GET", f"{DEFAULT}/configmaps", user=ALICE) == 403
    await bind(api, "reader", ALICE_SUBJECT)
    assert await api.code("GET", f"{DEFAULT}/configmaps", user=ALICE) == 200
    assert await api.code("GET", "/api/v1/namespaces/kube-system/configmaps", user=ALICE) == 403
    assert await api.code("GET", "/api/v1/configmaps", user=ALICE) == 403
    assert await api.code("GET", f"{DEFAULT}/secrets", user=ALICE) == 403
    await api.patch(f"{LOCAL}/roles/reader", {"rules": [rule("get list", "secrets")]})
    assert await api.code("GET", f"{DEFAULT}/configmaps", user=ALICE) == 403
    assert await api.code("GET", f"{DEFAULT}/secrets", user=ALICE) == 200
    await api.delete(f"{LOCAL}/rolebindings/reader-alice")
    assert await api.code("GET", f"{DEFAULT}/secrets", user=ALICE) == 403


@pytest.mark.parametrize(
    ("subject", "user"),
    [
        ({"kind": "ServiceAccount", "name": "web"}, ACCOUNT),
        ({"kind": "ServiceAccount", "name": "web", "namespace": "default"}, ACCOUNT),
        ({"kind": "Group", "name": "system:serviceaccounts:default"}, ACCOUNT),
        ({"kind": "Group", "name": "system:serviceaccounts"}, ACCOUNT),
        ({"kind": "Group", "name": "devs"}, DEVELOPER),
    ],
)
async def test_a_binding_reaches_its_subjects(api: MemoryApi, subject: Any, user: User) -> None:
    if subject["kind"] == "ServiceAccount":
        subject = {"namespace": "default"} | subject
    await bind(api, "view", subject, kind="ClusterRole")
    assert await api.code("GET", f"{DEFAULT}/pods", user=user) == 200
    assert await api.code("GET", f"{DEFAULT}/pods", user=ALICE) == 403


async def test_a_cluster_role_binding_counts_everywhere(api: MemoryApi) -> None:
    body = {"metadata": {"name": "v"}, "roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [ALICE_SUBJECT]}
    await api.create(f"{RBAC}/clusterrolebindings", body)
    assert await api.code("GET", "/api/v1/pods", user=ALICE) == 200
    assert await api.code("GET", f"{DEFAULT}/pods", user=ALICE) == 200
    assert await api.code("GET", f"{DEFAULT}/secrets", user=ALICE) == 403


async def test_a_missing_role_is_named_in_the_refusal(api: MemoryApi) -> None:
    await bind(api, "gone", ALICE_SUBJECT, kind="ClusterRole")
    with pytest.raises(Forbidden) as refused:
        await api.get(f"{DEFAULT}/pods", user=ALICE)
    assert refused.value.message == (
        'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default": '
        'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
    )


async def test_a_rule_on_a_name_allows_lists_of_that_name_alone(api: MemoryApi) -> None:
    await role(api, "one", rule("get list", "configmaps", resourceNames=["mine"]))
    await bind(api, "one", ALICE_SUBJECT)
    assert await api.code("GET", f"{DEFAULT}/configmaps/mine", user=ALICE) == 404
    assert await api.code("GET", f"{DEFAULT}/configmaps/other", user=ALICE) == 403
    assert await api.code("GET", f"{DEFAULT}/configmaps?fieldSelector=metadata.name=mine", user=ALICE) == 200
    assert await api.code("GET", f"{DEFAULT}/configmaps", user=ALICE) == 403


async def test_nobody_grants_more_than_he_holds(api: MemoryApi) -> None:
    await role(
        api,
        "granter",
        rule("create patch", "roles rolebindings", "rbac.authorization.k8s.io"),
        rule("get list", "pods"),
    )
    await bind(api, "granter", ALICE_SUBJECT)
    await role(api, "less", rule("get", "pods"), user=ALICE)
    with pytest.raises(Forbidden) as refused:
        await role(api, "more", rule("get delete", "pods"), rule("get", "secrets"), user=ALICE)
    assert refused.value.message == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "alice" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    with pytest.raises(Forbidden):
        await api.patch(f"{LOCAL}/roles/less", {"rules": [rule("create", "pods")]}, user=ALICE)
    with pytest.raises(Forbidden):
        await bind(api, "edit", ALICE_SUBJECT, kind="ClusterRole", user=ALICE)
    with pytest.raises(NotFound, match='"missing" not found'):
        await bind(api, "missing", ALICE_SUBJECT, user=ALICE)
    await bind(api, "less", {"kind": "User", "name": "bob"}, user=ALICE)


async def test_escalate_and_bind_lift_the_check(api: MemoryApi) -> None:
    verbs = "create escalate bind"
    await role(api, "granter", rule(verbs, "roles rolebindings clusterroles", "rbac.authorization.k8s.io"))
    await bind(api, "granter", ALICE_SUBJECT)
    await role(api, "any", rule("*", "*", "*"), user=ALICE)
    await bind(api, "edit", ALICE_SUBJECT, kind="ClusterRole", user=ALICE)


async def test_only_who_holds_everything_aggregates(api: MemoryApi) -> None:
    kind, name = rule("*", "*", "rbac.authorization.k8s.io"), "collector"
    await api.create(f"{RBAC}/clusterroles", {"metadata": {"name": "rbac"}, "rules": [kind | {"verbs": ["create"]}]})
    reference = {"kind": "ClusterRole", "name": "rbac"}
    body: Any = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [ALICE_SUBJECT]}
    await api.create(f"{RBAC}/clusterrolebindings", body)
    body = {"metadata": {"name": name}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
    with pytest.raises(Forbidden, match="must have cluster-admin privileges to use an aggregationRule"):
        await api.create(f"{RBAC}/clusterroles", body, user=ALICE)


async def test_a_labelled_role_is_aggregated(api: MemoryApi) -> None:
    aggregation = Aggregation(api.parts.store, api.parts.pipeline.writer, own_request())
    added = rule("get", "widgets", "example.com")
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    async with asyncio.TaskGroup() as group:
        running = group.create_task(aggregation.run(), name="aggregation")
        async with api.watch(f"{RBAC}/clusterroles?fieldSelector=metadata.name=admin") as events:
            first = await events.next()
            assert first.type == "ADDED"
            body = {"metadata": {"name": "widgets", "labels": labels}, "rules": [added]}
            await api.create(f"{RBAC}/clusterroles", body)
            # view, then edit, then admin
            assert added in (await events.next()).object["rules"]
        running.cancel()
    assert added in (await api.get(f"{RBAC}/clusterroles/view"))["rules"]


async def test_default_roles_are_completed_unless_somebody_keeps_them(api: MemoryApi) -> None:
    clusterroles = f"{RBAC}/clusterroles"
    annotation = "rbac.authorization.kubernetes.io/autoupdate"
    kept = {"metadata": {"annotations": {annotation: "false"}}, "rules": []}
    await api.patch(f"{clusterroles}/system:kube-dns", kept)
    added = rule("get", "widgets", "example.com")
    await api.patch(f"{clusterroles}/system:basic-user", {"rules": [added], "metadata": {"labels": None}})
    await api.delete(f"{clusterroles}/system:heapster")
    await api.patch(f"{RBAC}/clusterrolebindings/system:discovery", {"subjects": []})
    assert await api.code("GET", "/apis", user=ALICE) == 403
    await bootstrap_roles(api.parts.store, api.parts.pipeline.writer, own_request())
    assert (await api.get(f"{clusterroles}/system:kube-dns"))["rules"] == []
    rules = (await api.get(f"{clusterroles}/system:basic-user"))["rules"]
    assert rules[0] == added
    assert len(rules) == 3
    assert await api.code("GET", f"{clusterroles}/system:heapster") == 200
    assert await api.code("GET", "/apis", user=ALICE) == 200


async def test_a_rules_review_lists_what_a_caller_holds(api: MemoryApi) -> None:
    url = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    await role(api, "reader", rule("get", "pods", resourceNames=["p"]))
    await bind(api, "reader", ALICE_SUBJECT)
    status = (await api.create(url, {"spec": {"namespace": "default"}}, user=ALICE))["status"]
    assert rule("get", "pods", resourceNames=["p"]) in status["resourceRules"]
    assert "/apis/*" in status["nonResourceRules"][0]["nonResourceURLs"]
    assert status["incomplete"] is False
    assert await api.code("POST", url, {"spec": {}}, user=ALICE) == 400


async def test_an_access_review_tells_which_binding_allows(api: MemoryApi) -> None:
    url = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    await bind(api, "view", {"kind": "ServiceAccount", "name": "web", "namespace": "default"}, kind="ClusterRole")
    attributes = {"verb": "list", "resource": "pods", "namespace": "default"}
    answer = await api.create(url, {"spec": {"user": ACCOUNT.name, "resourceAttributes": attributes}})
    assert answer["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "view-web/default" of ClusterRole "view" to ServiceAccount '
        '"web/default"',
    }


async def test_who_may_change_does_not_create_by_it(api: MemoryApi) -> None:
    await role(api, "changer", rule("patch update get", "configmaps services"))
    await bind(api, "changer", ALICE_SUBJECT)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    url = f"{DEFAULT}/configmaps/c?fieldManager=test"
    with pytest.raises(Forbidden, match='cannot create resource "configmaps"'):
        await api.patch(url, body, "apply", user=ALICE)
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    assert await api.code("PUT", f"{DEFAULT}/services/s", service, user=ALICE) == 403
    await api.create(f"{DEFAULT}/configmaps", body)
    await api.patch(url, body | {"data": {"a": "b"}}, "apply", user=ALICE)


async def test_reading_is_not_enough_to_run_something_in_a_pod(api: MemoryApi) -> None:
    await role(api, "reader", rule("get", "pods/exec pods/log"))
    await bind(api, "reader", ALICE_SUBJECT)
    with pytest.raises(Forbidden, match='cannot create resource "pods/exec"'):
        await api.get(f"{DEFAULT}/pods/p/exec?command=id", user=ALICE)
    assert await api.code("GET", f"{DEFAULT}/pods/p/log", user=ALICE) == 404
