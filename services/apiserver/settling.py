"""Keep something settled while the cluster changes: what the server's own controllers have in common.

A controller is told of every change and must not work on each: changes come in bursts, and its own writes are among
them. So changes only raise a flag, and one task settles everything whenever the flag is up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.errors import ApiError, BusError, StateError
from shared.state.cache import Cache, Change

log = logging.getLogger(__name__)

RETRY_S = 1.0


async def keep_settled(
    what: str, cache: Cache, concerns: Callable[[Change], bool], settle: Callable[[], Awaitable[None]]
) -> None:
    """Run `settle` after changes of the state that concern it, and again after a failure, until cancelled.

    `concerns` is asked about each change as it comes, and first about every object there is. `what` names the things
    that are settled, in the plural, for the log.
    """
    changed = asyncio.Event()

    def on_change(change: Change) -> None:
        if concerns(change):
            changed.set()

    unsubscribe = cache.on_change(on_change)
    try:
        while True:
            await changed.wait()
            changed.clear()
            try:
                await settle()
            except (ApiError, BusError, StateError) as exc:
                log.warning("%s could not be settled, trying again: %s", what, exc)
                changed.set()
                await asyncio.sleep(RETRY_S)
    finally:
        unsubscribe()
