"""The state log over any adapter of the bus: log, feed, cache, leases; subclassed with a `broker` fixture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.bus.port import Bus
from shared.errors import Disconnected, RevisionConflict, StateError
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache, Change
from shared.state.feed import Feed
from shared.state.leases import Leases, LeaseWatch, NodeLease
from shared.state.log import StateLog, Write
from shared.state.streams import ensure_streams
from tests.fakes.brokers import TestBroker, running, wait_for
from tests.slowness import LIMIT_S

AUTHOR = Author("tester", "pytest/1", "suite")


def ref(name: str, resource: str = "pods") -> Ref:
    return Ref("", resource, "default", name)


def obj(name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, **more}


@asynccontextmanager
async def fed(bus: Bus, stream: str = "STATE", subjects: tuple[str, ...] = ()) -> AsyncIterator[Cache]:
    """A cache kept current while the block runs."""
    cache = Cache()
    feed = Feed(bus, stream, cache, subjects)
    async with running(feed.run()):
        await feed.wait_loaded()
        yield cache


class LogSuite:
    async def test_a_put_is_seen_by_every_cache_with_author_and_cause(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        async with fed(bus) as cache, fed(await broker.connect("scheduler")) as other:
            revision = await log.put(ref("a"), obj("a"), expected=0, author=AUTHOR, cause="because")
            for seen in (cache, other):
                await seen.wait_revision(revision, LIMIT_S)
                record = seen.get(ref("a"))
                assert record is not None
                assert (record.revision, record.author, record.cause) == (revision, AUTHOR, "because")
                assert record.object["metadata"]["resourceVersion"] == str(revision)

    async def test_a_put_expecting_another_revision_conflicts(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        first = await log.put(ref("a"), obj("a"), expected=0, author=AUTHOR)
        second = await log.put(ref("a"), obj("a"), expected=first, author=AUTHOR)
        with pytest.raises(RevisionConflict) as caught:
            await log.put(ref("a"), obj("a"), expected=first, author=AUTHOR)
        assert caught.value.actual == second

    async def test_of_concurrent_writers_exactly_one_wins_each_revision(self, broker: TestBroker) -> None:
        setup = await broker.connect("apiserver")
        await ensure_streams(setup)
        buses = [await broker.connect("apiserver") for _ in range(4)]
        revision = await StateLog(setup).put(ref("count"), obj("count", n=0), expected=0, author=AUTHOR)
        successes = 0

        async def add(bus: Bus) -> None:
            nonlocal successes
            log = StateLog(bus)
            async with fed(bus) as cache:
                done = 0
                while done < 20:
                    record = cache.get(ref("count"))
                    assert record is not None
                    try:
                        new = await log.put(
                            ref("count"),
                            obj("count", n=record.object["n"] + 1),
                            expected=record.revision,
                            author=AUTHOR,
                        )
                    except RevisionConflict:
                        await cache.consistent()
                        continue
                    done += 1
                    successes += 1
                    await cache.wait_revision(new, LIMIT_S)

        async with asyncio.TaskGroup() as group:
            for number, bus in enumerate(buses):
                group.create_task(add(bus), name=f"writer {number}")
        async with fed(setup) as cache:
            record = cache.get(ref("count"))
            assert record is not None
            assert record.object["n"] == successes == 80
            assert record.revision > revision

    async def test_a_deleted_object_can_be_created_again(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        async with fed(bus) as cache:
            changes: list[Change] = []
            cache.on_change(changes.append)
            first = await log.put(ref("a"), obj("a"), expected=cache.expected(ref("a")), author=AUTHOR)
            second = await log.delete(ref("a"), obj("a"), expected=first, author=AUTHOR)
            await cache.wait_revision(second, LIMIT_S)
            assert cache.get(ref("a")) is None
            assert cache.expected(ref("a")) == second
            third = await log.put(ref("a"), obj("a"), expected=second, author=AUTHOR)
            await cache.wait_revision(third, LIMIT_S)
            assert [change.type for change in changes] == ["ADDED", "DELETED", "ADDED"]
            assert changes[1].record.object["metadata"]["resourceVersion"] == str(second)

    async def test_a_tombstone_is_known_after_a_first_load(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        first = await log.put(ref("a"), obj("a"), expected=0, author=AUTHOR)
        second = await log.delete(ref("a"), obj("a"), expected=first, author=AUTHOR)
        async with fed(bus) as cache:
            assert cache.get(ref("a")) is None
            assert cache.expected(ref("a")) == second

    async def test_a_batch_is_applied_whole(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        async with fed(bus) as cache:
            first = await log.put(ref("old"), obj("old"), expected=0, author=AUTHOR)
            await cache.wait_revision(first, LIMIT_S)
            subscription = cache.subscribe("", "pods")
            writes = [Write(ref(f"p{n:03}"), obj(f"p{n:03}"), 0) for n in range(100)]
            revisions = await log.batch([*writes, Write(ref("old"), obj("old"), first, "delete")], AUTHOR)
            assert revisions == list(range(first + 1, first + 102))
            changes = await anext(subscription)
            assert [change.revision for change in changes] == revisions
            subscription.close()

    async def test_a_batch_with_one_conflict_changes_nothing(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        await log.put(ref("b"), obj("b"), expected=0, author=AUTHOR)
        with pytest.raises(RevisionConflict):
            await log.batch([Write(ref("a"), obj("a"), 0), Write(ref("b"), obj("b"), 0)], AUTHOR)
        async with fed(bus) as cache:
            assert [record.ref.name for record in cache.list("", "pods")] == ["b"]

    async def test_a_filtered_feed_sees_its_part_of_a_batch(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        async with fed(bus, subjects=("s.core.pods.>", "s.core.nodes.>")) as cache:
            await log.batch(
                [Write(ref("a"), obj("a"), 0), Write(ref("b"), obj("b"), 0), Write(ref("c", "secrets"), obj("c"), 0)],
                AUTHOR,
            )
            await wait_for(lambda: cache.count("", "pods") == 2)
            assert cache.list("", "secrets") == []

    async def test_events_have_a_stream_and_revisions_of_their_own(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        await log.put(ref("a"), obj("a"), expected=0, author=AUTHOR)
        async with fed(bus) as state, fed(bus, "EVENTS") as events:
            last = events.revision
            revision = await log.put(ref("e", "events"), obj("e"), expected=0, author=AUTHOR)
            assert revision == last + 1
            assert await events.consistent() > revision
            assert events.count("", "events") == 1
            assert state.count("", "events") == 0
            with pytest.raises(StateError, match="batch"):
                await log.batch([Write(ref(name, "events"), obj(name), 0) for name in "xy"], AUTHOR)

    async def test_a_consistent_read_sees_what_others_wrote_before(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(await broker.connect("scheduler"))
        async with fed(bus) as cache:
            for number in range(20):
                revision = await log.put(ref(f"p{number}"), obj(f"p{number}"), expected=0, author=AUTHOR)
                reached = await asyncio.gather(*(cache.consistent() for _ in range(5)))
                assert min(reached) > revision
                assert cache.get(ref(f"p{number}")) is not None

    async def test_a_feed_goes_on_after_the_broker_died(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        async with fed(bus) as cache:
            first = await log.put(ref("a"), obj("a"), expected=0, author=AUTHOR)
            await cache.wait_revision(first, LIMIT_S)
            subscription = cache.subscribe("", "pods")
            await broker.kill()
            with pytest.raises(Disconnected):
                await log.put(ref("b"), obj("b"), expected=0, author=AUTHOR)
            await broker.start()
            second = await log.put(ref("b"), obj("b"), expected=0, author=AUTHOR)
            changes = await anext(subscription)
            assert [(change.type, change.revision) for change in changes] == [("ADDED", second)]
            subscription.close()

    async def test_a_message_that_is_no_object_is_skipped(self, broker: TestBroker) -> None:
        bus = await broker.connect("apiserver")
        await ensure_streams(bus)
        log = StateLog(bus)
        async with fed(bus) as cache:
            await bus.call("s.core.pods.default.bad", b"not msgpack")
            revision = await log.put(ref("a"), obj("a"), expected=0, author=AUTHOR)
            await cache.wait_revision(revision, LIMIT_S)
            assert [record.ref.name for record in cache.list("", "pods")] == ["a"]


class LeaseSuite:
    async def test_the_second_candidate_leads_when_the_first_gives_up(self, broker: TestBroker) -> None:
        first, second = await broker.connect("scheduler"), await broker.connect("scheduler")
        await ensure_streams(await broker.connect("apiserver"))
        order: list[str] = []

        async def lead(bus: Bus, identity: str, leave: asyncio.Event) -> None:
            async with Leases(bus).leadership("scheduler", identity, ttl_s=30):
                order.append(identity)
                await leave.wait()
                order.append(f"{identity} leaves")

        leave = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(lead(first, "a", leave), name="a")
            await wait_for(lambda: order == ["a"])
            group.create_task(lead(second, "b", leave), name="b")
            leave.set()
        assert order == ["a", "a leaves", "b", "b leaves"]

    async def test_a_dead_leader_is_followed_when_its_lease_expires(self, broker: TestBroker) -> None:
        bus = await broker.connect("admin")
        await ensure_streams(bus)
        await bus.call("l.leader.x", b"\x81\xa8identity\xa4dead", {"Nats-TTL": "1s"})
        async with asyncio.timeout(LIMIT_S), Leases(bus).leadership("x", "next", ttl_s=5):
            pass

    async def test_a_leader_that_cannot_renew_learns_that_it_lost(self, broker: TestBroker) -> None:
        bus = await broker.connect("scheduler")
        await ensure_streams(await broker.connect("apiserver"))
        async with Leases(bus).leadership("scheduler", "a", ttl_s=1) as lost:
            await broker.kill()
            async with asyncio.timeout(LIMIT_S):
                await lost.wait()
            await broker.start()

    async def test_a_usurped_leader_learns_that_it_lost(self, broker: TestBroker) -> None:
        bus = await broker.connect("admin")
        await ensure_streams(bus)
        async with Leases(bus).leadership("x", "a", ttl_s=3) as lost:
            await bus.call("l.leader.x", b"\x81\xa8identity\xa5other", {"Nats-TTL": "60s"})
            async with asyncio.timeout(LIMIT_S):
                await lost.wait()

    async def test_a_node_that_stops_renewing_expires_and_comes_back(self, broker: TestBroker) -> None:
        await ensure_streams(await broker.connect("apiserver"))
        node = Leases(await broker.connect("node-node-1"))
        watch = LeaseWatch(await broker.connect("controllers"))
        heard: list[NodeLease] = []
        watch.on_change = heard.append
        async with running(watch.run()):
            await watch.wait_loaded()
            await node.renew_node("node-1", 1, {"ready": True})
            await wait_for(lambda: len(heard) == 2)
            await node.renew_node("node-1", 60)
            await wait_for(lambda: len(heard) == 3)
        assert [lease.alive for lease in heard] == [True, False, True]
        assert heard[0].payload == {"node": "node-1", "ready": True}

    async def test_the_watch_tells_since_when_it_has_seen_everything(self, broker: TestBroker) -> None:
        await ensure_streams(await broker.connect("apiserver"))
        node = Leases(await broker.connect("node-node-1"))
        watch = LeaseWatch(await broker.connect("controllers"))
        async with running(watch.run()):
            await watch.wait_loaded()
            before = watch.up_since
            assert before is not None
            await node.renew_node("node-1", 60)
            await wait_for(lambda: "node-1" in watch.nodes)
            await broker.kill()
            await wait_for(lambda: watch.up_since is None)
            assert watch.nodes["node-1"].alive
            await broker.start()
            await wait_for(lambda: watch.up_since is not None)
            assert watch.up_since is not None
            assert watch.up_since > before
            assert watch.nodes["node-1"].alive
