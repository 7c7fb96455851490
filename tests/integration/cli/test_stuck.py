"""A disk that is really full: the broker's stream answers nothing more, and is brought back when there is space."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.bus.server import binary
from shared.errors import BusError, StorageFull
from shared.events.envelope import Author
from shared.events.subjects import Ref, subject_of
from shared.state.log import StateLog
from shared.state.streams import STATE, ensure_streams
from tests.fakes.brokers import wait_for
from tests.fakes.disks import disk
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S

AUTHOR = Author("tester")


@contextmanager
def supervised(server: NatsServer, directory: Path) -> Iterator[None]:
    """The server under the supervisor of a cluster."""
    run, logs = directory / "run", directory / "logs"
    run.mkdir()
    logs.mkdir()
    argv = [str(binary()), "-c", str(server.write_configuration())]
    plan = [{"name": "nats-server", "argv": argv, "env": {}, "netns": "", "gate": "", "store": str(server.directory)}]
    (run / "plan.json").write_text(json.dumps(plan))
    supervisor = subprocess.Popen([sys.executable, "-m", "shared.cli.supervise", str(run), str(logs)])
    try:
        yield
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(timeout=LIMIT_S)


def ref(name: str) -> Ref:
    return Ref("", "pods", "default", name)


@pytest.mark.root
async def test_a_server_that_met_a_full_disk_writes_again_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.state.log.SETTLE_S", 1.0)
    acknowledged: dict[str, int] = {}

    async def write(log: StateLog) -> None:
        name = f"p{len(acknowledged)}"
        body = {"metadata": {"name": name, "namespace": "default"}, "x": "x" * 20_000}
        acknowledged[name] = await log.put(ref(name), body, expected=0, author=AUTHOR, timeout=0.5)

    async def fill(log: StateLog) -> None:
        while True:
            await write(log)

    with disk(tmp_path / "disk", 96) as store:
        server = NatsServer(store)
        with supervised(server, tmp_path):
            async with connect(server.settings("apiserver"), "writer") as bus:
                await ensure_streams(bus)
                log = StateLog(bus)
                await write(log)
                status = os.statvfs(store)
                with (store / "junk").open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - (2 << 20))
                with pytest.raises(BusError):
                    await fill(log)
                # what is there can be read
                found = await JetStream(bus).last_message(STATE, subject_of(ref("p0")))
                assert found is not None
                (store / "junk").unlink()
                await wait_for(lambda: not bus.connected, "the server is started again")
                await bus.wait_connected()
                while True:
                    try:
                        await write(log)
                        break
                    except (BusError, StorageFull):
                        await bus.wait_connected()
                for name, revision in acknowledged.items():
                    stored = await JetStream(bus).last_message(STATE, subject_of(ref(name)))
                    assert stored is not None
                    assert stored.sequence == revision
