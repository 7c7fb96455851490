"""Watchers told together: each gets every event once and in order, whoever is slow, leaves or comes."""

import asyncio
import time
from collections.abc import Hashable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver import broadcasts as module
from services.apiserver import events
from services.apiserver.broadcasts import Audience, Broadcasts, Seat
from services.apiserver.protocol import Event
from services.apiserver.selection import Selection
from shared.errors import RevisionTooOld, StateError
from shared.events.subjects import Ref
from shared.objects import registry
from shared.state.cache import Cache, Record

FAR = 1e9


class Client:
    """A watcher with a connection that may be full, and the task that serves it."""

    def __init__(self, broadcasts: Broadcasts, cache: Cache, form: Hashable = "lines") -> None:
        pods = registry.by_plural("", "v1", "pods")
        assert pods is not None
        self.form = form
        self.encoded = 0
        self.lines: list[bytes] = []
        self.own = 0
        self.is_full = False
        self.is_cut = False
        self._room = asyncio.Event()
        self._audience = Audience(cache, pods, pods, "", Selection(), ("", "", ""))
        self.seat = Seat(broadcasts, self._audience, self._audience.subscribe())
        self.seat.attach(self)

    def encode(self, found: Sequence[Event]) -> bytes:
        self.encoded += 1
        return b"".join(one.line for one in found)

    def write(self, data: bytes) -> None:
        self.lines += data.splitlines(keepends=True)

    def fill(self) -> None:
        self.is_full = True
        self._room.clear()

    def empty(self) -> None:
        self.is_full = False
        self._room.set()

    async def drained(self) -> None:
        if self.is_full:
            await self._room.wait()

    async def run(self) -> None:
        try:
            while True:
                if changes := self.seat.take():
                    self.own += len(changes)
                    await self.drained()
                    self.write(self.encode(events.translate(self._audience.resource, Selection(), changes)))
                    continue
                await self.seat.wait(FAR)
        except RevisionTooOld:
            self.is_cut = True
        finally:
            self.seat.close()


def put(cache: Cache) -> None:
    revision = cache.revision + 1
    raw = msgspec.msgpack.encode({"metadata": {"name": "p", "resourceVersion": str(revision)}})
    cache.apply([Record(Ref("", "pods", "default", "p"), revision, raw, time=time.time())])


def expected(cache: Cache, since: int) -> list[bytes]:
    return [b'"resourceVersion":"%d"' % revision for revision in range(since + 1, cache.revision + 1)]


def told(client: Client) -> list[bytes]:
    return [b'"resourceVersion":"%s"' % line.split(b'"resourceVersion":"')[1].split(b'"')[0] for line in client.lines]


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def until_told(client: Client, cache: Cache, since: int = 0) -> None:
    async with asyncio.timeout(10):
        while len(client.lines) < cache.revision - since:
            await asyncio.sleep(0.001)
    assert told(client) == expected(cache, since)


def empty_cache() -> Cache:
    cache = Cache()
    cache.replace([], 0)
    return cache


async def test_watchers_of_the_same_share_what_is_encoded_and_no_task_of_theirs_wakes() -> None:
    cache, broadcasts = empty_cache(), Broadcasts()
    clients = [Client(broadcasts, cache) for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        await turns()
        for _ in range(3):
            put(cache)
        for client in clients:
            await until_told(client, cache)
        for task in tasks:
            task.cancel()
    assert sum(client.encoded for client in clients) == 1
    assert not any(client.own for client in clients)


async def test_another_form_is_another_channel_and_a_channel_ends_with_its_last_watcher() -> None:
    cache, broadcasts = empty_cache(), Broadcasts()
    clients = [Client(broadcasts, cache), Client(broadcasts, cache, "tables")]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        await turns()
        put(cache)
        for client in clients:
            await until_told(client, cache)
        assert [client.encoded for client in clients] == [1, 1]
        for task in tasks:
            task.cancel()
    put(cache)
    await turns()
    assert [client.encoded for client in clients] == [1, 1]


async def test_a_client_that_takes_nothing_holds_up_nobody_and_then_gets_everything() -> None:
    cache, broadcasts = empty_cache(), Broadcasts()
    slow, quick = Client(broadcasts, cache), Client(broadcasts, cache)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in (slow, quick)]
        await turns()
        slow.fill()
        for _ in range(20):
            put(cache)
            await until_told(quick, cache)
        # what was on its way when it became full, and nothing more
        assert len(slow.lines) == 1
        slow.empty()
        await until_told(slow, cache)
        for task in tasks:
            task.cancel()


async def test_more_than_a_client_should_be_sent_at_once_is_left_to_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND_BYTES", 200)
    cache, broadcasts = empty_cache(), Broadcasts()
    client = Client(broadcasts, cache)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        await turns()
        for _ in range(10):
            put(cache)
        await until_told(client, cache)
        task.cancel()
    assert client.own == 10


async def test_watchers_are_cut_off_when_the_cache_is_loaded_anew_and_later_ones_are_not() -> None:
    cache, broadcasts = empty_cache(), Broadcasts()
    first = Client(broadcasts, cache)
    async with asyncio.TaskGroup() as group:
        cut = group.create_task(first.run())
        await turns()
        cache.replace([], 7)
        await cut
        assert first.is_cut
        second = Client(broadcasts, cache)
        task = group.create_task(second.run())
        await turns()
        put(cache)
        await until_told(second, cache, since=7)
        task.cancel()


async def test_events_that_cannot_be_made_are_left_to_the_task_of_each_watcher() -> None:
    cache, broadcasts = empty_cache(), Broadcasts()
    client = Client(broadcasts, cache)
    task = asyncio.create_task(client.run())
    await turns()
    cache.apply([Record(Ref("", "pods", "default", "p"), 1, b"no msgpack", time=time.time())])
    with pytest.raises(StateError):
        await task


STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "fill", "empty", "wake", "turn", "come"]), st.integers(0, 3)))


@given(STEPS)
def test_every_watcher_gets_every_event_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        cache, broadcasts = empty_cache(), Broadcasts()
        clients: list[tuple[int, Client]] = []
        async with asyncio.TaskGroup() as group:
            tasks = []

            def come() -> None:
                clients.append((cache.revision, Client(broadcasts, cache)))
                tasks.append(group.create_task(clients[-1][1].run()))

            for _ in range(4):
                come()
            for step, number in steps:
                client = clients[number][1]
                match step:
                    case "put":
                        put(cache)
                    case "fill":
                        client.fill()
                    case "empty":
                        client.empty()
                    case "wake":
                        client.seat.wake()
                    case "come":
                        come()
                    case "turn":
                        await turns(number)
            for since, client in clients:
                client.empty()
                await until_told(client, cache, since)
            for task in tasks:
                task.cancel()

    asyncio.run(play())
