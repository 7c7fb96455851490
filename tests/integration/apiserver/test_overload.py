"""A real server under more than it can do, and under clients that mean harm."""

import asyncio
import gzip
import json
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from shared.identity import tokens
from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess
from tests.integration.apiserver.test_apiserver_process import client
from tests.slowness import LIMIT_S

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
FLOOD = 500
IDLE = 300


@pytest.fixture
def server(nats_server: NatsServer, tmp_path: Path) -> Iterator[ApiServerProcess]:
    with ApiServerProcess(nats_server, tmp_path) as started:
        yield started


def connect(server: ApiServerProcess) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(server.pki.ca_certificate))
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    return context.wrap_socket(raw, server_hostname="127.0.0.1")


async def test_a_flood_of_one_user_leaves_room_for_the_others(server: ApiServerProcess) -> None:
    key = tokens.load_key(server.pki.service_account_key)
    flooding = tokens.issue(key, "flood", ["system:masters"], 3600)
    context = ssl.create_default_context(cafile=str(server.pki.ca_certificate))
    codes: Counter[int] = Counter()
    retry: set[str | None] = set()
    stop = asyncio.Event()

    async def flood(session: aiohttp.ClientSession, number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            body = {"metadata": {"name": f"f{number}-{count}"}}
            async with session.post(CONFIGMAPS, json=body) as response:
                codes[response.status] += 1
                if response.status == 429:
                    retry.add(response.headers.get("Retry-After"))
                await response.read()

    connector = aiohttp.TCPConnector(ssl=context, limit=FLOOD)
    headers = {"Authorization": f"Bearer {flooding}"}
    async with (
        client(server) as quiet,
        aiohttp.ClientSession(server.url, headers=headers, connector=connector) as session,
    ):
        async with asyncio.TaskGroup() as group:
            for number in range(FLOOD):
                group.create_task(flood(session, number))
            async with asyncio.timeout(LIMIT_S):
                while codes[201] < 500:
                    await asyncio.sleep(0.01)
            for number in range(20):
                async with quiet.post(CONFIGMAPS, json={"metadata": {"name": f"q{number}"}}) as response:
                    assert response.status == 201
                async with quiet.get("/readyz") as response:
                    assert response.status == 200
            stop.set()
        await connector.close(abort_ssl=True)
    assert set(codes) <= {201, 429}
    assert retry == ({"1"} if codes[429] else set())


def test_idle_connections_cost_nobody_anything(server: ApiServerProcess) -> None:
    held = [connect(server) for _ in range(IDLE)]
    try:
        for one in (held[0], held[-1]):
            one.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200 OK")
    finally:
        for one in held:
            one.close()


def test_a_body_that_is_packed_is_refused_unread(server: ApiServerProcess) -> None:
    bomb = gzip.compress(b"0" * (64 << 20))
    with connect(server) as connection:
        head = f"POST {CONFIGMAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        connection.sendall(head.encode() + bomb)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 415 ")
        body = answer.partition(b"\r\n\r\n")[2]
        assert json.loads(body)["reason"] == "UnsupportedMediaType"


def test_a_client_that_is_no_client_gets_a_status_and_the_server_goes_on(server: ApiServerProcess) -> None:
    for sent in (b"\x16\x03garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"a" * 200_000):
        with connect(server) as connection:
            connection.sendall(sent)
            assert connection.recv(4096)[9:10] == b"4"
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
