"""The API server as its clients meet it: a process behind TLS, on a real broker."""

import asyncio
import base64
import contextlib
import io
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from shared.bus.api import ApiClient
from shared.bus.connection import connect
from shared.bus.streams import BusStream, StreamHandler, StreamServer
from shared.errors import Forbidden
from tests.fakes.brokers import wait_for
from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess
from tests.slowness import LIMIT_S

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
KUBECTL = Path(__file__).parents[3] / ".cache" / "tools" / "kubectl"


@pytest.fixture
def server(kept: ApiServerProcess) -> ApiServerProcess:
    return kept


@pytest.fixture
def nats_server(kept: ApiServerProcess) -> NatsServer:
    """The broker of that server."""
    return kept.nats


@contextlib.asynccontextmanager
async def client(server: ApiServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=str(server.pki.ca_certificate))
    headers = {"Authorization": f"Bearer {server.token}"}
    connector = aiohttp.TCPConnector(ssl=context)
    sockets = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
    before = len(sockets)
    async with aiohttp.ClientSession(server.url, headers=headers, connector=connector) as session:
        try:
            yield session
        finally:
            # a connection that left the connector says farewell in TLS by itself, and must not outlive the test;
            # what a client around this one has opened meanwhile is for that one to wait for
            await connector.close(abort_ssl=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while len(sockets) > before:
                        await asyncio.sleep(0.001)


async def create(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(url, json=body) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 201, answer
        return answer


async def test_watch_headers_arrive_before_the_first_event(server: ApiServerProcess) -> None:
    async with client(server) as session, session.get(f"{CONFIGMAPS}?watch=1&labelSelector=none") as response:
        assert response.status == 200
        await create(session, CONFIGMAPS, {"metadata": {"name": "one", "labels": {"none": ""}}})
        event = msgspec.json.decode(await response.content.readline())
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")


async def test_a_body_that_is_too_large_is_a_status(server: ApiServerProcess) -> None:
    async with client(server) as session, session.post(CONFIGMAPS, data=io.BytesIO(b"x" * (4 << 20))) as response:
        assert response.status == 413
        assert (await response.json())["reason"] == "RequestEntityTooLarge"


async def test_objects_survive_a_kill(server: ApiServerProcess) -> None:
    async with client(server) as session:
        made = await create(session, CONFIGMAPS, {"metadata": {"name": "kept"}, "data": {"a": "1"}})
    server.kill()
    server.start()
    async with client(server) as session, session.get(f"{CONFIGMAPS}/kept") as response:
        assert await response.json() == made


async def test_a_signal_ends_open_watches_and_the_process(server: ApiServerProcess) -> None:
    async with client(server) as session, session.get(f"{CONFIGMAPS}?watch=1") as response:
        await response.content.readline()
        assert await asyncio.to_thread(server.stop) == 0
        with contextlib.suppress(aiohttp.ClientError):
            await response.content.read()


async def test_what_one_server_wrote_every_server_reads(server: ApiServerProcess, nats_server: NatsServer) -> None:
    with ApiServerProcess(nats_server, server.directory) as second:
        async with client(server) as one, client(second) as two:
            for number in range(20):
                name = f"c{number}"
                writer, reader = (one, two) if number % 2 else (two, one)
                made = await create(writer, CONFIGMAPS, {"metadata": {"name": name}})
                async with reader.get(f"{CONFIGMAPS}/{name}") as response:
                    assert await response.json() == made
                async with writer.delete(f"{CONFIGMAPS}/{name}") as response:
                    assert response.status == 200
                async with reader.get(f"{CONFIGMAPS}/{name}") as response:
                    assert response.status == 404


async def test_a_node_speaks_over_the_bus_as_itself(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with connect(nats_server.settings("node-node-1"), "node") as bus:
        api = ApiClient(bus, caller="node.node-1")
        made = await api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
        assert made["metadata"]["uid"]
        with pytest.raises(Forbidden):
            await api.list("/api/v1/secrets", {})
        seen: list[dict[str, Any]] = []

        async def follow() -> None:
            async for batch in api.watch("/api/v1/pods", query={"fieldSelector": "spec.nodeName=node-1"}):
                seen.extend(batch)

        async with asyncio.TaskGroup() as group, client(server) as session:
            task = group.create_task(follow(), name="watch of the node")
            for node in ("node-1", "node-2"):
                spec = {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]}
                await create(session, PODS, {"metadata": {"name": f"on-{node}"}, "spec": spec})
            await wait_for(lambda: bool(seen), "an event of the node's pod")
            task.cancel()
        assert [one["object"]["metadata"]["name"] for one in seen] == ["on-node-1"]


async def shout(parameters: dict[str, Any], stream: BusStream) -> None:
    """A command of the fake agent: answers its input in capitals and fails with code 7."""
    async for channel, data in stream:
        if channel == 0:
            await stream.send(1, data.upper())
        if channel == 255:
            break
    causes = [{"reason": "ExitCode", "message": "7"}]
    await stream.close({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}})


async def tell(parameters: dict[str, Any], stream: BusStream) -> None:
    """The log of the fake agent."""
    await stream.send(1, f"tail {parameters['tailLines']} of {parameters['container']}\n".encode())


async def echo(parameters: dict[str, Any], stream: BusStream) -> None:
    """A server in the fake pod that repeats what it hears."""
    async for channel, data in stream:
        if channel == 255:
            return
        await stream.send(1, data)


async def serve_page(parameters: dict[str, Any], stream: BusStream) -> None:
    """A web server in the fake pod that tells, in two chunks, what it was asked."""
    asked = b""
    async for _, data in stream:
        asked += data
        head, end, body = asked.partition(b"\r\n\r\n")
        _, has_body, length = head.partition(b"Content-Length: ")
        if end and (not has_body or len(body) == int(length.partition(b"\r\n")[0])):
            break
    await stream.send(1, b"HTTP/1.1 203 Fine\r\nContent-Type: text/x\r\nX-Port: %d\r\n" % parameters["port"])
    await stream.send(1, b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(asked), asked))
    await stream.send(1, b"3\r\nend\r\n0\r\n\r\n")


@contextlib.asynccontextmanager
async def agent(
    nats_server: NatsServer, session: aiohttp.ClientSession, **others: StreamHandler
) -> AsyncIterator[None]:
    spec = {"nodeName": "node-1", "containers": [{"name": "app", "image": "i:1"}]}
    await create(session, PODS, {"metadata": {"name": "p"}, "spec": spec})
    async with connect(nats_server.settings("node-node-1"), "agent") as bus, asyncio.TaskGroup() as group:
        handlers = {"exec": shout, "logs": tell, "portforward": echo} | others
        task = group.create_task(StreamServer(bus, "node-1", handlers).run(), name="agent")
        # its subscriptions are made in its first turns; a request that is faster than the broker would find nobody
        await asyncio.sleep(0.01)
        await bus.flush()
        yield
        task.cancel()


async def test_a_command_talks_both_ways_and_ends_with_a_status(
    server: ApiServerProcess, nats_server: NatsServer
) -> None:
    async with client(server) as session, agent(nats_server, session):
        url = f"{PODS}/p/exec?command=cat&stdin=1&stdout=1"
        async with session.ws_connect(url, protocols=("v5.channel.k8s.io",)) as socket:
            await socket.send_bytes(b"\x00hello")
            assert (await socket.receive_bytes()) == b"\x01HELLO"
            await socket.send_str("\x00text")
            assert (await socket.receive_bytes()) == b"\x01TEXT"
            await socket.send_bytes(b"\xff\x00")
            status = await socket.receive_bytes()
            assert status[0] == 3
            assert msgspec.json.decode(status[1:])["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


async def test_a_client_that_knows_only_text_talks_base64(server: ApiServerProcess, nats_server: NatsServer) -> None:
    def text(channel: int, data: bytes) -> str:
        return f"{channel}{base64.b64encode(data).decode()}"

    async with client(server) as session, agent(nats_server, session):
        url = f"{PODS}/p/exec?command=cat&stdin=1&stdout=1"
        for protocol in ("v4.base64.channel.k8s.io", "base64.channel.k8s.io"):
            async with session.ws_connect(url, protocols=(protocol,)) as socket:
                assert socket.protocol == protocol
                await socket.send_str(text(0, b"hello"))
                assert await socket.receive_str() == text(1, b"HELLO")
        url = f"{PODS}/p/portforward?ports=80"
        async with session.ws_connect(url, protocols=("v4.base64.channel.k8s.io",)) as socket:
            assert [await socket.receive_str() for _ in range(2)] == [text(0, b"\x50\x00"), text(1, b"\x50\x00")]
            await socket.send_str(text(0, b"ping"))
            assert await socket.receive_str() == text(0, b"ping")
        url = f"{PODS}/p/log?tailLines=3"
        async with session.ws_connect(url, protocols=("base64.binary.k8s.io",)) as socket:
            assert base64.b64decode(await socket.receive_str()) == b"tail 3 of app\n"


async def test_logs_are_plain_text(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with client(server) as session, agent(nats_server, session):
        async with session.get(f"{PODS}/p/log?tailLines=3") as response:
            assert response.content_type == "text/plain"
            assert await response.text() == "tail 3 of app\n"
        async with session.get(f"{PODS}/p/log?container=none") as response:
            assert response.status == 400


async def test_ports_are_forwarded_over_channels(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with client(server) as session, agent(nats_server, session):
        url = f"{PODS}/p/portforward?ports=80"
        async with session.ws_connect(url, protocols=("v4.channel.k8s.io",)) as socket:
            assert [await socket.receive_bytes() for _ in range(2)] == [b"\x00\x50\x00", b"\x01\x50\x00"]
            await socket.send_bytes(b"\x00ping")
            assert await socket.receive_bytes() == b"\x00ping"
            await socket.send_str("\x00text")
            assert await socket.receive_bytes() == b"\x00text"


async def test_requests_are_passed_on_to_pods(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with client(server) as session, agent(nats_server, session, portforward=serve_page):
        async with session.get(f"{PODS}/p:8080/proxy/a//b/?x=1&y=") as response:
            assert (response.status, response.content_type) == (203, "text/x")
            assert response.headers["X-Port"] == "8080"
            text = await response.text()
        assert text.startswith("GET /a//b/?x=1&y= HTTP/1.1\r\nHost: p:8080\r\n")
        assert text.endswith("end")
        body = b"x" * 1_000_000 + b"the end"
        async with session.patch(f"{PODS}/p/proxy/", data=body) as response:
            assert response.headers["X-Port"] == "80"
            assert (await response.read()).endswith(body + b"end")
        async with session.get(f"{PODS}/p/proxy", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (301, f"{PODS}/p/proxy/")


async def test_requests_to_a_service_go_to_a_ready_pod(server: ApiServerProcess, nats_server: NatsServer) -> None:
    services = "/api/v1/namespaces/default/services"
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    async with client(server) as session, agent(nats_server, session, portforward=serve_page):
        await create(session, services, {"metadata": {"name": "web"}, "spec": {"ports": [{"name": "h", "port": 80}]}})
        async with session.get(f"{services}/http:web:80/proxy/") as response:
            assert (response.status, (await response.json())["reason"]) == (503, "ServiceUnavailable")
        endpoint = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "p"}}
        made = {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "h", "port": 8080}],
            "endpoints": [endpoint, {"addresses": ["10.0.0.2"], "conditions": {"ready": False}}],
        }
        await create(session, slices, made)
        for name in ("web", "web:h", "http:web:80"):
            async with session.get(f"{services}/{name}/proxy/") as response:
                assert (response.status, response.headers["X-Port"]) == (203, "8080")
        async with session.get(f"{services}/web:81/proxy/") as response:
            assert response.status == 503


async def test_requests_are_audited_under_the_id_that_clients_are_told(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n"
        "rules:\n- {level: Metadata, resources: [{resources: [configmaps]}]}\n"
    )
    written = tmp_path / "audit" / "audit.log"
    monkeypatch.setenv("WHERRY_AUDIT_POLICY_FILE", str(policy))
    monkeypatch.setenv("WHERRY_AUDIT_LOG_PATH", str(written))
    (tmp_path / "cluster").mkdir()
    with ApiServerProcess(nats_server, tmp_path / "cluster") as server:
        async with client(server) as session:
            async with session.get(CONFIGMAPS, headers={"Impersonate-User": "bob"}) as response:
                assert response.status == 403
                refused = response.headers["Audit-Id"]
            async with session.get(CONFIGMAPS, headers={"Authorization": "Bearer none"}) as response:
                assert response.status == 401
                unknown = response.headers["Audit-Id"]
            async with session.get(f"{CONFIGMAPS}?watch=1&timeoutSeconds=1") as response:
                watched = response.headers["Audit-Id"]
                await response.read()
            async with session.get("/version", headers={"Audit-Id": "mine"}) as response:
                assert response.headers["Audit-Id"] == "mine"

        def found() -> list[dict[str, Any]]:
            lines = [msgspec.json.decode(line) for line in written.read_bytes().splitlines()]
            return [one for one in lines if one["auditID"] in (refused, unknown, watched)]

        await wait_for(lambda: len(found()) == 4)
    assert [one["stage"] for one in found()] == [
        "ResponseComplete",
        "ResponseStarted",
        "ResponseStarted",
        "ResponseComplete",
    ]
    assert [one["responseStatus"]["code"] for one in found()] == [403, 401, 200, 200]
    assert (found()[0]["impersonatedUser"]["username"], found()[0]["sourceIPs"]) == ("bob", ["127.0.0.1"])


@pytest.mark.skipif(not KUBECTL.exists(), reason="tests/tools has not fetched kubectl")
def test_kubectl_applies_reads_and_deletes(server: ApiServerProcess, tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
        "  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
        "    spec: {containers: [{name: web, image: 'nginx:1.27', ports: [{containerPort: 80}]}]}\n"
    )

    def kubectl(*arguments: str) -> str:
        command = [str(KUBECTL), "--kubeconfig", str(server.kubeconfig), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    assert kubectl("apply", "-f", str(manifest)) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", str(manifest)) == "deployment.apps/web unchanged\n"
    assert "0/1" in kubectl("get", "deployment", "web")
    assert "nginx:1.27" in kubectl("describe", "deployment", "web")
    assert kubectl("scale", "deployment", "web", "--replicas=3") == "deployment.apps/web scaled\n"
    assert kubectl("create", "configmap", "c", "--from-literal=a=b") == "configmap/c created\n"
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    kubectl("delete", "-f", str(manifest))
    assert "web" not in kubectl("get", "deployments")


@pytest.mark.skipif(not KUBECTL.exists(), reason="tests/tools has not fetched kubectl")
@pytest.mark.parametrize("websockets", ["true", "false"], ids=["websocket", "spdy"])
async def test_kubectl_runs_a_command_over_either_protocol(
    server: ApiServerProcess, nats_server: NatsServer, websockets: str
) -> None:
    async with client(server) as session, agent(nats_server, session):
        command = ["--kubeconfig", str(server.kubeconfig), "exec", "-i", "p", "--", "cat"]
        process = await asyncio.create_subprocess_exec(
            str(KUBECTL),
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets},
        )
        sent = b"hello " * 500_000
        output, errors = await asyncio.wait_for(process.communicate(sent), LIMIT_S)
        assert (process.returncode, output == sent.upper()) == (7, True), (errors, len(output), len(sent))


@pytest.mark.skipif(not KUBECTL.exists(), reason="tests/tools has not fetched kubectl")
@pytest.mark.parametrize("websockets", ["true", "false"], ids=["websocket", "spdy"])
async def test_kubectl_forwards_a_port_over_either_protocol(
    server: ApiServerProcess, nats_server: NatsServer, websockets: str
) -> None:
    async with client(server) as session, agent(nats_server, session):
        await report_running(session)
        process = await asyncio.create_subprocess_exec(
            str(KUBECTL),
            *("--kubeconfig", str(server.kubeconfig), "port-forward", "p", ":80"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets},
        )
        assert process.stdout is not None
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), LIMIT_S)).decode()
            port = int(line.partition("127.0.0.1:")[2].partition(" ")[0])
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                sent = os.urandom(300_000)
                writer.write(sent)
                assert await asyncio.wait_for(reader.readexactly(len(sent)), 30) == sent
                # half-close: the pod's side hears the end and answers with its own
                writer.write_eof()
                assert await asyncio.wait_for(reader.read(), 30) == b""
                writer.close()
        finally:
            process.terminate()
            await process.wait()


async def report_running(session: aiohttp.ClientSession) -> None:
    """kubectl forwards ports of running pods only."""
    status = {"status": {"phase": "Running"}}
    headers = {"Content-Type": "application/merge-patch+json"}
    async with session.patch(f"{PODS}/p/status", json=status, headers=headers) as response:
        assert response.status == 200


async def test_spdy_needs_a_protocol_that_both_sides_know(server: ApiServerProcess, nats_server: NatsServer) -> None:
    async with client(server) as session, agent(nats_server, session):
        headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v1.channel.k8s.io"}
        async with session.post(f"{PODS}/p/exec?command=cat&stdout=1", headers=headers) as response:
            assert response.status == 403
            assert "client supports [v1.channel.k8s.io]" in (await response.json())["message"]
        async with session.post(f"{PODS}/p/exec?command=cat&stdout=1") as response:
            assert response.status == 400
            assert "Upgrade request required" in (await response.json())["message"]
