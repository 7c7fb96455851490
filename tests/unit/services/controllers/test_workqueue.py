"""The queue between changes and reconciliations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest
from prometheus_client import REGISTRY

from services.controllers.workqueue import FIRST_DELAY, LONGEST_DELAY, WorkQueue

names = (f"test-{number}" for number in count())


@pytest.fixture
async def queue() -> AsyncIterator[WorkQueue[str]]:
    found: WorkQueue[str] = WorkQueue(next(names))
    yield found
    found.close()


async def test_a_key_added_twice_is_handed_out_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_keys_come_in_the_order_of_their_first_adding(queue: WorkQueue[str]) -> None:
    for key in "abca":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


async def test_a_key_added_while_it_is_worked_on_comes_back_after_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"


async def test_a_waiting_worker_gets_the_key(queue: WorkQueue[str]) -> None:
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(queue.get(), name="worker")
        await asyncio.sleep(0)
        queue.add("a")
    assert worker.result() == "a"


async def test_every_waiting_worker_gets_a_key_of_its_own(queue: WorkQueue[str]) -> None:
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(queue.get(), name=f"worker {number}") for number in range(3)]
        await asyncio.sleep(0)
        for key in "abc":
            queue.add(key)
    assert sorted(worker.result() for worker in workers) == ["a", "b", "c"]


async def test_a_cancelled_worker_takes_nothing_with_it(queue: WorkQueue[str]) -> None:
    worker = asyncio.create_task(queue.get(), name="worker")
    await asyncio.sleep(0)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    queue.add("a")
    assert await queue.get() == "a"


async def test_the_earliest_of_several_delays_counts(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_delayed_keys_come_by_their_time(queue: WorkQueue[str]) -> None:
    queue.add_after("late", 0.05)
    queue.add_after("early", 0.01)
    assert [await asyncio.wait_for(queue.get(), 5) for _ in range(2)] == ["early", "late"]


async def test_retries_wait_twice_as_long_each_time_up_to_a_limit(
    queue: WorkQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    monkeypatch.setattr(queue, "add_after", lambda key, delay: delays.append(delay))
    for _ in range(20):
        queue.retry("a")
    assert delays[:3] == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]
    assert delays[-1] == LONGEST_DELAY
    queue.forget("a")
    queue.retry("a")
    assert delays[-1] == FIRST_DELAY


async def test_metrics_have_the_names_that_dashboards_read() -> None:
    name = next(names)
    queue: WorkQueue[str] = WorkQueue(name)
    queue.add("a")
    queue.add("b")
    await queue.get()
    queue.done("a")
    queue.retry("a")

    def value(metric: str) -> float | None:
        return REGISTRY.get_sample_value(metric, {"name": name})

    assert value("workqueue_depth") == 1
    assert value("workqueue_adds_total") == 2
    assert value("workqueue_retries_total") == 1
    assert value("workqueue_queue_duration_seconds_count") == 1
    assert value("workqueue_work_duration_seconds_count") == 1
    assert value("workqueue_unfinished_work_seconds") == 0
    assert value("workqueue_longest_running_processor_seconds") == 0
    queue.close()


async def test_a_key_that_rests_is_not_handed_out_again_before_its_time(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.done("a", rest=0.05)
    assert len(queue) == 0
    queue.add("b")
    assert [await asyncio.wait_for(queue.get(), 5) for _ in range(2)] == ["b", "a"]
