"""The proxy subresources of a real API server: a web server stands for the pod, the node's own code for the way."""

import asyncio
import contextlib
import io
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from services.nodeagent.streams import relay_to
from shared.bus.connection import connect
from shared.bus.streams import BusStream, StreamServer
from shared.identity.pki import ensure_pki
from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess
from tests.integration.apiserver.test_apiserver_process import KUBECTL, PODS, client, create, nats_server, server

__all__ = ["nats_server", "server"]

NODES = "/api/v1/nodes"


async def page(request: web.Request) -> web.StreamResponse:
    return web.Response(text='<a href="/other">x</a>', content_type="text/html")


async def method(request: web.Request) -> web.StreamResponse:
    return web.Response(text="content", headers={"X-Method": request.method, "Allow": "GET"})


async def moved(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/other?x=1")


async def talk(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=("chat",))
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"{request.path} {message.data}")
    return socket


async def echo(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    async for data in request.content.iter_any():
        await response.write(data)
    return response


class Node:
    """The agent of node-1: `web` is the port of the web server."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def forward(self, params: dict[str, Any], stream: BusStream) -> None:
        port = self.port if params["port"] == 8080 else 1
        await relay_to("127.0.0.1", port, "", "of the test", stream)

    async def page(self, params: dict[str, Any], stream: BusStream) -> None:
        await stream.send(3, json.dumps({"status": 203, "contentType": "text/x"}).encode())
        await stream.send(1, f"{params['method']} {params['path']}".encode())
        await stream.close()


@contextlib.asynccontextmanager
async def node(nats_server: NatsServer, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    application = web.Application()
    for path, handler in (("/", page), ("/method", method), ("/moved", moved), ("/talk", talk), ("/echo", echo)):
        application.router.add_route("*", path, handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    agent = Node(runner.addresses[0][1])
    handlers = {"portforward": agent.forward, "nodeport": agent.forward, "page": agent.page}
    try:
        async with connect(nats_server.settings("node-node-1"), "agent") as bus, asyncio.TaskGroup() as group:
            task = group.create_task(StreamServer(bus, "node-1", handlers).run(), name="agent")
            await asyncio.sleep(0.01)
            await bus.flush()
            yield
            task.cancel()
    finally:
        await runner.cleanup()


async def make_objects(session: aiohttp.ClientSession) -> None:
    spec = {"nodeName": "node-1", "containers": [{"name": "app", "image": "i:1", "ports": [{"containerPort": 8080}]}]}
    await create(session, PODS, {"metadata": {"name": "p"}, "spec": spec})
    await create(session, NODES, {"metadata": {"name": "node-1"}})


async def test_every_method_and_every_kind_of_answer_passes(server: ApiServerProcess, nats_server: NatsServer) -> None:
    proxy = f"{PODS}/p/proxy"
    async with client(server) as session, node(nats_server):
        await make_objects(session)
        async with session.head(f"{proxy}/method") as response:
            assert (response.status, response.headers["X-Method"]) == (200, "HEAD")
            assert response.headers["Content-Length"] == "7"
        async with session.options(f"{proxy}/method") as response:
            assert (response.status, response.headers["Allow"], response.headers["X-Method"]) == (200, "GET", "OPTIONS")
        async with session.get(f"{proxy}/") as response:
            assert await response.text() == f'<a href="{proxy}/other">x</a>'
        async with session.get(f"{proxy}/moved", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, f"{proxy}/other?x=1")
        async with session.get(f"{PODS}/p:81/proxy/") as response:
            status = await response.json()
            assert (response.status, status["reason"]) == (503, "ServiceUnavailable")
            assert status["message"].startswith("error trying to reach service: failed to connect to localhost:1")


async def test_bodies_stream_both_ways_at_once(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with client(server) as session, node(nats_server):
        await make_objects(session)
        answered = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await answered.wait()
            for _ in range(80):
                yield b"x" * 65536

        async with session.put(f"{PODS}/p/proxy/echo", data=body()) as response:
            assert await response.content.readany() == b"first"
            answered.set()
            assert len(await response.read()) == 80 * 65536
        async with session.post(f"{PODS}/p/proxy/method", data=io.BytesIO(b"y" * (5 << 20))) as response:
            assert (response.status, await response.text()) == (200, "content")


async def test_websockets_reach_the_pod(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with client(server) as session, node(nats_server):
        await make_objects(session)
        async with session.ws_connect(f"{PODS}/p:8080/proxy/talk", protocols=("chat",)) as socket:
            assert socket.protocol == "chat"
            await socket.send_str("one")
            await socket.send_str("two")
            assert [await socket.receive_str() for _ in range(2)] == ["/talk one", "/talk two"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{PODS}/p:8080/proxy/method")
        assert refused.value.status == 200


@pytest.mark.skipif(not KUBECTL.exists(), reason="tests/tools has not fetched kubectl")
async def test_websockets_pass_kubectl_proxy_too(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with client(server) as session, node(nats_server):
        await make_objects(session)
        command = [str(KUBECTL), "--kubeconfig", str(server.kubeconfig), "proxy", "--port=0"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            port = int((await process.stdout.readline()).decode().rpartition(":")[2])
            base = f"http://127.0.0.1:{port}{PODS}/p:8080/proxy"
            async with aiohttp.ClientSession() as plain:
                async with plain.ws_connect(f"{base}/talk") as socket:
                    await socket.send_str("hello")
                    assert await socket.receive_str() == "/talk hello"
                async with plain.get(f"{base}/") as response:
                    assert await response.text() == f'<a href="{PODS}/p:8080/proxy/other">x</a>'
        finally:
            process.terminate()
            await process.wait()


async def test_a_pod_that_speaks_tls_is_named_with_its_scheme(
    server: ApiServerProcess, nats_server: NatsServer, tmp_path: Path
) -> None:
    pki = ensure_pki(tmp_path / "pod", addresses=["127.0.0.1"], names=["pod"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.apiserver_certificate, pki.apiserver_key)
    async with client(server) as session, node(nats_server, context):
        await make_objects(session)
        async with session.post(f"{PODS}/https:p:8080/proxy/echo", data=b"z" * 300_000) as response:
            assert await response.read() == b"z" * 300_000
        async with session.ws_connect(f"{PODS}/https:p:8080/proxy/talk") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "/talk hello"
        async with session.get(f"{PODS}/http:p:8080/proxy/") as response:
            assert response.status in (400, 503)


async def test_a_node_answers_its_own_pages_and_passes_other_ports_on(
    server: ApiServerProcess, nats_server: NatsServer
) -> None:
    async with client(server) as session, node(nats_server):
        await make_objects(session)
        for name in ("node-1", "node-1:10250", "https:node-1:10250"):
            async with session.get(f"{NODES}/{name}/proxy/metrics/cadvisor") as response:
                assert (response.status, response.content_type) == (203, "text/x")
                assert await response.text() == "GET /metrics/cadvisor"
        async with session.head(f"{NODES}/node-1/proxy/pods") as response:
            assert response.status == 203
        async with session.get(f"{NODES}/node-1:8080/proxy/method") as response:
            assert await response.text() == "content"
        async with session.get(f"{NODES}/none/proxy/metrics") as response:
            assert response.status == 404
        async with session.get(f"{NODES}/a:b:c:d/proxy/metrics") as response:
            assert response.status == 400
