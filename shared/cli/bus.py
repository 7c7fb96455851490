"""Where the servers of a cluster's bus are on this machine: pure, so that starting, moving and inspecting them agree.

A bus of one server keeps its streams in DATA/bus, one of three in DATA/bus/server-1 to server-3. Names, ports and
directories never change, because a server of a replicated bus is known to the others by its name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from shared.bus.connection import Connection, connect
from shared.bus.server import ROUTE_USER, Routes, ServerConfig, write_configuration
from shared.cli.cluster import Cluster, ClusterError
from shared.identity.bus_users import ensure_users
from shared.settings import BusSettings

CLIENT_PORT = 4222
ROUTE_PORT = 6222
REACH_LIMIT_S = 10.0

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class BusServer:
    """One nats-server: its supervised process, its name among the others, host:port for clients and for routes."""

    process: str
    name: str
    address: str
    routes: str
    store: Path

    @property
    def configuration(self) -> Path:
        return self.store / "nats.conf"


def servers(cluster: Cluster) -> tuple[BusServer, ...]:
    """The servers of the cluster's bus, the first of which listens where a single one does."""
    base = cluster.data / "bus"
    if cluster.bus_replicas == 1:
        return (BusServer("nats-server", "wherry", f"{cluster.gateway}:{CLIENT_PORT}", "", base),)
    return tuple(
        BusServer(
            f"nats-server-{number}",
            f"{cluster.name}-{number}",
            f"{cluster.gateway}:{CLIENT_PORT + number - 1}",
            f"{cluster.gateway}:{ROUTE_PORT + number - 1}",
            base / f"server-{number}",
        )
        for number in range(1, cluster.bus_replicas + 1)
    )


def bus_url(cluster: Cluster) -> str:
    """What clients connect to: the URL of every server, joined by commas."""
    return ",".join(f"tls://{server.address}" for server in servers(cluster))


def configurations(cluster: Cluster, users: Mapping[str, str]) -> dict[str, ServerConfig]:
    """The configuration of each server by the name of its process; the password of the routes is made when missing."""
    found = servers(cluster)
    password = ensure_users(cluster.data, [ROUTE_USER])[ROUTE_USER] if len(found) > 1 else ""
    peers = tuple(server.routes for server in found)
    return {
        server.process: ServerConfig(
            name=server.name,
            listen=(server.address,),
            store=server.store,
            users=users,
            certificate=cluster.pki / "nats.crt",
            key=cluster.pki / "nats.key",
            ca=cluster.pki / "ca.crt",
            ports=True,
            routes=Routes(cluster.name, server.routes, peers, password) if server.routes else None,
        )
        for server in found
    }


def configure(cluster: Cluster, users: Mapping[str, str]) -> list[str]:
    """Write what nats-server reads; the processes whose configuration changed."""
    return [name for name, config in configurations(cluster, users).items() if write_configuration(config)]


def run(coroutine: Coroutine[Any, Any, Value]) -> Value:
    """Run what talks to the bus, on the event loop that the services use."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


@asynccontextmanager
async def reach(settings: BusSettings, name: str) -> AsyncIterator[Connection]:
    """A connection to the bus for a command that somebody waits for.

    Raises:
        ClusterError: nobody answers.
    """
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(REACH_LIMIT_S):
                bus = await stack.enter_async_context(connect(settings, name))
        except TimeoutError as exc:
            raise ClusterError(f"the bus at {settings.url} does not answer; see `wherry status`") from exc
        yield bus


def admin(cluster: Cluster) -> BusSettings:
    """How the command line reaches the bus.

    Raises:
        ClusterError: the credentials cannot be read.
    """
    path = cluster.credentials / "admin.json"
    try:
        password = str(json.loads(path.read_text())["password"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ClusterError(f"bus credentials {path} cannot be used ({exc!r}); `wherry up` makes them") from exc
    return BusSettings(bus_url(cluster), "admin", password, cluster.pki / "ca.crt")
