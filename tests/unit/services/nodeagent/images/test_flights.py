"""Sharing one piece of work."""

from __future__ import annotations

import asyncio

import pytest

from services.nodeagent.images.flights import Flights


class Work:
    """Counts its runs and waits until told to end."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.runs += 1
        self.begun.set()
        await asyncio.sleep(0)
        await self.go.wait()
        if self.error:
            raise self.error
        return self.runs


async def test_the_same_key_is_worked_on_once() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    work.go.set()
    assert await asyncio.gather(*(flights.share("k", work) for _ in range(3))) == [1, 1, 1]


async def test_an_error_reaches_everyone() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    work.error = ValueError("no")
    work.go.set()
    results = await asyncio.gather(*(flights.share("k", work) for _ in range(2)), return_exceptions=True)
    assert [str(result) for result in results] == ["no", "no"]
    assert work.runs == 1


async def test_a_waiter_takes_over_when_the_first_is_cancelled() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(flights.share("k", work))
        await work.begun.wait()
        second = group.create_task(flights.share("k", work))
        await asyncio.sleep(0)
        first.cancel()
        work.go.set()
    assert second.result() == 2


async def test_a_cancelled_waiter_does_not_disturb_the_work() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(flights.share("k", work))
        await work.begun.wait()
        second = group.create_task(flights.share("k", work))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        work.go.set()
    assert first.result() == 1
    with pytest.raises(asyncio.CancelledError):
        second.result()


async def test_a_finished_key_is_worked_on_anew() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    work.go.set()
    assert [await flights.share("k", work), await flights.share("k", work)] == [1, 2]
