"""What is recorded of requests, through the same door that clients use."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.apiserver.audit.auditor import Auditor
from services.apiserver.audit.ids import audit_id
from services.apiserver.audit.policy import parse
from services.apiserver.protocol import Query, Request
from shared.errors import Unauthorized
from shared.identity.users import ANONYMOUS, User
from tests.fakes.webhooks import configuration, patch, webhook_server
from tests.unit.services.apiserver.memory_api import ALICE, MemoryApi

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


class Recorder:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        assert line.count(b"\n") == 1
        self.events.append(msgspec.json.decode(line))

    def close(self) -> None:
        pass

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def audited(api: MemoryApi, recorder: Recorder, **rule: Any) -> MemoryApi:
    policy = parse({"rules": [{"level": "Metadata", **rule}]})
    auditor = Auditor(policy, recorder, api.parts.pipeline.authorizer)
    pipeline = dataclasses.replace(api.parts.pipeline, auditor=auditor)
    return dataclasses.replace(api, parts=dataclasses.replace(api.parts, pipeline=pipeline))


async def test_a_request_is_recorded_when_it_comes_and_when_it_is_answered(api: MemoryApi, recorder: Recorder) -> None:
    await audited(api, recorder).create(
        f"{CONFIGMAPS}?fieldManager=a b", {"metadata": {"name": "c"}}, headers={"audit-id": "mine", "user-agent": "x/1"}
    )
    received, complete = recorder.events
    assert [received["stage"], complete["stage"]] == ["RequestReceived", "ResponseComplete"]
    assert complete["auditID"] == "mine"
    assert complete["requestURI"] == f"{CONFIGMAPS}?fieldManager=a+b"
    assert (complete["verb"], complete["user"]["username"], complete["userAgent"]) == ("create", "admin", "x/1")
    place = {"resource": "configmaps", "namespace": "default", "name": "c", "apiVersion": "v1"}
    assert complete["objectRef"] == place
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert complete["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert received["requestReceivedTimestamp"] == complete["requestReceivedTimestamp"]
    assert "requestObject" not in complete
    assert "annotations" not in received


async def test_stages_can_be_left_out(api: MemoryApi, recorder: Recorder) -> None:
    await audited(api, recorder, omitStages=["RequestReceived"]).get(CONFIGMAPS)
    assert [event["stage"] for event in recorder.events] == ["ResponseComplete"]


async def test_what_no_rule_fits_is_not_recorded(api: MemoryApi, recorder: Recorder) -> None:
    await audited(api, recorder, verbs=["create"]).get(CONFIGMAPS)
    assert recorder.events == []


async def test_bodies_are_recorded_at_the_levels_that_ask_for_them(api: MemoryApi, recorder: Recorder) -> None:
    sent = {"metadata": {"name": "c"}, "data": {"a": "1"}}
    await audited(api, recorder, level="Request").create(CONFIGMAPS, sent)
    assert recorder.last["requestObject"] == sent
    assert "responseObject" not in recorder.last
    full = audited(api, recorder, level="RequestResponse")
    await full.patch(f"{CONFIGMAPS}/c", [{"op": "add", "path": "/data/b", "value": "2"}], "json")
    assert recorder.last["requestObject"] == [{"op": "add", "path": "/data/b", "value": "2"}]
    assert recorder.last["responseObject"]["data"] == {"a": "1", "b": "2"}
    assert recorder.last["responseObject"]["metadata"]["managedFields"]
    await audited(api, recorder, level="RequestResponse", omitManagedFields=True).get(CONFIGMAPS)
    assert "c" in [one["metadata"]["name"] for one in recorder.last["responseObject"]["items"]]
    assert all("managedFields" not in one["metadata"] for one in recorder.last["responseObject"]["items"])


async def test_yaml_bodies_are_read_and_bad_ones_left_out(api: MemoryApi, recorder: Recorder) -> None:
    full = audited(api, recorder, level="Request")
    await full.call("POST", CONFIGMAPS, b"metadata: {name: yam}\n", headers={"content-type": "application/yaml"})
    assert recorder.last["requestObject"] == {"metadata": {"name": "yam"}}
    assert await full.code("POST", CONFIGMAPS, b"{") == 400
    assert "requestObject" not in recorder.last
    assert recorder.last["responseStatus"]["code"] == 400


async def test_a_refusal_is_recorded_with_its_reason(api: MemoryApi, recorder: Recorder) -> None:
    full = audited(api, recorder, level="RequestResponse")
    assert await full.code("GET", f"{CONFIGMAPS}/c", user=ALICE) == 403
    assert recorder.last["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert recorder.last["responseStatus"]["reason"] == "Forbidden"
    assert recorder.last["responseObject"]["kind"] == "Status"


async def test_the_role_that_allowed_a_request_is_told(api: MemoryApi, recorder: Recorder) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    await api.create(
        f"{rbac}/clusterrolebindings",
        {
            "metadata": {"name": "alice-views"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}],
        },
    )
    await audited(api, recorder).get(CONFIGMAPS, user=ALICE)
    reason = 'RBAC: allowed by ClusterRoleBinding "alice-views" of ClusterRole "view" to User "alice"'
    assert recorder.last["annotations"]["authorization.k8s.io/reason"] == reason


async def test_a_watch_is_recorded_when_it_begins_and_when_it_ends(api: MemoryApi, recorder: Recorder) -> None:
    async with audited(api, recorder).watch(CONFIGMAPS):
        assert [event["stage"] for event in recorder.events] == ["RequestReceived", "ResponseStarted"]
        assert recorder.last["verb"] == "watch"
    assert [event["stage"] for event in recorder.events[2:]] == ["ResponseComplete"]
    assert recorder.last["responseStatus"]["code"] == 200


async def test_impersonation_names_both_users(recorder: Recorder, api: MemoryApi) -> None:
    full = audited(api, recorder, users=["admin"])
    request = full.request("GET", CONFIGMAPS)
    request.user, request.impersonator = User("bob", ("system:masters",)), request.user
    await full.parts.pipeline.handle(request)
    assert recorder.last["user"]["username"] == "admin"
    assert recorder.last["impersonatedUser"] == {"username": "bob", "groups": ["system:masters"]}


def test_a_caller_that_is_not_known_is_recorded(api: MemoryApi, recorder: Recorder) -> None:
    full = audited(api, recorder)
    headers = {"x-forwarded-for": "192.0.2.1, nonsense"}
    request = Request(ANONYMOUS, "GET", CONFIGMAPS, Query({}), headers, b"", peer="10.0.0.9")
    assert full.parts.pipeline.auditor is not None
    full.parts.pipeline.auditor.refused(request, Unauthorized("Unauthorized"))
    assert (recorder.last["stage"], recorder.last["responseStatus"]["code"]) == ("ResponseStarted", 401)
    assert recorder.last["sourceIPs"] == ["192.0.2.1", "10.0.0.9"]


async def test_a_failure_of_the_server_is_a_panic(api: MemoryApi, recorder: Recorder) -> None:
    full = audited(api, recorder)

    async def fail(request: Request) -> Any:
        raise RuntimeError("broken")

    assert full.parts.pipeline.auditor is not None
    with pytest.raises(RuntimeError):
        await full.parts.pipeline.auditor.handle(full.request("GET", "/version"), fail)
    assert (recorder.last["stage"], recorder.last["responseStatus"]["code"]) == ("Panic", 500)


async def test_an_event_that_cannot_be_kept_does_not_fail_the_request(
    api: MemoryApi, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(line: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(recorder, "write", full)
    assert (await audited(api, recorder).get("/version"))["major"]


async def test_deprecated_kinds_and_pod_security_leave_annotations(api: MemoryApi, recorder: Recorder) -> None:
    full = audited(api, recorder)
    await full.get("/api/v1/namespaces/default/endpoints")
    assert recorder.last["annotations"]["k8s.io/deprecated"] == "true"
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/audit": "restricted",
    }
    await api.create("/api/v1/namespaces", {"metadata": {"name": "guarded", "labels": labels}})
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await full.create("/api/v1/namespaces/guarded/pods", pod)
    notes = recorder.last["annotations"]
    assert notes["pod-security.kubernetes.io/enforce-policy"] == "baseline:latest"
    assert notes["pod-security.kubernetes.io/audit-violations"].startswith(
        'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    )


async def test_a_policy_that_only_audits_leaves_annotations(api: MemoryApi, recorder: Recorder) -> None:
    admission = "/apis/admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "!has(object.data)", "message": "no data please"}],
        "auditAnnotations": [{"key": "name", "valueExpression": "'it is ' + object.metadata.name"}],
    }
    await api.create(f"{admission}/validatingadmissionpolicies", {"metadata": {"name": "watcher"}, "spec": spec})
    binding = {"policyName": "watcher", "validationActions": ["Audit"]}
    await api.create(
        f"{admission}/validatingadmissionpolicybindings", {"metadata": {"name": "watcher"}, "spec": binding}
    )
    await audited(api, recorder).create(CONFIGMAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    notes = recorder.last["annotations"]
    assert notes["watcher/name"] == "it is c"
    failed = msgspec.json.decode(notes["validation.policy.admission.k8s.io/validation_failure"])
    assert failed == [
        {
            "message": "no data please",
            "policy": "watcher",
            "binding": "watcher",
            "expressionIndex": 0,
            "validationActions": ["Audit"],
        }
    ]


async def test_what_webhooks_did_is_told_by_round_and_place(api: MemoryApi, recorder: Recorder, tmp_path: Path) -> None:
    async with webhook_server(tmp_path) as server:
        server.respond = lambda request: patch({"op": "add", "path": "/data", "value": {"a": "b"}})
        gone = {"clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": "Ignore"}
        hooks = configuration("Mutating", server.webhook("one.example.com"), server.webhook("two.example.com") | gone)
        await api.create("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", hooks)
        named = {"metadata": {"name": "x"}}
        await audited(api, recorder).create(f"{CONFIGMAPS}?dryRun=All", named)
        assert not any(key.startswith("patch.") for key in recorder.last["annotations"])
        await audited(api, recorder, level="Request").create(f"{CONFIGMAPS}?dryRun=All", named)
    notes = recorder.last["annotations"]
    first = {"configuration": "hooks", "webhook": "one.example.com"}
    second = {"configuration": "hooks", "webhook": "two.example.com"}
    at = "webhook.admission.k8s.io/round_0_index_"
    assert msgspec.json.decode(notes[f"mutation.{at}0"]) == first | {"mutated": True}
    assert msgspec.json.decode(notes[f"mutation.{at}1"]) == second | {"mutated": False}
    operations = [{"op": "add", "path": "/data", "value": {"a": "b"}}]
    assert msgspec.json.decode(notes[f"patch.{at}0"]) == first | {"patch": operations, "patchType": "JSONPatch"}
    assert notes[f"failed-open.mutating.{at}1"] == "two.example.com"


def test_an_id_is_the_clients_or_a_new_one() -> None:
    plain = Request(ANONYMOUS, "GET", "/", Query({}), {}, b"")
    assert audit_id(plain) == audit_id(plain) != audit_id(None)
    assert len(audit_id(plain)) == 36
    named = Request(ANONYMOUS, "GET", "/", Query({}), {"audit-id": "a" * 100}, b"")
    assert audit_id(named) == "a" * 64
