"""What has not changed for a while is held in little space."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from shared.state import record as records
from shared.state import resting
from shared.state.cache import Cache
from shared.state.record import Record, forget_decoded, keep_decoded
from tests.unit.shared.state.test_sharing import record


async def test_records_are_divided_some_time_after_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "INTERVAL_S", 0.01)
    cache, first, second = Cache(), record("one"), record("other")
    cache.apply((first,))
    task = asyncio.create_task(resting.rest(cache), name="resting")
    try:
        async with asyncio.timeout(10):
            cache.apply((second,))
            expected = first.json, second.json
            while len(first.pieces) == 1 or len(second.pieces) == 1:
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    assert (first.json, second.json) == expected


@pytest.fixture
def few_decoded() -> object:
    keep_decoded(16)
    yield
    forget_decoded()
    forget_decoded()
    keep_decoded(0)


@pytest.mark.usefixtures("few_decoded")
def test_a_record_that_nobody_looked_into_lately_is_held_encoded_only() -> None:
    one, other = record("one"), record("other")
    assert one.object is one.object
    decoded = one.object
    forget_decoded()
    assert other.object

    forget_decoded()

    assert one not in held()
    assert other in held()
    assert one.object == decoded
    assert one.object is not decoded


def held() -> list[Record]:
    """The records that hold their object decoded."""
    return list(records._decoded)
