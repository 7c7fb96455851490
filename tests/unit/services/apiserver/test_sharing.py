"""A changed pod shares with the stored one what does not change; nobody may notice."""

from typing import Any

import pytest

from services.apiserver import strategies
from services.apiserver.decoding import decode
from services.apiserver.protocol import Query, Request
from shared.events.subjects import Ref
from shared.objects import decoding, defaults, json, meta, patches, registry
from shared.state.cache import Record
from tests.unit.services.apiserver.memory_api import ADMIN, MemoryApi

PODS = "/api/v1/namespaces/default/pods"
WEB = f"{PODS}/web"
CONTAINER = {
    "name": "web",
    "image": "web:1",
    "ports": [{"containerPort": 80}],
    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"memory": "1Gi", "cpu": "500m"}},
}
POD = {
    "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"a": "1"}},
    "spec": {"containers": [CONTAINER]},
}
STATUS = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T08:15:35Z"}],
    "containerStatuses": [
        {"name": "web", "ready": True, "restartCount": 0, "image": "web:1", "imageID": "", "state": {"running": {}}}
    ],
}
EPHEMERAL = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:1"}]}}
RESIZED = {"spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "600m"}}}]}}
PATCHES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("merge", "", {"metadata": {"annotations": {"a": "2", "b": None}}}),
    ("merge", "", {"metadata": {"labels": None, "finalizers": ["example.com/hold"]}}),
    ("merge", "/status", {"status": {"message": "fine"}}),
    ("merge", "/status", {"status": None}),
    ("strategic", "", {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}),
    ("strategic", "", {"spec": {"activeDeadlineSeconds": 600}}),
    ("strategic", "/status", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
    ("strategic", "/status", {"status": {"$retainKeys": ["phase"], "phase": "Pending"}}),
    ("strategic", "/ephemeralcontainers", EPHEMERAL),
    ("strategic", "/resize", RESIZED),
    ("json", "", [{"op": "replace", "path": "/metadata/labels/app", "value": "other"}]),  # type: ignore[list-item]
    ("merge", "", {"spec": {"unknown": 1}, "unknown": 2}),
)


async def _record(api: MemoryApi) -> Record:
    await api.parts.store.state.cache.consistent()
    found = api.parts.store.state.cache.get(Ref("", "pods", "default", "web"))
    assert found is not None
    return found


async def _start(api: MemoryApi) -> Record:
    await api.create(PODS, POD)
    await api.patch(f"{WEB}/status", {"status": STATUS})
    return await _record(api)


@pytest.mark.parametrize(("kind", "path", "patch"), PATCHES)
async def test_a_patch_leaves_the_stored_pod_as_it_is(
    api: MemoryApi, kind: str, path: str, patch: dict[str, Any]
) -> None:
    before = await _start(api)
    kept = json.encode(before.object)
    await api.patch(f"{WEB}{path}", patch, kind)
    assert json.encode(before.object) == kept


@pytest.mark.parametrize("path", ["", "/status"])
async def test_an_update_leaves_the_stored_pod_as_it_is(api: MemoryApi, path: str) -> None:
    before = await _start(api)
    kept = json.encode(before.object)
    sent = await api.get(WEB)
    sent["metadata"]["labels"] |= {"step": "1"}
    sent["status"]["message"] = "changed"
    sent["spec"]["containers"][0]["image"] = "web:2"
    await api.update(f"{WEB}{path}", sent)
    assert json.encode(before.object) == kept
    assert (await _record(api)).revision > before.revision


async def test_deletion_leaves_the_stored_pod_as_it_is(api: MemoryApi) -> None:
    await _start(api)
    await api.patch(WEB, {"metadata": {"finalizers": ["example.com/hold"]}})
    before = await _record(api)
    kept = json.encode(before.object)
    await api.delete(WEB, {"propagationPolicy": "Foreground"})
    assert json.encode(before.object) == kept
    assert (await _record(api)).object["metadata"]["finalizers"] == ["example.com/hold", "foregroundDeletion"]


@pytest.mark.parametrize(("kind", "_", "patch"), [one for one in PATCHES if one[0] != "json"])
async def test_bringing_what_changed_into_form_is_bringing_all_of_it_into_form(
    api: MemoryApi, kind: str, _: str, patch: dict[str, Any]
) -> None:
    pods = registry.by_plural("", "v1", "pods")
    assert pods is not None
    old = (await _start(api)).object
    apply = patches.merge_patch if kind == "merge" else lambda *given: patches.strategic_merge(pods.schema, *given)
    shared = apply(old, patch)
    whole = meta.copy(shared)
    assert decoding.conform_changed(pods.schema, shared, old) == decoding.conform(pods.schema, whole)
    assert json.encode(shared) == json.encode(whole)


async def test_an_object_that_comes_back_is_decoded_to_what_it_was(api: MemoryApi) -> None:
    pods = registry.by_plural("", "v1", "pods")
    assert pods is not None
    old = (await _start(api)).object
    sent = meta.copy(old)
    sent["metadata"]["labels"]["step"] = "1"
    sent["spec"] |= {"unknown": True, "nodeSelector": {}}
    body = json.encode(sent)
    alone, sharing = (Request(ADMIN, "PUT", WEB, Query({}), {}, body) for _ in range(2))
    assert json.encode(decode(sharing, pods, old)) == json.encode(decode(alone, pods))
    assert sharing.warnings == alone.warnings == ['unknown field "spec.unknown"']


def test_equal_numbers_of_another_type_are_not_taken_for_the_same() -> None:
    pods = registry.by_plural("", "v1", "pods")
    assert pods is not None
    old: dict[str, Any] = {"metadata": {}, "spec": {"priority": 1}}
    new: dict[str, Any] = {"metadata": {}, "spec": {"priority": True}}
    strategies.share_spec(pods, new, old)
    assert new["spec"] == {"priority": True}
    assert new["spec"]["priority"] is True


def test_a_spec_that_has_its_defaults_is_left_alone() -> None:
    pods = registry.by_plural("", "v1", "pods")
    assert pods is not None
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", **meta.copy(POD)}
    defaults.apply_defaults(pods, pod)
    filled = pod["spec"]
    assert list(filled["containers"][0]["resources"]["requests"]) == ["cpu", "memory"]
    defaults.apply_defaults(pods, pod)
    assert pod["spec"] is filled
