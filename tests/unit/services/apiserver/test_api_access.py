"""Who may do what: administrators, nodes, service accounts, strangers."""

from typing import Any

import pytest

from shared.errors import Forbidden, Unauthorized
from shared.identity import tokens
from shared.identity.users import ANONYMOUS, AUTHENTICATED, MASTERS, User
from tests.unit.services.apiserver.memory_api import ALICE, NODE, MemoryApi

DEFAULT = "/api/v1/namespaces/default"
PODS = f"{DEFAULT}/pods"
SECRETS = f"{DEFAULT}/secrets"


async def pod_on(api: MemoryApi, name: str, node: str, **spec: object) -> dict[str, dict[str, str]]:
    containers = [{"name": "app", "image": "app:1"}]
    body = {"metadata": {"name": name}, "spec": {"containers": containers, "nodeName": node, **spec}}
    made: dict[str, dict[str, str]] = await api.create(PODS, body)
    return made


async def test_strangers_see_health_and_version_alone(api: MemoryApi) -> None:
    for path in ("/version", "/healthz", "/livez", "/readyz"):
        assert await api.code("GET", path, user=ANONYMOUS) == 200
    for path in ("/api", "/apis", "/openapi/v3", "/metrics", PODS, "/api/v1/gadgets"):
        assert await api.code("GET", path, user=ANONYMOUS) == 403


async def test_everybody_known_may_discover_and_ask_about_himself(api: MemoryApi) -> None:
    assert await api.code("GET", "/apis", user=ALICE) == 200
    review = await api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, user=ALICE)
    assert review["status"]["userInfo"]["username"] == "alice"
    asked = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}}
    answer = await api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked, user=ALICE)
    assert answer["status"]["allowed"] is False


async def test_a_refusal_is_worded_as_clients_expect(api: MemoryApi) -> None:
    with pytest.raises(Forbidden) as refused:
        await api.get(PODS, user=ALICE)
    assert refused.value.message == (
        'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    with pytest.raises(Forbidden) as refused:
        await api.get("/apis/apps/v1/namespaces/x/deployments/d/scale", user=ALICE)
    assert refused.value.message == (
        'deployments.apps "d" is forbidden: User "alice" cannot get resource "deployments/scale" in API group "apps" '
        'in the namespace "x"'
    )


async def test_a_node_reads_its_own_pods_alone(api: MemoryApi) -> None:
    await pod_on(api, "mine", "node-1")
    await pod_on(api, "other", "node-2")
    assert await api.code("GET", f"{PODS}/mine", user=NODE) == 200
    assert await api.code("GET", f"{PODS}/other", user=NODE) == 403
    assert await api.code("GET", "/api/v1/pods", user=NODE) == 403
    listed = await api.get("/api/v1/pods?fieldSelector=spec.nodeName=node-1", user=NODE)
    assert [one["metadata"]["name"] for one in listed["items"]] == ["mine"]
    assert await api.code("GET", "/api/v1/pods?fieldSelector=spec.nodeName=node-2", user=NODE) == 403
    assert await api.code("GET", "/api/v1/pods?fieldSelector=spec.nodeName!=node-1", user=NODE) == 403


async def test_a_node_reads_the_secrets_its_pods_use(api: MemoryApi) -> None:
    for name in ("used", "unused", "elsewhere"):
        await api.create(SECRETS, {"metadata": {"name": name}})
    await pod_on(api, "p", "node-1", volumes=[{"name": "v", "secret": {"secretName": "used"}}])
    await pod_on(api, "q", "node-2", volumes=[{"name": "v", "secret": {"secretName": "elsewhere"}}])
    codes = [await api.code("GET", f"{SECRETS}/{name}", user=NODE) for name in ("used", "unused", "elsewhere")]
    assert codes == [200, 403, 403]
    assert await api.code("GET", f"{SECRETS}?fieldSelector=metadata.name=used", user=NODE) == 200
    assert await api.code("GET", SECRETS, user=NODE) == 403
    await api.delete(f"{PODS}/p?gracePeriodSeconds=0")
    assert await api.code("GET", f"{SECRETS}/used", user=NODE) == 403


async def test_a_node_reports_on_its_pods_without_moving_them(api: MemoryApi) -> None:
    await pod_on(api, "mine", "node-1")
    await pod_on(api, "other", "node-2")
    running = {"status": {"phase": "Running"}}
    assert (await api.patch(f"{PODS}/mine/status", running, user=NODE))["status"]["phase"] == "Running"
    with pytest.raises(Forbidden):
        await api.patch(f"{PODS}/other/status", running, user=NODE)
    with pytest.raises(Forbidden, match="cannot update labels"):
        await api.patch(f"{PODS}/mine/status", {"metadata": {"labels": {"app": "db"}}}, user=NODE)
    assert await api.code("DELETE", f"{PODS}/mine?gracePeriodSeconds=0", user=NODE) == 200
    assert await api.code("DELETE", f"{PODS}/other?gracePeriodSeconds=0", user=NODE) == 403


async def test_a_node_registers_itself_and_no_other(api: MemoryApi) -> None:
    nodes = "/api/v1/nodes"
    assert await api.code("POST", nodes, {"metadata": {"name": "node-2"}}, user=NODE) == 403
    assert await api.code("POST", nodes, {"metadata": {"name": "node-1"}}, user=NODE) == 200
    own = await api.get(f"{nodes}/node-1", user=NODE)
    own["metadata"]["annotations"] = {"a": "b"}
    assert await api.code("PUT", f"{nodes}/node-1", own, user=NODE) == 200
    await api.create(nodes, {"metadata": {"name": "node-2"}})
    assert await api.code("PUT", f"{nodes}/node-2", {"metadata": {"name": "node-2"}}, user=NODE) == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{DEFAULT}/configmaps"),
        ("POST", PODS),
        ("GET", "/apis/apps/v1/deployments"),
        ("DELETE", "/api/v1/nodes/node-1"),
        ("POST", f"{PODS}/p/binding"),
        ("POST", f"{PODS}/p/exec"),
        ("GET", "/metrics"),
    ],
)
async def test_a_node_may_not(api: MemoryApi, method: str, path: str) -> None:
    assert await api.code(method, path, {"metadata": {"name": "x"}}, user=NODE) == 403


async def test_a_node_gets_tokens_for_its_pods_alone(api: MemoryApi) -> None:
    mine, other = await pod_on(api, "mine", "node-1"), await pod_on(api, "other", "node-2")
    url = f"{DEFAULT}/serviceaccounts/default/token"

    def bound(pod: dict[str, dict[str, str]]) -> dict[str, object]:
        reference = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        return {"spec": {"boundObjectRef": reference}}

    answer = await api.create(url, bound(mine), user=NODE)
    claims = tokens.verify(api.key, answer["status"]["token"]).claims["kubernetes.io"]
    assert claims["pod"]["uid"] == mine["metadata"]["uid"]
    assert claims["node"]["name"] == "node-1"
    assert await api.code("POST", url, bound(other), user=NODE) == 403
    assert await api.code("POST", url, {"spec": {}}, user=NODE) == 403


async def test_a_token_dies_with_its_account(api: MemoryApi) -> None:
    await api.create(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "web"}})
    answer = await api.create(f"{DEFAULT}/serviceaccounts/web/token", {"spec": {}})
    headers = {"authorization": f"Bearer {answer['status']['token']}"}
    user = await api.parts.authenticator.authenticate(headers, None)
    assert user.name == "system:serviceaccount:default:web"
    await api.delete(f"{DEFAULT}/serviceaccounts/web")
    await api.create(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "web"}})
    with pytest.raises(Unauthorized):
        await api.parts.authenticator.authenticate(headers, None)


async def test_a_token_review_tells_whom_a_token_names(api: MemoryApi) -> None:
    url = "/apis/authentication.k8s.io/v1/tokenreviews"
    answer = await api.create(f"{DEFAULT}/serviceaccounts/default/token", {"spec": {}})
    good = await api.create(url, {"spec": {"token": answer["status"]["token"]}})
    assert good["status"]["user"]["username"] == "system:serviceaccount:default:default"
    bad = await api.create(url, {"spec": {"token": "garbage"}})
    assert "authenticated" not in bad["status"]


async def test_a_client_certificate_names_user_and_groups(api: MemoryApi) -> None:
    subject = ((("organizationName", MASTERS),), (("commonName", "ada"),))
    user = await api.parts.authenticator.authenticate({}, {"subject": subject})
    assert user == User("ada", (MASTERS, AUTHENTICATED))


@pytest.mark.parametrize("header", ["", "Basic dTpw", "Bearer"])
async def test_without_a_token_the_caller_is_anonymous(api: MemoryApi, header: str) -> None:
    assert await api.parts.authenticator.authenticate({"authorization": header}, None) == ANONYMOUS


async def test_a_wrong_token_is_no_anonymous_caller(api: MemoryApi) -> None:
    with pytest.raises(Unauthorized):
        await api.parts.authenticator.authenticate({"authorization": "Bearer wrong"}, None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 200),
        ({"annotations": {}}, 403),
        ({"nodeName": "node-2"}, 403),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, 403),
        ({"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node-2", "uid": "x"}]}, 403),
    ],
)
async def test_a_node_creates_mirrors_of_its_static_pods_alone(
    api: MemoryApi, changes: dict[str, Any], code: int
) -> None:
    metadata: dict[str, Any] = {"name": "m", "annotations": {"kubernetes.io/config.mirror": "hash"}}
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i:1"}], "nodeName": "node-1"}
    for name, value in changes.items():
        (metadata if name in ("annotations", "ownerReferences") else spec)[name] = value
    pod = {"metadata": metadata, "spec": spec}
    assert await api.code("POST", "/api/v1/namespaces/default/pods", pod, user=NODE) == code


async def test_a_node_lets_the_volumes_it_made_go_and_no_others(api: MemoryApi) -> None:
    volumes = "/api/v1/persistentvolumes"

    async def make(name: str, node: str) -> None:
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        await api.create(
            volumes,
            {
                "metadata": {
                    "name": name,
                    "finalizers": ["wherry.io/local-path"],
                    "annotations": {"pv.kubernetes.io/provisioned-by": "wherry.io/local-path"},
                },
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "local": {"path": "/x"},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
                },
            },
        )

    await make("mine", "node-1")
    await make("other", "node-2")
    release = {"metadata": {"finalizers": []}}
    await api.patch(f"{volumes}/mine", release, user=NODE)
    with pytest.raises(Forbidden, match="no relationship found"):
        await api.patch(f"{volumes}/other", release, user=NODE)
    with pytest.raises(Forbidden, match="cannot change the spec"):
        await api.patch(f"{volumes}/mine", {"spec": {"capacity": {"storage": "9Gi"}}}, user=NODE)
    assert await api.code("GET", f"{volumes}/other", user=NODE) == 200
