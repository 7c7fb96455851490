"""Listening, and all connections together: who they are of, how long they may take, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.apiserver.auth import requests
from services.apiserver.auth.authentication import Authenticator
from services.apiserver.auth.impersonation import impersonate
from services.apiserver.flow import Flow
from services.apiserver.http.arrivals import Arrival
from services.apiserver.http.connection import Connection
from services.apiserver.http.gets import Gets
from services.apiserver.pipeline import Pipeline
from services.apiserver.protocol import Outcome, Request
from services.apiserver.reclaiming import Reclaimer
from shared.errors import ApiError
from shared.identity.users import ANONYMOUS

if TYPE_CHECKING:
    from services.apiserver.http.upgrades import Upgrades

BACKLOG = 1024
HANDSHAKE_S = 10.0
SHUTDOWN_S = 2.0
SWEEP_S = 1.0
# of bodies that have not been answered yet, over all connections
BUFFERED_BYTES = 256 << 20


class HttpServer:
    """Serves the API on several addresses; `close` ends running watches and streams."""

    def __init__(self, pipeline: Pipeline, authenticator: Authenticator, flow: Flow | None = None) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._flow = flow or Flow()
        self._gets = Gets(pipeline, authenticator, self._flow)
        self._buffered = 0
        self._upgrades: Upgrades | None = None
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._reclaimer = Reclaimer()
        self._empty = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def start(self, addresses: Sequence[tuple[str, int]], context: ssl.SSLContext) -> list[tuple[str, int]]:
        """Listen; returns the addresses with the ports that were bound. OSError if one cannot be had.

        Connections are served while `run` runs.
        """
        loop = asyncio.get_running_loop()
        bound = []
        for host, port in addresses:
            listener = _listen(host, port)
            server = await loop.create_server(
                lambda: Connection(self),
                sock=listener,
                ssl=context,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_S,
                start_serving=False,
            )
            self._servers.append(server)
            bound.append((host, listener.getsockname()[1]))
        return bound

    async def run(self) -> None:
        """Accept connections until cancelled or closed."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._reclaimer.run(), name="reclaiming of memory")
            for server in self._servers:
                await server.start_serving()
            loop = asyncio.get_running_loop()
            while True:
                await asyncio.sleep(SWEEP_S)
                now = loop.time()
                for connection in list(self._connections):
                    connection.sweep(now)

    async def close(self) -> None:
        """Stop listening, let what is being answered be answered, and end the rest."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._connections):
            connection.shut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_S):
                if self._upgrades is not None:
                    await self._upgrades.close(SHUTDOWN_S)
                if self._connections:
                    await self._empty.wait()
        for connection in list(self._connections):
            connection.abort()

    # what a connection asks for

    def opened(self, connection: Connection) -> None:
        assert self._group is not None
        self._connections.add(connection)
        self._empty.clear()
        connection.start(self._group.create_task(connection.run(), name="connection"))

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._reclaimer.closed()
        if not self._connections:
            self._empty.set()

    def serve_shortly(self, connection: Connection, data: bytes) -> bool:
        return self._gets.serve(connection, data)

    def remember(self, arrival: Arrival, data: bytes) -> None:
        self._gets.remember(arrival, data)

    async def receive(self, arrival: Arrival, certificate: dict[str, Any] | None) -> Request:
        """The request of a caller: Unauthorized or Forbidden if it is not his to make."""
        path, query = arrival.target()
        request = arrival.request = Request(
            ANONYMOUS,
            arrival.method,
            path,
            query,
            arrival.headers,
            b"".join(arrival.body),
            inflow=arrival.inflow,
            peer=arrival.peer,
        )
        try:
            user = request.user = await self._authenticator.authenticate(arrival.headers, certificate)
            if arrival.pairs:
                action = requests.attributes(arrival.method, path, watch="watch" in query)
                request.user = impersonate(user, arrival.pairs, self._pipeline.authorizer, action)
                request.impersonator = user if request.user is not user else None
        except ApiError as exc:
            if self._pipeline.auditor is not None:
                self._pipeline.auditor.refused(request, exc)
            raise
        return request

    async def handle(self, request: Request) -> Outcome:
        seats = self._flow.seats(request)
        if seats is None:
            return await self._pipeline.handle(request)
        await seats.enter(request.user.name)
        try:
            return await self._pipeline.handle(request)
        finally:
            seats.leave()

    def reserve(self, size: int) -> bool:
        """Account for bytes of bodies that are held; False if all together are too many."""
        self._buffered += size
        return self._buffered <= BUFFERED_BYTES

    def release(self, size: int) -> None:
        self._buffered -= size

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        if self._upgrades is None:
            # aiohttp, which takes twelve megabytes: many a server never sees an upgrade
            from services.apiserver.http.upgrades import Upgrades

            self._upgrades = Upgrades(self)
        self._upgrades.take_over(transport, data)


def server_context(certificate: Path, key: Path, client_authority: Path) -> ssl.SSLContext:
    """TLS of the API server: client certificates are asked for and checked, but not demanded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client_authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # several server processes share the port
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener
