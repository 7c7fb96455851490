"""A node's log tree, a broker with the LOGS stream, and the collector as a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from services.nodeagent.keeper.logfile import LogFile
from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.errors import BusTimeout, Disconnected
from shared.state.streams import LOGS, ensure_streams
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S


class Node:
    """The logs of node-1 and its collector."""

    def __init__(self, directory: Path, nats: NatsServer, admin: Connection) -> None:
        self.data = directory
        self.logs = directory / "nodes/node-1/logs"
        self.nats = nats
        self.admin = admin
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "WHERRY_DATA": str(self.data),
            "WHERRY_NODE_NAME": "node-1",
            **self.nats.environment("logcollector-node-1"),
        }
        with (self.data / "collector.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.logcollector"], env=environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pod(self, name: str = "web", container: str = "app") -> LogFile:
        """A pod with one container, and the log file that the keeper would write."""
        directory = self.logs / f"default_{name}_uid-{name}"
        directory.mkdir(parents=True)
        document = {"labels": {"app": name}, "containers": {container: {"image": "web:1"}}}
        (directory / "pod.json").write_text(json.dumps(document))
        return LogFile(str(directory / container / "0.log"), max_bytes=100_000, kept=5)

    async def stored(self, filter_: str = "logs.>") -> list[str]:
        """The text of every record in the stream, in order."""
        jetstream = JetStream(self.admin)
        found: list[str] = []
        sequence = 1
        while (message := await jetstream.next_message(LOGS, filter_, sequence)) is not None:
            found += [record["log"] for record in msgspec.msgpack.decode(message.data)["records"]]
            sequence = message.sequence + 1
        return found

    async def wait_stored(self, ready: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the stream's records satisfy `ready`."""
        deadline = time.monotonic() + LIMIT_S
        found: list[str] = []
        while True:
            try:
                if ready(found := await self.stored()):
                    return found
            except (Disconnected, BusTimeout):
                pass  # the broker is away or back just now
            assert time.monotonic() < deadline, f"{found[-20:]}\n{(self.data / 'collector.log').read_text()}"
            await asyncio.sleep(0.05)


@pytest.fixture
async def node(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Node]:
    async with connect(nats_server.settings("admin"), "test") as admin:
        await ensure_streams(admin)
        node = Node(tmp_path, nats_server, admin)
        node.logs.mkdir(parents=True)
        try:
            yield node
        finally:
            node.kill()


@pytest.fixture
def writing() -> Iterator[list[LogFile]]:
    """Log files to close at the end."""
    files: list[LogFile] = []
    yield files
    for file in files:
        file.close()
