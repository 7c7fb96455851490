"""Webhooks over real HTTPS: what they are told, what their answers do, and what happens when they fail."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.events.envelope import Author
from shared.objects import registry
from tests.fakes.webhooks import WebhookServer, configuration, patch, rule, webhook_server
from tests.unit.services.apiserver.admission.objects import Object, config_map, pod
from tests.unit.services.apiserver.memory_api import MemoryApi

GROUP = "/apis/admissionregistration.k8s.io/v1"
VALIDATING, MUTATING = f"{GROUP}/validatingwebhookconfigurations", f"{GROUP}/mutatingwebhookconfigurations"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DENIED = {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": "no"}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path, names=("localhost", "hook.default.svc")) as started:
        yield started


async def validating(api: MemoryApi, *webhooks: Object, name: str = "hooks") -> None:
    await api.create(VALIDATING, configuration("Validating", *webhooks, name=name))


async def mutating(api: MemoryApi, *webhooks: Object, name: str = "hooks") -> None:
    await api.create(MUTATING, configuration("Mutating", *webhooks, name=name))


def label(name: str, value: str = "x") -> Object:
    return {"op": "add", "path": f"/metadata/labels/{name}", "value": value}


async def test_a_webhook_is_told_who_does_what(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook(rules=[rule(operations=["*"])]))
    await api.create(f"{MAPS}?fieldManager=me", config_map())
    await api.patch(f"{MAPS}/c", {"data": {"a": "b"}})
    await api.delete(f"{MAPS}/c")
    created, changed, deleted = server.reviews
    assert created["operation"] == "CREATE"
    assert created["object"]["metadata"]["uid"]
    assert "oldObject" not in created
    assert created["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert created["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (created["namespace"], created["name"], created["dryRun"]) == ("default", "c", False)
    assert created["userInfo"]["username"] == "admin"
    assert created["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
    assert changed["object"]["data"] == {"a": "b"}
    assert "data" not in changed["oldObject"]
    assert changed["options"]["kind"] == "PatchOptions"
    assert deleted["operation"] == "DELETE"
    assert deleted["oldObject"]["data"] == {"a": "b"}
    assert "object" not in deleted
    assert server.paths == ["/hook?timeout=5s"] * 3


async def test_a_refusal_keeps_the_webhooks_own_status(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook())
    server.respond = lambda request: {**DENIED, "warnings": ["think again"]}
    failure = await api.failure("POST", MAPS, config_map())
    assert (failure.code, failure.reason) == (403, "Forbidden")
    assert failure.message == 'admission webhook "check.example.com" denied the request: no'
    server.respond = lambda request: {"allowed": False}
    failure = await api.failure("POST", MAPS, config_map())
    assert failure.code == 400
    assert failure.message == 'admission webhook "check.example.com" denied the request without explanation'


async def test_warnings_reach_the_client(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook())
    server.respond = lambda request: {"allowed": True, "warnings": ["think again"]}
    await api.create(MAPS, config_map())
    assert api.warnings == ["think again"]


async def test_patches_are_applied_in_order_pruned_and_defaulted(api: MemoryApi, server: WebhookServer) -> None:
    seen = []

    def respond(request: Object) -> Object:
        labels = request["object"]["metadata"].get("labels")
        seen.append(dict(labels or {}))
        if labels:
            return patch(label(f"n{len(seen)}"))
        first = {"op": "add", "path": "/metadata/labels", "value": {"n0": "x"}}
        return patch(first, {"op": "add", "path": "/nonsense", "value": 1})

    server.respond = respond
    await mutating(api, server.webhook("b.example.com"), name="b")
    await mutating(api, server.webhook("a.example.com"), server.webhook("z.example.com"), name="a")
    made = await api.create(MAPS, config_map())
    assert made["metadata"]["labels"] == {"n0": "x", "n2": "x", "n3": "x"}
    assert seen == [{}, {"n0": "x"}, {"n0": "x", "n2": "x"}]
    assert "nonsense" not in made


async def test_what_a_webhook_makes_of_a_pod_is_completed_and_validated(api: MemoryApi, server: WebhookServer) -> None:
    await mutating(api, server.webhook(rules=[rule(resources=["pods"])]))
    container = {"name": "side", "image": "side:1", "ports": [{"containerPort": 80}]}
    server.respond = lambda request: patch({"op": "add", "path": "/spec/containers/-", "value": container})
    side = (await api.create(PODS, pod()))["spec"]["containers"][1]
    assert side["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert side["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    container["name"] = "Not a name"
    assert await api.code("POST", PODS, pod("q")) == 422


async def test_a_webhook_is_asked_again_after_others_changed_what_it_saw(api: MemoryApi, server: WebhookServer) -> None:
    asked: list[str] = []

    def respond(request: Object) -> Object:
        annotations = request["object"]["metadata"].get("annotations") or {}
        asked.append(str(len(annotations)))
        if not annotations:
            return patch({"op": "add", "path": "/metadata/annotations", "value": {"first": "1"}})
        return patch({"op": "add", "path": "/metadata/annotations/second", "value": "2"})

    server.respond = respond
    first = server.webhook("a.example.com", reinvocationPolicy="IfNeeded")
    await mutating(api, first, server.webhook("b.example.com"))
    await api.create(MAPS, config_map())
    assert asked == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("more", "asks"),
    [
        ({"objectSelector": {"matchLabels": {"a": "b"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ({"rules": [rule(resources=["*/*"])]}, True),
        ({"rules": [rule(resources=["*"], apiGroups=["*"], apiVersions=["*"])]}, True),
        ({"rules": [rule(scope="Cluster")]}, False),
        ({"rules": [rule(scope="Namespaced")]}, True),
        ({"rules": [rule(operations=["UPDATE", "DELETE"])]}, False),
        ({"matchConditions": [{"name": "n", "expression": "object.metadata.name == 'c'"}]}, True),
        ({"matchConditions": [{"name": "n", "expression": "request.userInfo.username != 'admin'"}]}, False),
        (
            {
                "matchConditions": [
                    {"name": "n", "expression": "authorizer.group('').resource('pods').check('get').allowed()"},
                    {"name": "m", "expression": "authorizer.requestResource.check('create').allowed()"},
                ]
            },
            True,
        ),
    ],
)
async def test_a_webhook_hears_only_of_what_it_selects(
    api: MemoryApi, server: WebhookServer, more: Object, asks: bool
) -> None:
    await validating(api, server.webhook(**more))
    await api.create(MAPS, config_map())
    assert bool(server.reviews) is asks


async def test_a_failing_condition_refuses_unless_failures_are_ignored(api: MemoryApi, server: WebhookServer) -> None:
    broken = {"matchConditions": [{"name": "n", "expression": "object.spec.none == 1"}]}
    await validating(api, server.webhook(**broken, failurePolicy="Ignore"), name="a")
    await api.create(MAPS, config_map("a"))
    await validating(api, server.webhook(**broken), name="b")
    failure = await api.failure("POST", MAPS, config_map("b"))
    assert failure.code == 403
    assert "no such key: spec" in failure.message
    assert server.reviews == []


async def test_an_unreachable_webhook_refuses_or_lets_pass_as_it_wishes(api: MemoryApi, server: WebhookServer) -> None:
    nowhere = {"clientConfig": {"url": "https://127.0.0.1:9/hook"}}
    await validating(api, server.webhook(**nowhere, failurePolicy="Ignore"), name="a")
    await api.create(MAPS, config_map("a"))
    await validating(api, server.webhook(**nowhere), name="b")
    failure = await api.failure("POST", MAPS, config_map("b"))
    assert (failure.code, failure.reason) == (500, "InternalError")
    assert failure.message == (
        'Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: '
        'Post "https://127.0.0.1:9/hook?timeout=5s": dial tcp 127.0.0.1:9: connect: connection refused'
    )


async def test_a_server_that_the_bundle_does_not_vouch_for_is_not_asked(
    api: MemoryApi, server: WebhookServer, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with webhook_server(other) as stranger:
        await validating(api, server.webhook(clientConfig={"url": server.url, "caBundle": stranger.bundle}))
        failure = await api.failure("POST", MAPS, config_map())
    assert "tls: failed to verify certificate" in failure.message
    assert server.reviews == []


async def test_a_slow_webhook_is_given_up(api: MemoryApi) -> None:
    accepted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        hook = WebhookServer(f"https://127.0.0.1:{port}/", "").webhook(timeoutSeconds=1)
        await validating(api, hook)
        failure = await api.failure("POST", MAPS, config_map())
    assert accepted.is_set()
    assert failure.message.endswith("context deadline exceeded")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"uid": "another", "allowed": True}, "expected response.uid="),
        ({"allowed": True, "patch": "W10="}, "webhook response.patch may not be set"),
    ],
)
async def test_an_answer_to_something_else_counts_as_none(
    api: MemoryApi, server: WebhookServer, answer: Object, why: str
) -> None:
    await validating(api, server.webhook())
    server.respond = lambda request: answer
    failure = await api.failure("POST", MAPS, config_map())
    assert failure.code == 500
    assert f"received invalid webhook response: {why}" in failure.message


async def test_an_error_of_the_webhook_is_told(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook())
    server.status = 503
    assert "the server answered 503" in (await api.failure("POST", MAPS, config_map())).message


async def test_a_dry_run_asks_only_webhooks_without_side_effects(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook(sideEffects="NoneOnDryRun"))
    await api.create(f"{MAPS}?dryRun=All", config_map())
    assert server.reviews[0]["dryRun"] is True
    assert server.reviews[0]["options"]["dryRun"] == ["All"]


async def test_subresources_are_matched_by_name(api: MemoryApi, server: WebhookServer) -> None:
    rules = [
        rule(apiGroups=["apps"], operations=["UPDATE"], resources=["deployments/scale"]),
        rule(operations=["CREATE"], resources=["pods/binding", "pods/eviction"]),
        rule(operations=["UPDATE"], resources=["pods/status"]),
    ]
    await validating(api, server.webhook(rules=rules))
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    await api.create(deployments, body)
    await api.patch(f"{deployments}/d/scale", {"spec": {"replicas": 3}})
    await api.create(PODS, pod())
    await api.create(f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}})
    await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})
    scaled, bound, status = server.reviews
    assert (scaled["subResource"], scaled["kind"]["kind"]) == ("scale", "Scale")
    assert (scaled["object"]["spec"]["replicas"], scaled["oldObject"]["spec"]["replicas"]) == (3, 1)
    assert (bound["operation"], bound["kind"]["kind"], bound["object"]["target"]["name"]) == ("CREATE", "Binding", "n")
    assert status["object"]["status"]["phase"] == "Running"


async def test_a_webhook_changes_a_scale(api: MemoryApi, server: WebhookServer) -> None:
    await mutating(api, server.webhook(rules=[rule(apiGroups=["apps"], operations=["UPDATE"], resources=["*/scale"])]))
    server.respond = lambda request: patch({"op": "replace", "path": "/spec/replicas", "value": 2})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    await api.create(deployments, body)
    await api.patch(f"{deployments}/d/scale", {"spec": {"replicas": 9}})
    assert (await api.get(f"{deployments}/d"))["spec"]["replicas"] == 2


async def test_another_version_of_a_resource_is_shown_as_the_rule_names_it(
    api: MemoryApi, server: WebhookServer
) -> None:
    versions = {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"]}
    await validating(api, server.webhook(rules=[rule(**versions, apiVersions=["v2"])]))
    exact = server.webhook("exact.example.com", rules=[rule(**versions, apiVersions=["v2"])], matchPolicy="Exact")
    await validating(api, exact, name="exact")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    await api.create(path, {"metadata": {"name": "h"}, "spec": spec})
    (review,) = server.reviews
    assert review["object"]["apiVersion"] == "autoscaling/v2"
    assert review["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert (review["kind"]["version"], review["requestKind"]["version"]) == ("v2", "v1")


async def test_webhook_configurations_are_never_judged_by_webhooks(api: MemoryApi, server: WebhookServer) -> None:
    everything = rule(apiGroups=["*"], apiVersions=["*"], operations=["*"], resources=["*/*"])
    await validating(api, server.webhook(rules=[everything]))
    server.respond = lambda request: DENIED
    assert await api.code("POST", MAPS, config_map()) == 403
    await api.delete(f"{VALIDATING}/hooks")
    await api.create(MAPS, config_map())


async def test_a_service_is_reached_at_an_endpoint_under_its_own_name(api: MemoryApi, server: WebhookServer) -> None:
    service = {"namespace": "default", "name": "hook", "path": "/check"}
    await validating(api, server.webhook(clientConfig={"service": service, "caBundle": server.bundle}))
    assert 'service "hook" not found' in (await api.failure("POST", MAPS, config_map())).message
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    body: Object = {"metadata": {"name": "hook"}, "spec": {"ports": [{"name": "https", "port": 443}]}}
    await api.create("/api/v1/namespaces/default/services", body)
    assert "no endpoints available" in (await api.failure("POST", MAPS, config_map())).message
    endpoints: Object = {
        "metadata": {"name": "hook-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port}],
    }
    slices = registry.by_plural("discovery.k8s.io", "v1", "endpointslices")
    assert slices is not None
    # past validation, which knows that no endpoint has an address of the loopback interface
    await api.parts.store.create(slices, endpoints, Author("test"))
    await api.create(MAPS, config_map())
    assert server.paths == ["/check?timeout=5s"]
    assert server.hosts == ["hook.default.svc"]


async def test_calls_and_refusals_are_counted(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook("counted.example.com"))
    server.respond = lambda request: DENIED
    await api.failure("POST", MAPS, config_map())
    page = (await api.get("/metrics")).decode()
    labels = 'error_type="no_error",name="counted.example.com",operation="CREATE",rejection_code="403"'
    assert f'apiserver_admission_webhook_rejection_count{{{labels},type="validating"}} 1.0' in page
    assert 'apiserver_admission_webhook_admission_duration_seconds_count{name="counted.example.com"' in page


async def test_connections_to_pods_are_asked_about(api: MemoryApi, server: WebhookServer) -> None:
    connects = rule(operations=["CONNECT"], resources=["pods/exec", "pods/portforward"])
    await validating(api, server.webhook(rules=[connects]))
    server.respond = lambda request: DENIED
    await api.create(PODS, pod())
    failure = await api.failure("POST", f"{PODS}/p/exec?command=sh&command=-c&container=app&stdin=true&tty=true")
    assert failure.code == 403
    (review,) = server.reviews
    assert (review["operation"], review["subResource"], review["name"]) == ("CONNECT", "exec", "p")
    assert review["object"] == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdin": True,
        "tty": True,
        "container": "app",
        "command": ["sh", "-c"],
    }
    assert await api.code("POST", f"{PODS}/p/portforward?ports=80") == 403


async def test_proxied_requests_are_asked_about_with_their_path(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook(rules=[rule(operations=["CONNECT"], resources=["services/proxy"])]))
    server.respond = lambda request: DENIED
    failure = await api.failure("PUT", "/api/v1/namespaces/default/services/http:web:80/proxy/a/b?tty=1")
    assert failure.code == 403
    (review,) = server.reviews
    assert (review["operation"], review["subResource"], review["name"]) == ("CONNECT", "proxy", "http:web:80")
    assert review["object"] == {"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/a/b"}


async def test_evictions_and_tokens_are_asked_about_once(api: MemoryApi, server: WebhookServer) -> None:
    rules = [
        rule(operations=["*"], resources=["pods/eviction", "serviceaccounts/token"]),
        rule(operations=["DELETE"], resources=["pods"]),
    ]
    await mutating(api, server.webhook(rules=rules))
    await api.create(PODS, pod())
    await api.create(f"{PODS}/p/eviction", {"metadata": {"name": "p"}, "apiVersion": "policy/v1", "kind": "Eviction"})
    seconds = {"op": "add", "path": "/spec/expirationSeconds", "value": 900}
    server.respond = lambda request: patch(seconds)
    account = "/api/v1/namespaces/default/serviceaccounts/default/token"
    answer = await api.create(account, {"spec": {"audiences": ["a"]}})
    assert answer["spec"]["expirationSeconds"] == 900
    assert [(one["operation"], one["subResource"]) for one in server.reviews] == [
        ("CREATE", "eviction"),
        ("CREATE", "token"),
    ]


async def test_every_object_of_a_collection_is_asked_about(api: MemoryApi, server: WebhookServer) -> None:
    await validating(api, server.webhook(rules=[rule(operations=["DELETE"])]))
    for name in ("a", "b"):
        await api.create(MAPS, config_map(name, labels={"own": "yes"}))
    server.respond = lambda request: {"allowed": request["name"] == "a"}
    assert await api.code("DELETE", f"{MAPS}?labelSelector=own%3Dyes") == 400
    left = await api.get(f"{MAPS}?labelSelector=own%3Dyes")
    assert [one["metadata"]["name"] for one in left["items"]] == ["b"]
