"""Bodies that mean harm, through the whole server: each is answered with a Status below 500, and the server goes on."""

import asyncio
import json
from typing import Any

import pytest

from services.apiserver import decoding
from services.apiserver.http import answers
from services.apiserver.protocol import PROTOBUF, Raw
from shared.objects import protobuf
from tests.unit.services.apiserver.memory_api import ADMIN, PATCHES, MemoryApi

PODS = "/api/v1/namespaces/default/pods"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
MEGABYTE = 1 << 20
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
PACKED = protobuf.encode(POD)

BODIES = {
    "deep arrays": ("application/json", b'{"metadata":' + b"[" * 100_000),
    "deep objects": ("application/json", b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "deep yaml": ("application/yaml", b"a: " + b"[" * 100_000),
    "deep yaml lists": ("application/yaml", b"- " * 100_000 + b"a"),
    "a long string": ("application/json", b'{"metadata":{"name":"' + b"x" * (3 * MEGABYTE - 64) + b'"}}'),
    "many keys twice": ("application/json", b"{" + b'"kind":"Pod",' * 100_000 + b'"kind":"Pod"}'),
    "many unknown fields": ("application/json", json.dumps({f"f{n}": n for n in range(90_000)}).encode()),
    "many elements": ("application/json", b'{"spec":{"containers":[' + b"{}," * 1_000_000 + b"{}]}}"),
    "no UTF-8": ("application/json", b'{"metadata":{"name":"\xff\xfe"}}'),
    "NaN": ("application/json", b'{"spec":{"priority":NaN}}'),
    "a huge number": ("application/json", b'{"spec":{"priority":1e999}}'),
    "more digits than are read": ("application/json", b'{"spec":{"priority":' + b"9" * 5000 + b"}}"),
    "beyond 64 bits": ("application/json", b'{"spec":{"priority":99999999999999999999999}}'),
    "aliases that multiply": (
        "application/yaml",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%b]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 108)),
    ),
    "protobuf cut off": (PROTOBUF, PACKED[:-5]),
    "protobuf of huge length": (PROTOBUF, b"k8s\0\x0a\xff\xff\xff\xff\x0f"),
    "protobuf of groups": (PROTOBUF, PACKED + b"\x0b" * 1000),
    "protobuf of another kind": (PROTOBUF, PACKED.replace(b"Pod", b"Nix")),
    "no object": ("application/json", b"[1,2]"),
    "nothing": ("application/json", b""),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_body_is_refused(api: MemoryApi, name: str) -> None:
    media, body = BODIES[name]
    failure = await api.failure("POST", PODS, body, headers={"content-type": media})
    assert 400 <= failure.code < 500
    assert json.loads(answers.failure(None, failure).body)["status"] == "Failure"
    await api.create(PODS, POD)


PATCH_BODIES = {
    "copies that double": ("json", [{"op": "copy", "from": "/metadata", "path": "/metadata/labels"}] * 60),
    "a path without end": ("json", [{"op": "add", "path": "/metadata" + "/x" * 1000, "value": 1}]),
    "too many operations": ("json", [{"op": "test", "path": "/kind", "value": "Pod"}] * 10_001),
    "no operations": ("json", {"op": "add"}),
    "operations of odd types": ("json", [{"op": 5, "path": []}, None]),
    "a list for an object": ("merge", [1]),
    "another kind": ("merge", {"kind": "Node"}),
    "wrong types": ("strategic", {"spec": {"containers": [1, None, {"name": []}]}}),
    "an unknown directive": ("strategic", {"spec": {"$patch": {}}}),
    "an element twice": (
        "apply",
        {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}, {"name": "a"}]}},
    ),
    "no kind": ("apply", {"spec": {}}),
}


@pytest.mark.parametrize("name", PATCH_BODIES)
async def test_a_hostile_patch_is_refused(api: MemoryApi, name: str) -> None:
    await api.create(PODS, POD)
    kind, patch = PATCH_BODIES[name]
    url = f"{PODS}/p?fieldManager=fuzz"
    failure = await api.failure("PATCH", url, patch, headers={"content-type": PATCHES[kind]})
    # what Kubernetes did not foresee itself it answers with a 500 that has no reason
    assert 400 <= failure.code < 500 or not failure.reason
    assert (await api.get(f"{PODS}/p"))["spec"]["containers"][0]["image"] == "i"


@pytest.mark.parametrize(
    "query",
    [
        "labelSelector=" + "(" * 5000,
        "labelSelector=a in (b",
        "fieldSelector=spec.unknown=x",
        "fieldSelector=a",
        "continue=" + "W1tb" * 5000,
        "continue=%ff",
        "limit=x",
        "limit=" + "9" * 5000,
        "resourceVersion=-1",
        "resourceVersion=" + "9" * 5000,
        "resourceVersionMatch=Never&resourceVersion=1",
        "watch=1&timeoutSeconds=x",
        "watch=1&sendInitialEvents=maybe",
    ],
)
async def test_a_hostile_query_is_refused(api: MemoryApi, query: str) -> None:
    failure = await api.failure("GET", f"{PODS}?{query.replace('+', '%2B')}")
    assert 400 <= failure.code < 505
    assert failure.code != 500


async def test_others_are_served_while_a_large_body_is_read(api: MemoryApi) -> None:
    large = b"data:\n" + b"".join(b"  k%06d: v\n" % number for number in range(60_000))
    task = asyncio.ensure_future(api.code("POST", CONFIGMAPS, large, headers={"content-type": "application/yaml"}))
    served = 0
    while not task.done():
        await api.get("/version")
        served += 1
        await asyncio.sleep(0)
    assert await task == 422
    assert served > 1


async def test_warnings_end_where_clients_stop_reading(api: MemoryApi) -> None:
    many: dict[str, Any] = {"metadata": {"name": "c"}, **{f"unknown{number}": 1 for number in range(5000)}}
    request = api.request("POST", CONFIGMAPS, many, user=ADMIN)
    await api.parts.pipeline.handle(request)
    assert len(request.warnings) == 5000
    sent = answers.headers(request, Raw(b"", "application/json"))
    assert sum(len(value) for name, value in sent if name == "Warning") < 2 * answers.WARNINGS_LENGTH


async def test_a_small_body_is_read_at_once(api: MemoryApi) -> None:
    request = api.request("POST", CONFIGMAPS, {"metadata": {"name": "c"}})
    await decoding.decode_ahead(request)
    assert request.decoded is None
