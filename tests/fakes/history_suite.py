"""The history of the state log over any adapter of the bus; subclassed with a `broker` fixture."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.bus.jetstream import JetStream
from shared.bus.port import Bus
from shared.errors import RevisionTooOld
from shared.events.envelope import Author
from shared.events.subjects import Ref, subject_of
from shared.state import floors
from shared.state.cache import Cache
from shared.state.compactor import Compactor
from shared.state.feed import Feed
from shared.state.history import History
from shared.state.log import CREATE, StateLog, Write
from shared.state.record import Change, Record
from shared.state.streams import STATE, ensure_streams
from tests.fakes.brokers import TestBroker, running, wait_for
from tests.slowness import LIMIT_S

AUTHOR = Author("tester", "pytest/1", "suite")


def ref(name: str) -> Ref:
    return Ref("", "pods", "default", name)


class Scene:
    """A log with its history, and short ways to write."""

    def __init__(self, bus: Bus, cache: Cache) -> None:
        self.bus = bus
        self.cache = cache
        self.log = StateLog(bus)
        self.history = History(bus, cache)

    async def put(self, name: str, n: int = 0) -> int:
        body = {"metadata": {"name": name, "namespace": "default"}, "n": n}
        op = "put" if self.cache.get(ref(name)) else CREATE
        return await self._seen(
            await self.log.write(Write(ref(name), body, self.cache.expected(ref(name)), op), AUTHOR)
        )

    async def delete(self, name: str) -> int:
        record = self.cache.get(ref(name))
        assert record is not None
        return await self._seen(
            await self.log.delete(ref(name), record.object, expected=record.revision, author=AUTHOR)
        )

    async def state(self, revision: int) -> dict[str, int]:
        return {one.ref.name: one.object["n"] for one in await self.history.at("", "pods", "default", revision)}

    async def changes(self, since: int) -> list[Change]:
        until = self.cache.revision
        return [
            change async for changes in self.history.changes("", "pods", "default", since, until) for change in changes
        ]

    async def _seen(self, revision: int) -> int:
        await self.cache.wait_revision(revision, LIMIT_S)
        return revision


@asynccontextmanager
async def scene(broker: TestBroker, revisions: int = 100) -> AsyncIterator[Scene]:
    bus = await broker.connect("apiserver")
    await ensure_streams(bus, broker.replicas, revisions)
    cache = Cache()
    feed = Feed(bus, STATE, cache)
    async with running(feed.run()):
        await feed.wait_loaded()
        yield Scene(bus, cache)


def told(change: Change) -> tuple[str, str, int, int | None]:
    return (
        change.type,
        change.record.ref.name,
        change.revision,
        change.previous.revision if change.previous is not None else None,
    )


def summary(record: Record) -> tuple[int, int, bool, Any]:
    return record.revision, record.predecessor, record.deleted, record.object.get("n")


class HistorySuite:
    async def test_the_state_at_any_revision_is_what_it_was(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            seen: dict[int, dict[str, int]] = {}
            expected: dict[str, int] = {}
            for number in range(30):
                name = f"p{number % 4}"
                if number % 7 == 6 and name in expected:
                    revision = await log.delete(name)
                    del expected[name]
                else:
                    revision = await log.put(name, number)
                    expected[name] = number
                seen[revision] = dict(expected)
            for revision, state in seen.items():
                assert await log.state(revision) == state

    async def test_the_changes_since_any_revision_are_told_whole(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            first = await log.put("a")
            second = await log.put("b")
            third = await log.put("a", 1)
            fourth = await log.delete("a")
            fifth = await log.put("a", 2)
            everything = [
                ("ADDED", "a", first, None),
                ("ADDED", "b", second, None),
                ("MODIFIED", "a", third, first),
                ("DELETED", "a", fourth, third),
                ("ADDED", "a", fifth, None),
            ]
            for index, since in enumerate([first, second, third, fourth, fifth], 1):
                assert [told(change) for change in await log.changes(since)] == everything[index:]

    async def test_the_revisions_of_an_object_survive_its_deletion(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            first = await log.put("a", 1)
            second = await log.put("a", 2)
            third = await log.delete("a")
            fourth = await log.put("a", 4)
            await log.put("b")
            found = await log.history.revisions(ref("a"))
            assert [summary(record) for record in found] == [
                (first, 0, False, 1),
                (second, first, False, 2),
                (third, second, True, 2),
                (fourth, third, False, 4),
            ]
            assert {record.author for record in found} == {AUTHOR}

    async def test_one_object_is_read_at_a_revision(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            await log.put("b")
            before = log.cache.revision
            first = await log.put("a", 1)
            await log.put("a", 2)
            gone = await log.delete("a")
            for revision, n in ((before, None), (first, 1), (gone, None)):
                record = await log.history.get(ref("a"), revision)
                assert (record.object["n"] if record else None) == n

    async def test_an_object_with_more_revisions_than_are_kept_is_refused_not_guessed(self, broker: TestBroker) -> None:
        async with scene(broker, revisions=3) as log:
            first = await log.put("a", 1)
            revisions = [await log.put("a", number) for number in range(2, 7)]
            with pytest.raises(RevisionTooOld):
                await log.state(first)
            with pytest.raises(RevisionTooOld):
                await log.changes(first)
            # the revisions 4, 5 and 6 are kept, so what was at 4 and what came after it is known
            assert await log.state(revisions[-3]) == {"a": 4}
            assert [change.revision for change in await log.changes(revisions[-3])] == revisions[-2:]

    async def test_compaction_keeps_what_the_floor_needs_and_nothing_else(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            await log.put("kept", 1)
            await log.put("gone", 1)
            await log.put("changed", 1)
            await log.put("changed", 2)
            await log.delete("gone")
            before = log.cache.revision
            floor = (await Compactor(log.bus, 0.0).compact()).revision
            assert floor >= before
            await wait_for(lambda: log.cache.history_floor == floor)
            assert await log.state(floor) == {"kept": 1, "changed": 2}
            assert len(await log.history.revisions(ref("changed"))) == 1
            assert await JetStream(log.bus).last_message(STATE, subject_of(ref("gone"))) is None
            with pytest.raises(RevisionTooOld) as caught:
                await log.state(before - 1)
            assert caught.value.floor == floor
            with pytest.raises(RevisionTooOld):
                await log.changes(before - 1)
            # the name can be used again although this cache still remembers a tombstone that is gone
            later = await log.put("changed", 3)
            assert await log.state(floor) == {"kept": 1, "changed": 2}
            assert [change.revision for change in await log.changes(floor)] == [later]

    async def test_history_younger_than_the_retention_stays(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            first = await log.put("a", 1)
            await log.put("a", 2)
            assert (await Compactor(log.bus, 3600.0).compact()).revision < first
            assert await log.state(first) == {"a": 1}

    async def test_a_recreated_object_is_known_although_the_tombstone_below_it_was_removed(
        self, broker: TestBroker
    ) -> None:
        async with scene(broker) as log:
            await log.put("a", 1)
            await log.delete("a")
            moment = time.time()
            middle = await log.put("other", 1)
            created = await log.put("a", 2)
            # the horizon lies between the deletion and the second life
            await Compactor(log.bus, 100.0, lambda: moment + 100.0).compact()
            await wait_for(lambda: log.cache.history_floor > 0)
            assert log.cache.history_floor < middle
            assert await log.state(middle) == {"other": 1}
            assert [told(change) for change in await log.changes(middle)] == [("ADDED", "a", created, None)]

    async def test_a_compaction_that_was_interrupted_is_finished_by_the_next(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            await log.put("a", 1)
            last = await log.put("a", 2)
            jetstream = JetStream(log.bus)
            # the leader published the floor and died
            await floors.write(jetstream, floors.Floor(revision=last))
            await Compactor(log.bus, 3600.0).compact()
            assert [record.revision for record in await log.history.revisions(ref("a"))] == [last]
            assert (await floors.read(jetstream)).purged == last

    async def test_every_cache_learns_the_same_floor(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            await log.put("a", 1)
            floor = (await Compactor(log.bus, 0.0).compact()).revision
            fresh = Cache()
            feed = Feed(await broker.connect("scheduler"), STATE, fresh)
            async with running(feed.run()):
                await feed.wait_loaded()
                assert fresh.history_floor == floor
            await wait_for(lambda: log.cache.history_floor == floor)
            # what anyone writes next expects what the cache says
            assert await log.put("a", 2) > floor

    async def test_a_reader_that_was_away_while_the_floor_passed_it_begins_anew(self, broker: TestBroker) -> None:
        async with scene(broker) as log:
            await log.put("gone", 1)
            await log.put("kept", 1)
            reading = await broker.connect("scheduler")
            cache = Cache()
            feed = Feed(reading, STATE, cache)
            changes: list[str] = []
            async with running(feed.run()):
                await feed.wait_loaded()
                await cache.consistent()
            subscription = cache.subscribe("", "pods")
            cache.on_change(lambda change: changes.append(f"{change.type} {change.record.ref.name}"))
            changes.clear()
            await log.delete("gone")
            await Compactor(log.bus, 0.0).compact()
            async with running(feed.run()):
                await wait_for(lambda: bool(changes))
                assert changes == ["DELETED gone"]
                assert [record.ref.name for record in cache.list("", "pods")] == ["kept"]
                with pytest.raises(RevisionTooOld):
                    await anext(subscription)
            subscription.close()

    async def test_a_reader_that_missed_revisions_which_are_gone_ends_its_watches(self, broker: TestBroker) -> None:
        async with scene(broker, revisions=3) as log:
            await log.put("a", 0)
            cache = Cache()
            feed = Feed(await broker.connect("scheduler"), STATE, cache)
            async with running(feed.run()):
                await feed.wait_loaded()
            subscription, other = cache.subscribe("", "pods"), cache.subscribe("", "secrets")
            revisions = [await log.put("a", number) for number in range(1, 8)]
            async with running(feed.run()):
                await cache.wait_revision(revisions[-1], LIMIT_S)
                record = cache.get(ref("a"))
                assert record is not None
                assert record.object["n"] == 7
                with pytest.raises(RevisionTooOld):
                    subscription.take()
                # nothing is missing there
                assert other.take() == []
            subscription.close()
            other.close()

    async def test_what_is_told_of_the_past_is_the_truth_or_nothing(self, broker: TestBroker) -> None:
        chance = random.Random(4711)
        kept = 12
        async with scene(broker, kept) as log:
            state: dict[str, int] = {}
            states: dict[int, dict[str, int]] = {}
            story: list[tuple[str, str, int]] = []
            moments: list[float] = []
            for number in range(120):
                name = chance.choice("abcdef")
                if name in state and chance.random() < 0.3:
                    revision, kind = await log.delete(name), "DELETED"
                    del state[name]
                else:
                    kind = "MODIFIED" if name in state else "ADDED"
                    revision = await log.put(name, number)
                    state[name] = number
                story.append((kind, name, revision))
                states[revision] = dict(state)
                moments.append(time.time())
                if number % 40 == 39:
                    # the history begins at some earlier moment
                    horizon = moments[chance.randrange(len(moments) // 2, len(moments) - 5)]
                    floor = (await Compactor(log.bus, 50.0, lambda horizon=horizon: horizon + 50.0).compact()).revision
                    await wait_for(lambda floor=floor: log.cache.history_floor >= floor)
            told = refused = 0
            for revision, truth in states.items():
                following = [one for one in story if one[2] > revision]
                # how often each object changed later: with fewer changes than are kept nothing may be refused
                most = max([0, *(sum(one[1] == name for one in following) for name in "abcdef")])
                must = revision >= log.cache.history_floor and most < kept
                try:
                    assert await log.state(revision) == truth
                    changes = await log.changes(revision)
                    assert [(one.type, one.record.ref.name, one.revision) for one in changes] == following
                    told += 1
                except RevisionTooOld:
                    assert not must, f"revision {revision} was refused"
                    refused += 1
            assert told > 10
            assert refused > 10
