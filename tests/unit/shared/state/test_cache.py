"""The cache without any bus: records in, snapshots, changes and waits out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BusTimeout, RevisionTooOld, StateError
from shared.events.subjects import Ref
from shared.state.cache import Cache, Change, Record
from shared.state.streams import TOMBSTONE_S


def record(name: str, revision: int, namespace: str = "default", *, deleted: bool = False, **more: Any) -> Record:
    ref = Ref("", "pods", namespace, name)
    raw = msgspec.msgpack.encode({"metadata": {"name": name, "namespace": namespace}, **more})
    return Record(ref, revision, raw, time=time.time(), deleted=deleted)


def loaded(*records: Record, revision: int = 0, ring: int = 100) -> Cache:
    cache = Cache(ring)
    cache.replace(records, revision)
    return cache


def names(records: list[Record]) -> list[str]:
    return [f"{found.ref.namespace}/{found.ref.name}" for found in records]


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["n1", "n2", "n10"]), st.booleans()), max_size=40
)


@given(OPERATIONS)
def test_lists_are_sorted_and_changes_replayed_give_the_same_content(
    operations: list[tuple[str, str, bool]],
) -> None:
    cache = loaded()
    replayed: dict[Ref, int] = {}
    kinds: list[str] = []

    def follow(change: Change) -> None:
        kinds.append(change.type)
        known = replayed.pop(change.record.ref, None)
        assert (change.type == "ADDED") == (known is None)
        assert (change.previous.revision if change.previous else None) == known
        if change.type != "DELETED":
            replayed[change.record.ref] = change.revision

    cache.on_change(follow)
    model: dict[tuple[str, str], int] = {}
    for revision, (name, namespace, deleted) in enumerate(operations, 1):
        cache.apply([record(name, revision, namespace, deleted=deleted)])
        if deleted:
            model.pop((namespace, name), None)
        else:
            model[namespace, name] = revision
        assert cache.expected(Ref("", "pods", namespace, name)) == revision
    assert [(found.ref[2:], found.revision) for found in cache.list("", "pods")] == sorted(model.items())
    assert {ref[2:]: revision for ref, revision in replayed.items()} == model
    for namespace in ("n1", "n2", "n10"):
        expected = sorted(key for key in model if key[0] == namespace)
        assert [found.ref[2:] for found in cache.list("", "pods", namespace)] == expected
    assert cache.revision == len(operations)


def test_an_object_carries_its_revision_in_every_form() -> None:
    found = record("a", 7, spec={"x": 1})
    assert msgspec.json.decode(found.json)["metadata"]["resourceVersion"] == "7"
    assert found.object["metadata"]["resourceVersion"] == "7"
    assert found.object is found.object
    assert found.object["spec"] == {"x": 1}
    assert Record(found.ref, 9, found.raw).object["metadata"]["resourceVersion"] == "9"


def test_a_first_load_tells_everything_once_and_later_listeners_too() -> None:
    cache = Cache()
    first: list[str] = []
    cache.on_change(lambda change: first.append(f"{change.type} {change.record.ref.name}"))
    cache.replace([record("b", 2), record("a", 1)], 5)
    second: list[str] = []
    remove = cache.on_change(lambda change: second.append(f"{change.type} {change.record.ref.name}"))
    assert sorted(first) == sorted(second) == ["ADDED a", "ADDED b"]
    assert cache.revision == 5
    remove()
    cache.apply([record("c", 6)])
    assert len(first) == 3
    assert len(second) == 2


def test_a_callback_that_fails_does_not_keep_the_others_from_hearing() -> None:
    cache = loaded()
    heard: list[int] = []

    def fail(change: Change) -> None:
        raise ZeroDivisionError

    cache.on_change(fail)
    cache.on_change(lambda change: heard.append(change.revision))
    cache.apply([record("a", 1)])
    assert heard == [1]


async def test_a_watch_resumes_after_its_revision() -> None:
    cache = loaded()
    cache.apply([record("a", 1), record("b", 2)])
    subscription = cache.subscribe("", "pods", since=1)
    cache.apply([record("a", 3)])
    assert [(change.type, change.revision) for change in await anext(subscription)] == [("ADDED", 2), ("MODIFIED", 3)]


async def test_a_watch_of_a_namespace_hears_of_no_other() -> None:
    cache = loaded()
    subscription = cache.subscribe("", "pods", "n1")
    cache.apply([record("a", 1, "n2"), record("b", 2, "n1")])
    assert [change.revision for change in await anext(subscription)] == [2]


async def test_a_watch_below_the_ring_or_the_load_is_too_old() -> None:
    cache = loaded(record("a", 3), revision=10, ring=2)
    with pytest.raises(RevisionTooOld) as caught:
        cache.subscribe("", "pods", since=9)
    assert caught.value.floor == 10
    cache.apply([record("a", revision) for revision in (11, 12, 13)])
    with pytest.raises(RevisionTooOld):
        cache.subscribe("", "pods", since=10)
    assert len(cache.subscribe("", "pods", since=11).take()) == 2
    # a quiet resource is not pushed out by a busy one
    cache.subscribe("", "services", since=10)


async def test_changes_that_hold_too_many_bytes_are_not_remembered_but_told() -> None:
    cache = Cache(ring=100, ring_bytes=1000)
    cache.replace([], 1)
    subscription = cache.subscribe("", "pods")
    cache.apply([record("a", revision, data="x" * 300) for revision in (2, 3, 4, 5)])
    assert [change.revision for change in cache.subscribe("", "pods", since=3).take()] == [4, 5]
    with pytest.raises(RevisionTooOld) as caught:
        cache.subscribe("", "pods", since=2)
    assert caught.value.floor == 3
    # one that is larger than all that may be held
    cache.apply([record("b", 6, data="x" * 2000)])
    assert [change.revision for change in subscription.take()] == [2, 3, 4, 5, 6]
    with pytest.raises(RevisionTooOld):
        cache.subscribe("", "pods", since=5)
    assert cache.subscribe("", "pods", since=6).take() == []
    cache.apply([record("a", 7)])
    assert [change.revision for change in cache.subscribe("", "pods", since=6).take()] == [7]


async def test_a_watch_from_the_future_starts_there() -> None:
    cache = loaded()
    subscription = cache.subscribe("", "pods", since=2)
    cache.apply([record("a", 1), record("b", 2), record("c", 3)])
    assert [change.revision for change in await anext(subscription)] == [3]


async def test_a_closed_subscription_ends() -> None:
    cache = loaded()
    subscription = cache.subscribe("", "pods")
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collect(subscription), name="reader")
        await asyncio.sleep(0)
        subscription.close()
    assert reader.result() == []
    cache.apply([record("a", 1)])
    assert subscription.take() == []


async def test_a_watcher_that_never_reads_is_cut_off() -> None:
    cache = loaded()
    subscription = cache.subscribe("", "pods")
    for revision in range(1, 50_003):
        subscription.offer(Change("MODIFIED", record("a", revision), None, revision))
    with pytest.raises(RevisionTooOld):
        await anext(subscription)


async def collect(subscription: Any) -> list[Any]:
    return [changes async for changes in subscription]


async def test_waiting_for_a_revision_ends_when_it_was_passed() -> None:
    cache = loaded()
    async with asyncio.TaskGroup() as group:
        group.create_task(cache.wait_revision(3), name="waiter")
        await asyncio.sleep(0)
        cache.apply([record("a", 2)])
        cache.advance(4)
    with pytest.raises(BusTimeout, match="the cache is at 4"):
        await cache.wait_revision(5, timeout=0.01)


async def test_consistent_reads_share_barriers_but_never_one_that_is_already_under_way() -> None:
    cache = loaded()
    barriers: list[asyncio.Future[int]] = []

    async def barrier() -> int:
        barriers.append(asyncio.get_running_loop().create_future())
        return await barriers[-1]

    cache.barrier = barrier
    async with asyncio.TaskGroup() as group:
        first = group.create_task(cache.consistent(), name="first")
        await asyncio.sleep(0)
        later = [group.create_task(cache.consistent(), name=f"later {number}") for number in range(5)]
        await asyncio.sleep(0)
        assert len(barriers) == 1
        cache.advance(2)
        barriers[0].set_result(1)
        assert await first == 2
        await asyncio.sleep(0)
        assert not any(task.done() for task in later)
        barriers[1].set_result(2)
    assert [task.result() for task in later] == [2] * 5
    assert len(barriers) == 2


async def test_followers_of_a_cancelled_barrier_make_their_own() -> None:
    cache = loaded(revision=9)
    count = 0
    gate = asyncio.Event()

    async def barrier() -> int:
        nonlocal count
        count += 1
        await gate.wait()
        return 9

    cache.barrier = barrier
    async with asyncio.TaskGroup() as group:
        running = group.create_task(cache.consistent(), name="running")
        await asyncio.sleep(0)
        leader = group.create_task(cache.consistent(), name="leader")
        await asyncio.sleep(0)
        follower = group.create_task(cache.consistent(), name="follower")
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.sleep(0)
        gate.set()
    assert running.result() == follower.result() == 9
    assert count == 2


async def test_a_cache_without_feed_cannot_promise_consistency() -> None:
    with pytest.raises(StateError):
        await loaded().consistent()


def test_a_tombstone_is_expected_until_the_broker_forgets_it() -> None:
    cache = loaded()
    gone = record("a", 5, deleted=True)
    gone.time = time.time() - TOMBSTONE_S - 1
    cache.apply([gone])
    assert cache.expected(gone.ref) == 0
    cache.apply([record("b", 6, deleted=True)])
    assert cache.expected(Ref("", "pods", "default", "b")) == 6


def test_a_reload_tells_what_vanished_meanwhile() -> None:
    cache = loaded(record("a", 1), record("b", 2), record("c", 3), revision=3)
    heard: list[tuple[str, str]] = []
    cache.on_change(lambda change: heard.append((change.type, change.record.ref.name)))
    heard.clear()
    cache.replace([record("a", 1), record("b", 7), record("d", 8)], 9)
    assert sorted(heard) == [("ADDED", "d"), ("DELETED", "c"), ("MODIFIED", "b")]
    assert names(cache.list("", "pods")) == ["default/a", "default/b", "default/d"]
    assert cache.floor("", "pods") == 9


async def test_a_log_that_began_anew_cuts_every_watch() -> None:
    cache = loaded(record("a", 100), revision=100)
    subscription = cache.subscribe("", "pods")
    cache.replace([record("a", 1)], 2)
    assert cache.revision == 2
    with pytest.raises(RevisionTooOld):
        await anext(subscription)


def test_the_same_revision_of_another_log_is_another_object() -> None:
    cache = loaded(record("a", 1, n=1), revision=1)
    cache.replace([record("a", 1, n=2)], 1, anew=True)
    found = cache.get(Ref("", "pods", "default", "a"))
    assert found is not None
    assert found.object["n"] == 2


def test_an_object_removed_by_age_is_deleted_at_its_markers_revision() -> None:
    cache = loaded(record("a", 1), revision=1)
    heard: list[tuple[str, int, str]] = []
    cache.on_change(
        lambda change: heard.append((change.type, change.revision, change.record.object["metadata"]["resourceVersion"]))
    )
    ref = Ref("", "pods", "default", "a")
    cache.vanish(ref, 4, 60)
    assert heard[-1] == ("DELETED", 4, "4")
    assert cache.expected(ref) == 4
    assert cache.revision == 4


async def test_a_watch_ends_where_revisions_are_missing() -> None:
    cache = Cache()
    cache.replace([record("a", 1)], 1)
    subscription = cache.subscribe("", "pods")
    follower = record("a", 5)
    follower.predecessor = 4
    cache.apply([follower])
    with pytest.raises(RevisionTooOld):
        subscription.take()
    with pytest.raises(RevisionTooOld):
        cache.subscribe("", "pods", since=1)
    current = cache.get(follower.ref)
    assert current is not None
    assert current.revision == 5
    subscription.close()


async def test_a_chain_without_a_gap_is_told_whole() -> None:
    cache = Cache()
    cache.replace([record("a", 1)], 1)
    subscription = cache.subscribe("", "pods")
    for revision, predecessor in ((2, 1), (3, 2)):
        follower = record("a", revision)
        follower.predecessor = predecessor
        cache.apply([follower])
    assert [change.revision for change in subscription.take()] == [2, 3]
    subscription.close()


async def test_a_rebuild_ends_every_watch() -> None:
    cache = Cache()
    cache.replace([record("a", 1)], 1)
    subscription = cache.subscribe("", "pods")
    cache.replace([record("a", 1), record("b", 7)], 9)
    with pytest.raises(RevisionTooOld):
        subscription.take()
    assert cache.revision == 9
    subscription.close()
