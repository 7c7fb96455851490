"""The publish path and a real nats-server: what it costs on the wire, and what it makes of a server that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.bus.connection import Connection, connect
from shared.bus.consumer import PullConsumer
from shared.bus.jetstream import JetStream
from shared.bus.port import Message
from shared.errors import BusError, Disconnected
from shared.events.envelope import Author
from shared.events.subjects import Ref, subject_of
from shared.state.cache import Cache
from shared.state.feed import Feed
from shared.state.log import StateLog, Write
from shared.state.streams import STATE, ensure_streams
from tests.fakes.brokers import running, wait_for
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S

AUTHOR = Author("tester")


def ref(name: str) -> Ref:
    return Ref("", "pods", "default", name)


def body(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}}


@asynccontextmanager
async def writer(server: NatsServer) -> AsyncIterator[tuple[Connection, StateLog]]:
    async with connect(server.settings("apiserver"), "writer") as bus:
        await ensure_streams(bus)
        yield bus, StateLog(bus)


@asynccontextmanager
async def fed(bus: Connection) -> AsyncIterator[Cache]:
    cache = Cache()
    feed = Feed(bus, STATE, cache)
    async with running(feed.run()):
        await feed.wait_loaded()
        yield cache


async def test_puts_of_one_tick_share_one_inbox_and_one_write(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with writer(nats_server) as (bus, log):
        transport = bus._client._transport
        assert transport is not None
        writes: list[Sequence[bytes]] = []
        subscriptions = len(bus._client._subs)
        original = transport.writelines

        def count(payload: Sequence[bytes]) -> None:
            writes.append(list(payload))
            original(payload)

        monkeypatch.setattr(transport, "writelines", count)
        await asyncio.gather(*(log.put(ref(f"p{n}"), body(f"p{n}"), expected=0, author=AUTHOR) for n in range(200)))
        published = [sum(part.count(b"HPUB ") for part in parts) for parts in writes]
        assert sum(published) == 200
        assert len([count for count in published if count]) == 1
        assert len(bus._client._subs) == subscriptions


async def test_a_write_to_a_paused_server_is_settled_when_it_goes_on(nats_server: NatsServer) -> None:
    async with writer(nats_server) as (bus, log):
        first = await log.put(ref("a"), body("a"), expected=0, author=AUTHOR)
        nats_server.pause()
        try:
            async with asyncio.TaskGroup() as group:
                put = group.create_task(log.put(ref("a"), body("a"), expected=first, author=AUTHOR, timeout=0.3))
                create = group.create_task(log.put(ref("b"), body("b"), expected=0, author=AUTHOR, timeout=0.3))
                batch = group.create_task(
                    log.batch([Write(ref(f"c{n}"), body(f"c{n}"), 0) for n in range(10)], AUTHOR, timeout=0.3)
                )
                # the time limits of all three have passed, and they ask what became of them
                await wait_for(lambda: sum(".MSG.GET." in call.subject for call in bus._calls.values()) == 3)
                assert not any(task.done() for task in (put, create, batch))
                nats_server.resume()
        finally:
            nats_server.resume()
        jetstream = JetStream(bus)
        for name, revision in (("a", put.result()), ("b", create.result()), ("c9", batch.result()[-1])):
            last = await jetstream.last_message(STATE, subject_of(ref(name)))
            assert last is not None
            assert last.sequence == revision
        # each was written once
        info = await jetstream.api(f"STREAM.INFO.{STATE}", {"subjects_filter": "s.>"})
        counts = info["state"]["subjects"]
        assert {name: counts[subject_of(ref(name))] for name in ("a", "b", "c0", "c9")} == {
            "a": 2,
            "b": 1,
            "c0": 1,
            "c9": 1,
        }


async def test_a_write_under_way_when_the_server_dies_is_settled_by_the_next_one(nats_server: NatsServer) -> None:
    async with writer(nats_server) as (bus, log):
        first = await log.put(ref("a"), body("a"), expected=0, author=AUTHOR)
        nats_server.pause()
        async with asyncio.TaskGroup() as group:
            put = group.create_task(log.put(ref("a"), body("a"), expected=first, author=AUTHOR, timeout=60))
            await asyncio.sleep(0)
            nats_server.kill()
            await wait_for(lambda: not bus.connected)
            # a new write is refused at once, the one under way waits for a server that can tell
            with pytest.raises(Disconnected):
                await log.put(ref("b"), body("b"), expected=0, author=AUTHOR)
            assert not put.done()
            await asyncio.to_thread(nats_server.start)
        assert put.result() > first


async def test_a_write_that_nobody_can_settle_fails_as_unknown(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.state.log.SETTLE_S", 0.3)
    async with writer(nats_server) as (_, log):
        nats_server.pause()
        try:
            with pytest.raises(BusError):
                await log.put(ref("a"), body("a"), expected=0, author=AUTHOR, timeout=0.2)
        finally:
            nats_server.resume()


async def test_readers_that_wait_at_the_same_time_share_a_barrier(nats_server: NatsServer) -> None:
    async with writer(nats_server) as (bus, log), fed(bus) as cache:
        before = cache.revision
        revisions = await asyncio.gather(*(cache.consistent() for _ in range(200)))
        assert min(revisions) > before
        # nothing but barriers was written: one for the first, one for those who came while it was on its way
        assert max(revisions) - before <= 2
        assert await log.put(ref("a"), body("a"), expected=0, author=AUTHOR) == max(revisions) + 1


async def test_a_lost_message_is_noticed_and_read_again(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[str] = []
    deliver = PullConsumer._on_message

    async def lose_one(self: PullConsumer, message: Message) -> None:
        if message.subject == subject_of(ref("p3")) and not lost:
            lost.append(message.subject)
            return
        await deliver(self, message)

    monkeypatch.setattr(PullConsumer, "_on_message", lose_one)
    async with writer(nats_server) as (bus, log), fed(bus) as cache:
        subscription = cache.subscribe("", "pods")
        revisions = [await log.put(ref(f"p{n}"), body(f"p{n}"), expected=0, author=AUTHOR) for n in range(6)]
        await cache.wait_revision(revisions[-1], LIMIT_S)
        assert lost
        assert [change.revision for change in subscription.take()] == revisions
        assert "was expected, not" in caplog.text
        subscription.close()


async def test_a_reader_goes_on_where_it_was_after_a_restart_of_the_server(nats_server: NatsServer) -> None:
    async with (
        writer(nats_server) as (bus, log),
        connect(nats_server.settings("scheduler"), "reader") as reading,
        fed(reading) as cache,
    ):
        subscription = cache.subscribe("", "pods")
        revisions = [await log.put(ref("a"), body("a"), expected=0, author=AUTHOR)]
        for number in range(3):
            nats_server.kill()
            await wait_for(lambda: not bus.connected)
            await asyncio.to_thread(nats_server.start)
            await bus.wait_connected()
            revisions.append(await log.put(ref(f"b{number}"), body("b"), expected=0, author=AUTHOR))
        await cache.wait_revision(revisions[-1], LIMIT_S)
        assert [change.revision for change in subscription.take()] == revisions
        subscription.close()


async def test_a_load_of_large_objects_is_whole(nats_server: NatsServer) -> None:
    async with writer(nats_server) as (bus, log):
        large = {"data": "x" * 400_000}
        revisions = [
            await log.put(ref(f"p{number}"), body(f"p{number}") | large, expected=0, author=AUTHOR)
            for number in range(100)
        ]
        async with fed(bus) as cache:
            assert sorted(record.revision for record in cache.list("", "pods")) == revisions
