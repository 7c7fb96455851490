"""What is done again whenever the broker comes back, such as declaring what it may have lost meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.bus.port import Bus
from shared.errors import BusError

log = logging.getLogger(__name__)

RETRY_S = 0.5


async def after_each(bus: Bus, action: Callable[[], Awaitable[None]], what: str) -> None:
    """Await `action` after every reconnect, and again while it fails with BusError; other errors end this.

    `what` names it in the log.
    """
    reconnected = asyncio.Event()
    remove = bus.on_connection(lambda connected: reconnected.set() if connected else None)
    try:
        while True:
            await reconnected.wait()
            reconnected.clear()
            try:
                await action()
            except BusError as exc:
                log.warning("%s: not yet: %s", what, exc)
                await asyncio.sleep(RETRY_S)
                reconnected.set()
    finally:
        remove()
