"""kill -9 of nats-server under load: whatever was acknowledged is there afterwards, and nothing is written twice."""

from __future__ import annotations

import asyncio

from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.errors import BusError, BusTimeout, Disconnected, RevisionConflict
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache, Change
from shared.state.feed import Feed
from shared.state.log import StateLog, Write
from shared.state.streams import ensure_streams
from tests.fakes.brokers import running, wait_for
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S

AUTHOR = Author("tester")
ROUNDS = 3


async def test_no_acknowledged_write_is_lost_and_every_reader_sees_the_same(nats_server: NatsServer) -> None:
    acknowledged: dict[str, int] = {}
    stop = asyncio.Event()
    async with (
        connect(nats_server.settings("apiserver"), "writer") as writing,
        connect(nats_server.settings("scheduler"), "reader") as reading,
    ):
        await ensure_streams(writing)
        log = StateLog(writing)
        cache = Cache()
        feed = Feed(reading, "STATE", cache)
        seen: list[Change] = []
        cache.on_change(seen.append)

        async def write(writer: int) -> None:
            number = 0
            while not stop.is_set():
                name = f"w{writer}-{number}"
                number += 1
                body = {"metadata": {"name": name, "namespace": "default"}}
                try:
                    acknowledged[name] = await log.put(
                        Ref("", "pods", "default", name), body, expected=0, author=AUTHOR
                    )
                except Disconnected:
                    await writing.wait_connected()

        async def write_batches() -> None:
            number = 0
            while not stop.is_set():
                names = [f"b{number}-{member}" for member in range(10)]
                number += 1
                writes = [
                    Write(Ref("", "pods", "default", name), {"metadata": {"name": name, "namespace": "default"}}, 0)
                    for name in names
                ]
                try:
                    acknowledged.update(zip(names, await log.batch(writes, AUTHOR), strict=True))
                except Disconnected:
                    await writing.wait_connected()

        async with running(feed.run()):
            await feed.wait_loaded()
            async with asyncio.TaskGroup() as group:
                for writer in range(20):
                    group.create_task(write(writer), name=f"writer {writer}")
                group.create_task(write_batches(), name="batches")
                for _ in range(ROUNDS):
                    target = len(acknowledged) + 300
                    await wait_for(lambda target=target: len(acknowledged) >= target, "writes go on")
                    nats_server.kill()
                    await asyncio.to_thread(nats_server.start)
                target = len(acknowledged) + 100
                await wait_for(lambda: len(acknowledged) >= target, "writes go on at the end")
                stop.set()
            await cache.wait_revision(max(acknowledged.values()), LIMIT_S)
            stored = {record.ref.name: record.revision for record in cache.list("", "pods")}
            fresh = Cache()
            second = Feed(writing, "STATE", fresh)
            async with running(second.run()):
                await second.wait_loaded()
                assert {record.ref.name: record.revision for record in fresh.list("", "pods")} == stored
    assert {name: revision for name, revision in acknowledged.items() if stored.get(name) != revision} == {}
    revisions = [change.revision for change in seen]
    assert revisions == sorted(set(revisions))
    batches: dict[str, int] = {}
    for name in stored:
        if name.startswith("b"):
            batches[name.split("-")[0]] = batches.get(name.split("-")[0], 0) + 1
    assert set(batches.values()) <= {10}


async def test_a_write_whose_answer_was_lost_is_settled_by_its_id(nats_server: NatsServer) -> None:
    ref = Ref("", "pods", "default", "a")
    body = {"metadata": {"name": "a", "namespace": "default"}}
    async with connect(nats_server.settings("apiserver"), "writer") as bus:
        await ensure_streams(bus)
        log = StateLog(bus)
        first = await log.put(ref, body, expected=0, author=AUTHOR)
        call = bus.call

        async def lose_answer(*args: object, **kwargs: object) -> object:
            await call(*args, **kwargs)  # type: ignore[arg-type]
            bus.call = call  # type: ignore[method-assign]
            raise Disconnected("on purpose", sent=True)

        bus.call = lose_answer  # type: ignore[method-assign, assignment]
        second = await log.put(ref, body, expected=first, author=AUTHOR)
        assert second == first + 1

        async def lose_request(*args: object, **kwargs: object) -> object:
            bus.call = call  # type: ignore[method-assign]
            raise Disconnected("on purpose", sent=True)

        bus.call = lose_request  # type: ignore[method-assign, assignment]
        assert await log.put(ref, body, expected=second, author=AUTHOR) == second + 1

        async def be_late(*args: object, **kwargs: object) -> object:
            bus.call = call  # type: ignore[method-assign]
            await log.put(ref, body, expected=second + 1, author=AUTHOR)
            raise Disconnected("on purpose", sent=True)

        bus.call = be_late  # type: ignore[method-assign, assignment]
        outcome: object = None
        try:
            await log.put(ref, body, expected=second + 1, author=AUTHOR)
        except (RevisionConflict, BusError) as exc:
            outcome = exc
        assert isinstance(outcome, RevisionConflict)
        assert outcome.actual == second + 2


async def test_a_second_attempt_that_the_first_stands_in_the_way_of_is_no_conflict(nats_server: NatsServer) -> None:
    ref = Ref("", "pods", "default", "a")
    body = {"metadata": {"name": "a", "namespace": "default"}}
    async with connect(nats_server.settings("apiserver"), "writer") as bus:
        await ensure_streams(bus)
        log = StateLog(bus)
        call = bus.call
        attempts: list[tuple[object, ...]] = []

        async def delay_first(subject: str, data: bytes = b"", headers: object = None, timeout: float = 5.0) -> object:
            """A replicated stream: the first attempt is on its way, is asked for in vain, and refuses the second."""
            if not subject.startswith("s."):
                answer = await call(subject, data, headers, timeout)  # type: ignore[arg-type]
                if len(attempts) == 2:
                    attempts.append(())
                    await call(*attempts[0])  # type: ignore[arg-type]
                return answer
            attempts.append((subject, data, headers))
            if len(attempts) == 1:
                raise BusTimeout("on purpose")
            raise RevisionConflict("on purpose")

        bus.call = delay_first  # type: ignore[method-assign, assignment]
        revision = await log.put(ref, body, expected=0, author=AUTHOR)
        bus.call = call  # type: ignore[method-assign]
        stored = await JetStream(bus).last_message("STATE", "s.core.pods.default.a")
        assert stored is not None
        assert stored.sequence == revision


async def test_a_log_made_anew_is_loaded_anew(nats_server: NatsServer) -> None:
    def body(name: str) -> dict[str, dict[str, str]]:
        return {"metadata": {"name": name, "namespace": "default"}}

    async with connect(nats_server.settings("admin"), "writer") as bus:
        await ensure_streams(bus)
        log = StateLog(bus)
        cache = Cache()
        feed = Feed(bus, "STATE", cache)
        async with running(feed.run()):
            await feed.wait_loaded()
            revision = await log.put(Ref("", "pods", "default", "old"), body("old"), expected=0, author=AUTHOR)
            await cache.wait_revision(revision, LIMIT_S)
        await JetStream(bus).api("STREAM.DELETE.STATE")
        await ensure_streams(bus)
        for name in ("x", "y", "z"):
            await log.put(Ref("", "pods", "default", name), body(name), expected=0, author=AUTHOR)
        async with running(feed.run()):
            await wait_for(lambda: [record.ref.name for record in cache.list("", "pods")] == ["x", "y", "z"])
