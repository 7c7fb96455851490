"""Objects over HTTPS are linearizable registers, whichever of several API servers is asked, and whoever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.bus.replicas import LEADER, replicas
from tests.fakes.brokers import running
from tests.fakes.nats import NatsServer
from tests.fakes.nats_cluster import NatsCluster
from tests.fakes.registers import Histories, Lost, Refused, disturb
from tests.integration.apiserver.process import ApiServerProcess
from tests.linearizability import Value

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
NAMES = ("x", "y", "z")
CLIENTS = 3
# longer than an election and the settling of a write that it interrupted
LIMIT_S = 25.0

Disturbance = Callable[[], Awaitable[None]]


class HttpClient:
    """A register is the data of a ConfigMap."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def read(self, name: str) -> tuple[Value, str]:
        code, body = await self._request("GET", f"{CONFIGMAPS}/{name}")
        if code == 404:
            return None, ""
        if code != 200:
            raise Lost(body)
        return body["data"]["value"], body["metadata"]["resourceVersion"]

    async def write(self, name: str, new: Value, seen: str) -> None:
        if new is None:
            options = {"preconditions": {"resourceVersion": seen}}
            code, body = await self._request("DELETE", f"{CONFIGMAPS}/{name}", options)
        else:
            metadata = {"name": name} | ({"resourceVersion": seen} if seen else {})
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": new}}
            method, url = ("PUT", f"{CONFIGMAPS}/{name}") if seen else ("POST", CONFIGMAPS)
            code, body = await self._request(method, url, document)
        if code in (404, 409):
            raise Refused(body)
        if code not in (200, 201):
            raise Lost(body)

    async def _request(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        try:
            async with self._session.request(method, url, json=body) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Lost from exc


async def record(servers: list[ApiServerProcess], disturbances: list[Disturbance], seconds: float) -> Histories:
    """The histories of clients of every server."""
    histories = Histories(NAMES)
    async with contextlib.AsyncExitStack() as stack:
        work = []
        for number, server in enumerate(servers):
            context = ssl.create_default_context(cafile=str(server.pki.ca_certificate))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    server.url,
                    headers={"Authorization": f"Bearer {server.token}"},
                    connector=aiohttp.TCPConnector(ssl=context, force_close=True),
                    timeout=aiohttp.ClientTimeout(total=LIMIT_S),
                )
            )
            for each in range(CLIENTS):
                process = f"c{number}{each}"
                work.append(histories.work(process, HttpClient(session), seed=number * CLIENTS + each))
        async with running(*work):
            await disturb(histories, disturbances, seconds)
    return histories


def killed(server: ApiServerProcess | NatsServer) -> Disturbance:
    """kill -9, and start again."""

    async def act() -> None:
        server.kill()
        await asyncio.to_thread(server.start)

    return act


def test_two_servers_on_one_broker_all_of_which_are_killed(nats_server: NatsServer, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = started(nats_server, tmp_path, stack)
        disturbances = [killed(servers[0]), killed(nats_server), killed(servers[1])]
        histories = asyncio.run(record(servers, disturbances, 8))
    histories.check()
    assert histories.counts()["write ok"] > 100


def test_two_servers_on_a_replicated_bus_whose_leader_is_killed(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        bus = stack.enter_context(NatsCluster(tmp_path / "bus"))
        servers = started(bus, tmp_path, stack)

        async def kill_leader() -> None:
            async with connect(bus.settings("admin"), "look") as connection:
                found = await replicas(JetStream(connection), "STATE")
            leader = bus.member(next(one.server for one in found if one.role == LEADER))
            await killed(leader)()

        histories = asyncio.run(record(servers, [kill_leader, killed(servers[0]), kill_leader], 15))
    histories.check(replicas=3)
    assert histories.counts()["write ok"] > 100


def started(bus: Any, directory: Path, stack: contextlib.ExitStack) -> list[ApiServerProcess]:
    """Two API servers on ports of their own."""
    (directory / "cluster").mkdir()
    return [stack.enter_context(ApiServerProcess(bus, directory / "cluster")) for _ in range(2)]
