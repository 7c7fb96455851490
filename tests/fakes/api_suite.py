"""Requests, watches and byte streams over any adapter of the bus; subclassed with a `broker` fixture."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from shared.bus import wire
from shared.bus.api import ApiClient, Informer
from shared.bus.port import Bus
from shared.bus.serve import ApiServerPort, Caller
from shared.bus.streams import BusStream, StreamHandler, StreamServer, open_stream
from shared.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Expired,
    NotFound,
    ServiceUnavailable,
    StreamBroken,
)
from tests.fakes.brokers import TestBroker, running, wait_for
from tests.slowness import LIMIT_S

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


class MemoryApi:
    """A handler with one list of pods and every event since the beginning."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.callers: list[Caller] = []
        self.floor = 0
        self.watches = 0
        self.closed = 0
        self.changed = asyncio.Event()

    def put(self, name: str) -> None:
        kind = "MODIFIED" if name in self.pods else "ADDED"
        self.pods[name] = pod(name, len(self.events) + 1)
        self._tell(kind, self.pods[name])

    def drop(self, name: str) -> None:
        self._tell("DELETED", {**self.pods.pop(name), **pod(name, len(self.events) + 1)})

    def _tell(self, kind: str, obj: dict[str, Any]) -> None:
        self.events.append({"type": kind, "object": obj})
        self.changed.set()
        self.changed = asyncio.Event()

    async def request(
        self, caller: Caller, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        self.callers.append(caller)
        if path == PODS and method == "GET":
            items = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": str(len(self.events))}}
            return 200, msgspec.json.encode({**items, "items": list(self.pods.values())})
        if path == "/big":
            return 200, {"data": "x" * (5 << 20)}
        if path == "/echo":
            return 200, {"method": method, "query": query, "headers": headers, "body": body}
        if path == "/conflict":
            raise Conflict("the object has been modified", details={"name": "a"})
        if path == "/crash":
            raise ZeroDivisionError("on purpose")
        raise NotFound(f"{path} is not there")

    async def watch(self, caller: Caller, path: str, query: dict[str, str]) -> AsyncIterator[list[Any]]:
        since = int(query.get("resourceVersion") or len(self.events))
        if since < self.floor:
            raise Expired("too old resource version")
        self.watches += 1
        try:
            while True:
                changed = self.changed
                if len(self.events) > since:
                    batch, since = self.events[since:], len(self.events)
                    yield [msgspec.json.encode(event) for event in batch]
                    continue
                await changed.wait()
        finally:
            self.closed += 1


@asynccontextmanager
async def served(bus: Bus, handler: Any) -> AsyncIterator[None]:
    async with running(ApiServerPort(bus, handler).run()):
        await asyncio.sleep(0)
        await bus.flush()
        yield


class RequestSuite:
    async def test_the_server_knows_the_caller_from_the_subject(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        async with served(await broker.connect("apiserver"), handler):
            await ApiClient(await broker.connect("node-node-1"), "node.node-1").get(PODS)
            await ApiClient(await broker.connect("controllers"), "service.controllers").get(PODS)
        assert [caller.user for caller in handler.callers] == ["system:node:node-1", "system:kube-controller-manager"]
        assert [caller.groups[0] for caller in handler.callers] == ["system:nodes", "system:masters"]

    async def test_a_request_carries_query_headers_and_body(self, broker: TestBroker) -> None:
        async with served(await broker.connect("apiserver"), MemoryApi()):
            api = ApiClient(await broker.connect("controllers"), "service.controllers")
            answer = await api.patch("/echo", {"a": [1, None]}, kind="strategic", query={"limit": 5})
            assert answer["method"] == "PATCH"
            assert answer["query"] == {"limit": "5"}
            assert answer["headers"]["content-type"] == "application/strategic-merge-patch+json"
            assert answer["body"] == {"a": [1, None]}

    async def test_an_answer_larger_than_a_message_arrives_whole(self, broker: TestBroker) -> None:
        async with served(await broker.connect("apiserver"), MemoryApi()):
            answer = await ApiClient(await broker.connect("controllers"), "service.controllers").get("/big")
            assert len(answer["data"]) == 5 << 20

    async def test_errors_keep_their_class_reason_and_details(self, broker: TestBroker) -> None:
        async with served(await broker.connect("apiserver"), MemoryApi()):
            api = ApiClient(await broker.connect("controllers"), "service.controllers")
            with pytest.raises(Conflict) as caught:
                await api.update("/conflict", {})
            assert caught.value.details == {"name": "a"}
            with pytest.raises(NotFound):
                await api.delete("/nowhere")
            with pytest.raises(BadRequest, match="patch kind"):
                await api.patch("/echo", {}, kind="odd")

    async def test_a_crash_of_the_handler_is_answered(self, broker: TestBroker) -> None:
        async with served(await broker.connect("apiserver"), MemoryApi()):
            api = ApiClient(await broker.connect("controllers"), "service.controllers")
            with pytest.raises(Exception, match="on purpose"):
                await api.get("/crash")

    async def test_without_a_server_a_request_fails_at_once(self, broker: TestBroker) -> None:
        api = ApiClient(await broker.connect("controllers"), "service.controllers")
        with pytest.raises(ServiceUnavailable):
            await api.get(PODS)

    async def test_a_request_under_way_is_answered_when_the_server_stops(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        begun = asyncio.Event()

        async def never(*args: Any) -> tuple[int, Any]:
            begun.set()
            await asyncio.get_running_loop().create_future()
            return 200, None

        handler.request = never  # type: ignore[method-assign]
        api = ApiClient(await broker.connect("controllers"), "service.controllers")
        async with asyncio.TaskGroup() as group:
            async with served(await broker.connect("apiserver"), handler):
                call = group.create_task(self.outcome(api), name="call")
                await begun.wait()
            assert isinstance(await call, ServiceUnavailable)

    async def outcome(self, api: ApiClient) -> Exception | None:
        try:
            await api.get(PODS)
        except ApiError as exc:
            return exc
        return None

    async def test_an_answer_is_never_sent_to_a_subject_that_is_not_the_callers(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        server = await broker.connect("apiserver")
        stolen: list[bytes] = []
        admin = await broker.connect("admin")
        await admin.subscribe("s.>", lambda message: stolen.append(message.data))
        await admin.flush()
        async with served(server, handler):
            node = await broker.connect("node-node-1")
            payload = wire.pack({"method": "GET", "path": PODS})
            await node.publish("api.node.node-1.request", payload, reply="s.core.pods.default.x")
            await ApiClient(node, "node.node-1").get(PODS)
        assert len(handler.callers) == 1
        assert stolen == []


class WatchSuite:
    async def test_a_watch_yields_events_after_its_version(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        handler.put("a")
        handler.put("b")
        async with served(await broker.connect("apiserver"), handler):
            api = ApiClient(await broker.connect("node-node-1"), "node.node-1")
            watch = api.watch(PODS, {"resourceVersion": "1"})
            first = await anext(watch)
            handler.put("c")
            second = await anext(watch)
            await watch.aclose()
            await wait_for(lambda: handler.closed == 1, "the server ends the watch of a client that left")
        assert [event["object"]["metadata"]["name"] for event in first + second] == ["b", "c"]

    async def test_a_watch_resumes_on_another_replica(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        handler.put("a")
        api = ApiClient(await broker.connect("node-node-1"), "node.node-1")
        watch = api.watch(PODS, {"resourceVersion": "0"})
        async with served(await broker.connect("apiserver"), handler):
            names = [event["object"]["metadata"]["name"] for event in await anext(watch)]
        handler.put("b")
        async with served(await broker.connect("apiserver"), handler):
            names += [event["object"]["metadata"]["name"] for event in await anext(watch)]
            await watch.aclose()
        assert names == ["a", "b"]

    async def test_a_watch_resumes_after_the_broker_died(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        async with served(await broker.connect("apiserver"), handler):
            api = ApiClient(await broker.connect("node-node-1"), "node.node-1")
            watch = api.watch(PODS, {"resourceVersion": "0"})
            handler.put("a")
            names = [event["object"]["metadata"]["name"] for event in await anext(watch)]
            await broker.kill()
            handler.put("b")
            await broker.start()
            names += [event["object"]["metadata"]["name"] for event in await anext(watch)]
            await watch.aclose()
        assert names == ["a", "b"]

    async def test_an_expired_watch_is_raised(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        handler.floor = 10
        async with served(await broker.connect("apiserver"), handler):
            api = ApiClient(await broker.connect("node-node-1"), "node.node-1")
            with pytest.raises(Expired):
                await anext(api.watch(PODS, {"resourceVersion": "3"}))

    async def test_a_backlog_larger_than_the_window_flows(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        for number in range(300):
            handler.put(f"p{number}")
            handler.events[-1]["object"]["data"] = "x" * 50_000
        async with served(await broker.connect("apiserver"), handler):
            api = ApiClient(await broker.connect("node-node-1"), "node.node-1")
            watch = api.watch(PODS, {"resourceVersion": "0"})
            names: list[str] = []
            while len(names) < 300:
                names += [event["object"]["metadata"]["name"] for event in await anext(watch)]
            await watch.aclose()
        assert names == [f"p{number}" for number in range(300)]
        assert handler.watches == 1

    async def test_an_informer_follows_through_expiry_and_absence(self, broker: TestBroker) -> None:
        handler = MemoryApi()
        handler.put("a")
        handler.put("gone")
        api = ApiClient(await broker.connect("node-node-1"), "node.node-1")
        informer = Informer(api, PODS)
        heard: list[tuple[str, str]] = []
        informer.on_change = lambda kind, obj, old: heard.append((kind, obj["metadata"]["name"]))
        server = await broker.connect("apiserver")
        async with running(informer.run()):
            async with served(server, handler):
                await informer.wait_synced()
                handler.put("b")
                await wait_for(lambda: ("default", "b") in informer.items)
            # while no server is there, everything changes and the old versions are forgotten
            handler.drop("gone")
            handler.put("a")
            handler.floor = len(handler.events)
            assert ("default", "gone") in informer.items
            async with served(server, handler):
                await wait_for(lambda: ("default", "gone") not in informer.items)
                await wait_for(lambda: informer.items["default", "a"]["metadata"]["resourceVersion"] == "5")
        assert heard == [
            ("ADDED", "a"),
            ("ADDED", "gone"),
            ("ADDED", "b"),
            ("MODIFIED", "a"),
            ("DELETED", "gone"),
        ]
        assert informer.items["default", "a"]["kind"] == "Pod"


@asynccontextmanager
async def agent(bus: Bus, **handlers: StreamHandler) -> AsyncIterator[None]:
    async with running(StreamServer(bus, "node-1", handlers).run()):
        await asyncio.sleep(0)
        await bus.flush()
        yield


class ByteStreamSuite:
    async def test_bytes_go_both_ways_and_the_status_comes_at_the_end(self, broker: TestBroker) -> None:
        async def shout(params: dict[str, Any], stream: BusStream) -> None:
            async for channel, data in stream:
                if channel == 255:
                    await stream.close({"status": params["status"]})
                    return
                await stream.send(1, data.upper())

        async with agent(await broker.connect("node-node-1"), exec=shout):
            stream = await open_stream(await broker.connect("apiserver"), "node-1", "exec", {"status": "Success"})
            await stream.send(0, b"hello")
            assert await anext(stream) == (1, b"HELLO")
            await stream.send(255, b"\0")
            assert [item async for item in stream] == []
            assert stream.status == {"status": "Success"}
            await stream.close()

    async def test_an_error_before_the_first_byte_is_raised_at_the_opener(self, broker: TestBroker) -> None:
        async def refuse(params: dict[str, Any], stream: BusStream) -> None:
            raise NotFound("container web is not there")

        async with agent(await broker.connect("node-node-1"), logs=refuse):
            bus = await broker.connect("apiserver")
            with pytest.raises(NotFound, match="container web"):
                await open_stream(bus, "node-1", "logs", {})
            with pytest.raises(BadRequest, match="unknown"):
                await open_stream(bus, "node-1", "fly", {})

    async def test_an_error_after_the_first_byte_is_the_status(self, broker: TestBroker) -> None:
        async def fail(params: dict[str, Any], stream: BusStream) -> None:
            await stream.send(1, b"begun")
            raise NotFound("gone meanwhile")

        async with agent(await broker.connect("node-node-1"), logs=fail):
            stream = await open_stream(await broker.connect("apiserver"), "node-1", "logs", {})
            assert [item async for item in stream] == [(1, b"begun")]
            assert stream.status is not None
            assert stream.status["reason"] == "NotFound"
            await stream.close()

    async def test_a_node_without_agent_is_unavailable_at_once(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        with pytest.raises(ServiceUnavailable, match="node-1"):
            await open_stream(bus, "node-1", "exec", {})

    async def test_fifty_megabytes_pass_unharmed_at_the_readers_pace(self, broker: TestBroker) -> None:
        total = 50 << 20
        piece = bytes(range(256)) * 400
        ahead: list[int] = []
        taken = 0

        async def flood(params: dict[str, Any], stream: BusStream) -> None:
            sent = 0
            while sent < total:
                data = piece[: total - sent]
                await stream.send(1, data)
                sent += len(data)
                ahead.append(sent - taken)

        async with agent(await broker.connect("node-node-1"), logs=flood):
            stream = await open_stream(await broker.connect("apiserver"), "node-1", "logs", {})
            digest = hashlib.sha256()
            async for _, data in stream:
                digest.update(data)
                taken += len(data)
            await stream.close()
        whole = piece * (total // len(piece) + 1)
        assert taken == total
        assert digest.digest() == hashlib.sha256(whole[:total]).digest()
        assert max(ahead) <= 2 << 20

    async def test_a_reader_that_does_not_read_stops_the_sender_but_not_the_control_channel(
        self, broker: TestBroker
    ) -> None:
        resized = asyncio.Event()
        blocked = asyncio.Event()

        async def ignore_stdin(params: dict[str, Any], stream: BusStream) -> None:
            await stream.accept()
            await blocked.wait()
            async for channel, _ in stream:
                if channel == 4:
                    resized.set()

        async with agent(await broker.connect("node-node-1"), exec=ignore_stdin):
            stream = await open_stream(await broker.connect("apiserver"), "node-1", "exec", {})
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await stream.send(0, bytes(4 << 20))
            await stream.send(4, b'{"Width":80,"Height":24}')
            blocked.set()
            async with asyncio.timeout(LIMIT_S):
                await resized.wait()
            await stream.close()

    async def test_both_ends_learn_that_the_broker_died(self, broker: TestBroker) -> None:
        ended = asyncio.Event()

        async def wait(params: dict[str, Any], stream: BusStream) -> None:
            try:
                async for _ in stream:
                    pass
            finally:
                ended.set()

        async with agent(await broker.connect("node-node-1"), exec=wait):
            stream = await open_stream(await broker.connect("apiserver"), "node-1", "exec", {})
            await broker.kill()
            with pytest.raises(StreamBroken):
                await anext(stream)
            async with asyncio.timeout(LIMIT_S):
                await ended.wait()
            await stream.close()
            await broker.start()

    async def test_the_handler_learns_that_the_client_left(self, broker: TestBroker) -> None:
        ended = asyncio.Event()

        async def follow(params: dict[str, Any], stream: BusStream) -> None:
            await stream.send(1, b"line")
            await stream.wait_closed()
            ended.set()

        async with agent(await broker.connect("node-node-1"), logs=follow):
            stream = await open_stream(await broker.connect("apiserver"), "node-1", "logs", {})
            assert await anext(stream) == (1, b"line")
            await stream.close()
            async with asyncio.timeout(LIMIT_S):
                await ended.wait()
