"""Damaged files of the broker: what can be read goes on, what is gone is told, and nothing is taken for deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.registry.app import Server
from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.errors import StateError
from shared.events.envelope import Author
from shared.events.subjects import Ref, log_subject
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.log import StateLog
from shared.state.streams import EVENTS, LOGS, STATE, ensure_streams, keep_streams
from shared.state.watermark import Watermark
from tests.fakes.brokers import running, wait_for
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S

AUTHOR = Author("tester")
LINES = b"a line of a log\n" * 20_000


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with connect(nats_server.settings("admin"), "test") as made:
        await ensure_streams(made)
        yield made


async def restart(
    server: NatsServer, bus: Connection, *damaged: Path, meta: Path | None = None, clean: bool = False
) -> None:
    """kill -9 (or a clean stop), cut files in the middle, start."""
    if clean:
        await asyncio.to_thread(server.stop)
    else:
        server.kill()
    for path in (*damaged, *((meta,) if meta else ())):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    await wait_for(lambda: not bus.connected)
    await asyncio.to_thread(server.start)
    await asyncio.wait_for(bus.wait_connected(), LIMIT_S)


def store(server: NatsServer, stream: str) -> Path:
    (found,) = server.directory.glob(f"jetstream/*/streams/{stream}")
    return found


def blocks(server: NatsServer, stream: str) -> list[Path]:
    """The files of a stream's messages, oldest first."""
    return sorted((store(server, stream) / "msgs").glob("*.blk"), key=lambda path: int(path.stem))


async def put(bus: Connection, count: int) -> int:
    """The revision of the last of so many pods."""
    log = StateLog(bus)
    for number in range(count):
        body = {"metadata": {"name": f"p{number}", "namespace": "default"}}
        revision = await log.put(Ref("", "pods", "default", f"p{number}"), body, expected=0, author=AUTHOR)
    return revision


async def messages(bus: Connection, stream: str) -> int:
    return int((await JetStream(bus).stream_info(stream))["state"]["messages"])


async def test_a_damaged_file_of_logs_costs_no_other_logs(nats_server: NatsServer, bus: Connection) -> None:
    jetstream = JetStream(bus)
    for number in range(60):
        await jetstream.publish(log_subject("node-1", "shop", "web", "main"), LINES + b"%d" % number)
    first, *others = blocks(nats_server, LOGS)
    assert others
    await restart(nats_server, bus, first)
    assert await messages(bus, LOGS) > 20


@pytest.mark.parametrize("stream", [LOGS, EVENTS])
async def test_a_stream_that_the_broker_lost_is_declared_anew_when_it_comes_back(
    nats_server: NatsServer, bus: Connection, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    jetstream = JetStream(bus)
    await jetstream.publish(log_subject("node-1", "shop", "web", "main"), LINES)
    async with running(keep_streams(bus)):
        await asyncio.sleep(0)
        await restart(nats_server, bus, meta=store(nats_server, stream) / "meta.inf")
        await wait_for(lambda: f"stream {stream} was missing and is declared anew" in caplog.text)
    kept = await messages(bus, stream)
    assert kept == (1 if stream == LOGS else 0)
    await restart(nats_server, bus)
    assert await messages(bus, stream) == kept


async def test_the_registry_has_its_buckets_again_when_the_broker_lost_their_description(
    nats_server: NatsServer, bus: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(bus, "127.0.0.1", 0) as registry, running(registry.keep_buckets()):
        await registry.repositories.create("app")
        await restart(nats_server, bus, meta=store(nats_server, "KV_registry") / "meta.inf")
        await wait_for(lambda: "bucket KV_registry was gone and is declared anew" in caplog.text)
        assert await registry.repositories.names() == ["app"]


async def test_a_reader_of_a_state_log_that_lost_its_end_ends_and_tells_nobody_of_deletions(
    nats_server: NatsServer, bus: Connection
) -> None:
    cache = Cache()
    feed = Feed(bus, STATE, cache)
    changes: list[str] = []
    cache.on_change(lambda change: changes.append(change.type))
    task = asyncio.create_task(feed.run(), name="feed")
    await feed.wait_loaded()
    await cache.wait_revision(await put(bus, 50), LIMIT_S)
    await restart(nats_server, bus, blocks(nats_server, STATE)[-1])
    with pytest.raises(StateError, match="the state log ends at revision"):
        await asyncio.wait_for(task, LIMIT_S)
    assert set(changes) == {"ADDED"}


@pytest.mark.parametrize("clean", [False, True], ids=["killed", "stopped"])
async def test_without_the_end_of_the_state_log_an_api_server_does_not_start_until_that_is_accepted(
    nats_server: NatsServer, bus: Connection, tmp_path: Path, clean: bool
) -> None:
    path = tmp_path / "state-log.json"
    watermark, cache = Watermark(path), Cache()
    await watermark.check(bus)
    async with running(Feed(bus, STATE, cache).run(), watermark.follow(cache)):
        revision = await put(bus, 50)
        await wait_for(lambda: path.exists() and json.loads(path.read_text())["revision"] >= revision)
    await restart(nats_server, bus, clean=clean)
    await watermark.check(bus)
    # a clean stop leaves an index that tells how far the log had come, whatever has become of the messages
    await restart(nats_server, bus, blocks(nats_server, STATE)[-1], clean=clean)
    with pytest.raises(StateError, match="wherry restore FILE --force"):
        await watermark.check(bus)
    assert "wherry restore" in Watermark(path).complaint()
    # what others write meanwhile does not make up for it
    await JetStream(bus).api(f"STREAM.PURGE.{STATE}")
    for number in range(60):
        await JetStream(bus).publish(f"b.{number}", b"")
    with pytest.raises(StateError, match="the state log lost its end"):
        await watermark.check(bus)
    path.unlink()
    await watermark.check(bus)


async def test_objects_that_were_deleted_are_not_missed(
    nats_server: NatsServer, bus: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "state-log.json"
    cache = Cache()
    async with running(Feed(bus, STATE, cache).run(), Watermark(path).follow(cache)):
        revision = await put(bus, 2)
        ref, body = Ref("", "pods", "default", "p1"), {"metadata": {"name": "p1", "namespace": "default"}}
        gone = await StateLog(bus).delete(ref, body, expected=revision, author=AUTHOR)
        await wait_for(lambda: path.exists() and json.loads(path.read_text())["revision"] >= gone)
    await JetStream(bus).purge(STATE, "s.core.pods.default.p1")
    await Watermark(path).check(bus)


async def test_an_api_server_that_runs_ends_when_the_state_log_is_gone(
    nats_server: NatsServer, bus: Connection
) -> None:
    task = asyncio.create_task(keep_streams(bus), name="streams")
    await asyncio.sleep(0)
    await restart(nats_server, bus, meta=store(nats_server, STATE) / "meta.inf")
    with pytest.raises(StateError, match="no state log any more"):
        await asyncio.wait_for(task, LIMIT_S)
