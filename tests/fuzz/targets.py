"""What is fuzzed: each target takes bytes as a client may send them and lets only the failures of the API out.

`Outcome` of a target is an exception or nothing: a Status below 500 is an answer, everything else a bug. The one
exception is what Kubernetes itself answers with a 500 without reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from services.apiserver import pages, patching
from services.apiserver.decoding import decode
from services.apiserver.http.connection import Connection
from services.apiserver.protocol import Query, Raw, Request
from shared.errors import ApiError
from shared.identity.users import ANONYMOUS
from shared.objects import defaults, json, managed, meta, protobuf, registry, selectors, times, validation
from shared.objects.managed import APPLY, Manager
from shared.objects.registry import Resource

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}, "finalizers": ["x/y"], "resourceVersion": "5"},
    "spec": {
        "containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    },
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}


def target(function: Target) -> Target:
    """Register a target under its name."""
    TARGETS[function.__name__] = function
    return function


@contextmanager
def answered() -> Iterator[None]:
    """Let pass what a client is answered with."""
    try:
        yield
    except ApiError as exc:
        if exc.code >= 500 and exc.reason:
            raise AssertionError(f"{exc.code} {exc.reason}: {exc.message}") from exc
        json.encode(exc.status())


def resource(plural: str, group: str = "", version: str = "v1") -> Resource:
    found = registry.by_plural(group, version, plural)
    assert found is not None
    return found


def body(data: bytes, media: str) -> Request:
    return Request(ANONYMOUS, "POST", "/", Query({}), {"content-type": media}, data)


def written(request: Request, kind: Resource) -> None:
    """The way of a body up to what would be stored."""
    obj = decode(request, kind)
    metadata = obj.setdefault("metadata", {})
    metadata.setdefault("name", "x")
    defaults.apply_defaults(kind, obj)
    managed.created(kind.schema, obj, Manager("fuzz", managed.UPDATE, kind.api_version), times.now())
    validation.validate_create(kind, obj)
    assert json.decode(json.encode(obj)).object == meta.copy(obj)


@target
def json_pod(data: bytes) -> None:
    with answered():
        written(body(data, "application/json"), resource("pods"))


@target
def json_service(data: bytes) -> None:
    with answered():
        written(body(data, "application/json"), resource("services"))


@target
def yaml_deployment(data: bytes) -> None:
    with answered():
        written(body(data, "application/yaml"), resource("deployments", "apps"))


@target
def protobuf_any(data: bytes) -> None:
    with answered():
        obj = protobuf.decode(data)
        kind = registry.by_kind(str(obj.get("apiVersion")), str(obj.get("kind")))
        if kind is not None:
            written(body(data, "application/vnd.kubernetes.protobuf"), kind)


def patched(data: bytes, media: str) -> None:
    request = body(data, media)
    with answered():
        patch = patching.read_patch(request, media)
        new = patching.apply(request, resource("pods"), media, patch, meta.copy(POD))
        validation.validate_update(resource("pods"), new, POD)
        json.encode(new)


@target
def json_patch(data: bytes) -> None:
    patched(data, patching.JSON_PATCH)


@target
def merge_patch(data: bytes) -> None:
    patched(data, patching.MERGE_PATCH)


@target
def strategic_patch(data: bytes) -> None:
    patched(data, patching.STRATEGIC_PATCH)


@target
def apply_patch(data: bytes) -> None:
    request = body(data, patching.APPLY_PATCH)
    with answered():
        config = patching.read_configuration(request, resource("pods"))
        config["metadata"]["name"] = "p"
        manager = Manager("fuzz", APPLY, "v1")
        outcome = managed.apply(resource("pods").schema, meta.copy(POD), config, manager, times.now(), force=True)
        patching.conform(resource("pods"), outcome.object)


@target
def label_selector(data: bytes) -> None:
    with answered():
        selectors.parse_labels(data.decode("utf-8", "replace")).matches({"a": "b"})


@target
def field_selector(data: bytes) -> None:
    with answered():
        selectors.parse_fields(resource("pods"), data.decode("utf-8", "replace")).matches(POD)


@target
def continue_token(data: bytes) -> None:
    with answered():
        page = pages.decode(data.decode("utf-8", "replace"))
        assert pages.decode(pages.encode(page)) == page


class _Wire(asyncio.Transport):
    """Keeps the beginning of what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Echo:
    """A service that answers every request."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def opened(self, connection: Connection) -> None:
        connection.start(self._group.create_task(connection.run(), name="connection"))

    def closed(self, connection: Connection) -> None:
        pass

    def serve_shortly(self, connection: Connection, data: bytes) -> bool:
        # the short way is for what came before byte by byte; here the long one is looked at
        return False

    def remember(self, arrival: Any, data: bytes) -> None:
        pass

    async def receive(self, arrival: Any, certificate: Any) -> Request:
        path, query = arrival.target()
        return Request(ANONYMOUS, arrival.method, path, query, arrival.headers, b"".join(arrival.body))

    async def handle(self, request: Request) -> Raw:
        return Raw(request.path.encode(), "text/plain")

    def reserve(self, size: int) -> bool:
        return True

    def release(self, size: int) -> None:
        pass

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        pass


@target
def http_connection(data: bytes) -> None:
    async def run() -> bytes:
        wire = _Wire()
        async with asyncio.TaskGroup() as group:
            connection = Connection(_Echo(group))
            connection.connection_made(wire)
            half = len(data) // 2
            for piece in (data[:half], data[half:]):
                connection.data_received(piece)
            for _ in range(20):
                await asyncio.sleep(0)
            connection.connection_lost(None)
        return wire.written

    answer = asyncio.run(run())
    assert answer.startswith(b"HTTP/1.1 ") or not answer
    assert b"HTTP/1.1 500" not in answer
