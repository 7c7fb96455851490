"""nats-servers that nobody else can reach, on the stores of a bus that does not run: for work on whole streams, such as
moving them between one server and three, or filling them from a backup.

They have one user with a password of their own, so that no service that is still alive reads or writes meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.bus.replicas import streams
from shared.bus.server import Routes, ServerConfig, binary, render
from shared.errors import BrokerError, BusError, BusTimeout, NoResponders
from shared.kernel import syscalls
from shared.settings import BusSettings

START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
USER = "admin"
CONFIGURATION = "offline.conf"
# prctl(2)
PR_SET_PDEATHSIG = 1


@asynccontextmanager
async def offline_bus(stores: Sequence[tuple[str, Path]], cluster: str) -> AsyncIterator[Connection]:
    """Run a server for each (server name, store) and connect to them; `cluster` is the name of several together.

    They have stopped, and everything is on the disk, when the block ends. BusError if they do not start.
    """
    password = secrets.token_urlsafe(24)
    addresses = [_free_address() for _ in stores]
    routes = [_free_address() for _ in stores]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for (name, store), address, route in zip(stores, addresses, routes, strict=True):
            store.mkdir(parents=True, exist_ok=True, mode=0o700)
            config = ServerConfig(
                name=name,
                listen=(address,),
                store=store,
                users={USER: password},
                routes=Routes(cluster, route, tuple(routes), password) if len(stores) > 1 else None,
            )
            running.append(_start(config))
        await asyncio.to_thread(_wait_open, addresses)
        url = ",".join(f"nats://{address}" for address in addresses)
        async with connect(BusSettings(url, USER, password), "offline") as bus:
            await _wait_available(JetStream(bus))
            yield bus
    finally:
        await asyncio.to_thread(_stop, running)
        for _, store in stores:
            (store / CONFIGURATION).unlink(missing_ok=True)


def _start(config: ServerConfig) -> subprocess.Popen[bytes]:
    path = config.store / CONFIGURATION
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(render(config))
    with (config.store / "nats.log").open("wb") as output:
        return subprocess.Popen(
            [str(binary()), "-c", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # nobody else would ever end it
            preexec_fn=lambda: syscalls.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )


def _wait_open(addresses: Sequence[str]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    for address in addresses:
        host, _, port = address.rpartition(":")
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise BusError("nats-server does not start; see nats.log in the directory of the bus") from exc
                time.sleep(0.02)


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_LIMIT_S
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _wait_available(jetstream: JetStream) -> None:
    """Wait until every stream answers, which several servers do once they have chosen leaders."""
    try:
        async with asyncio.timeout(START_LIMIT_S):
            while True:
                try:
                    for stream in await streams(jetstream, timeout=1.0):
                        await jetstream.stream_info(stream, timeout=1.0)
                    return
                except (BusTimeout, NoResponders, BrokerError):
                    await asyncio.sleep(0.1)
    except TimeoutError as exc:
        raise BusError("the streams of the bus did not become available") from exc


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
