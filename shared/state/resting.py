"""What has not changed for some seconds is held in little space: in shared pieces, and decoded no longer.

A record is written and read several times in its first moments, and then hardly ever. So nothing is done to it while
everybody waits for it, and a superseded revision, of which only watches that resume know, is treated alike.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from shared.state.cache import Cache, Change
from shared.state.record import Record, forget_decoded

INTERVAL_S: Final = 1.0
# divided in one go, which takes half a millisecond; then it is the turn of others
AT_ONCE: Final = 32
PAUSE_S: Final = 0.005


async def rest(*caches: Cache) -> None:
    """Put the records of caches at rest between one and two seconds after they came, until cancelled."""
    fresh: list[Record] = []

    def on_change(change: Change) -> None:
        fresh.append(change.record)

    with contextlib.ExitStack() as stack:
        for cache in caches:
            stack.callback(cache.on_change(on_change))
        while True:
            resting, fresh = fresh, []
            await asyncio.sleep(INTERVAL_S)
            forget_decoded()
            for start in range(0, len(resting), AT_ONCE):
                for record in resting[start : start + AT_ONCE]:
                    record.divide()
                await asyncio.sleep(PAUSE_S)
