"""The barriers of a feed: a consistent read waits until a message of this process has come back through its feed.

Whoever has been told of a write was told before the barrier was sent, so the write lies before the barrier in the log
and is in the cache when the barrier arrives. Nothing needs to acknowledge it: the feed brings it in any case, and a
broker that stores nothing, or a connection that breaks, is noticed by its absence. One barrier is on its way at a time;
those who come meanwhile share the next one. A reader costs one entry in a list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from shared.errors import BusError

log = logging.getLogger(__name__)

# a barrier takes about a millisecond; who has waited so long asks in a way that is told why there is no answer
LIMIT_S: Final = 1.0
# after such a failure everybody asks in that way at once
MISTRUST_S: Final = 10.0

Reached = Callable[[bool], None]


class Barriers:
    """`send` hands a message with these bytes to the broker without waiting; BusError if it cannot."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._number = 0
        # who waits for the barrier on its way, and who for the next one
        self._sent: list[Reached] = []
        self._waiting: list[Reached] = []
        self._scheduled = False
        self._due = 0.0
        self._trusted_from = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, reached: Reached) -> bool:
        """Have `reached(True)` called once the cache holds all that was written before now, `reached(False)` if that
        remains unknown. False if no barrier can be had now: then it is never called."""
        loop = asyncio.get_running_loop()
        if self._trusted_from > loop.time():
            return False
        self._waiting.append(reached)
        if not self._sent and not self._scheduled:
            # at the end of this turn of the loop, for all who come in it
            self._scheduled = True
            loop.call_soon(self._make)
        return True

    def passed(self, data: bytes) -> None:
        """The feed has applied a barrier, and everything before it."""
        if self._sent and data == b"%d" % self._number:
            self._end(True)

    def _make(self) -> None:
        self._scheduled = False
        self._number += 1
        self._sent, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        self._due = loop.time() + LIMIT_S
        try:
            self._send(b"%d" % self._number)
        except BusError:
            self._end(False)
            return
        if self._timer is None:
            # one for many barriers
            self._timer = loop.call_later(LIMIT_S, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._sent:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._check)
            return
        log.warning("a barrier did not come back within %g s", LIMIT_S)
        self._trusted_from = loop.time() + MISTRUST_S
        self._end(False)

    def _end(self, is_reached: bool) -> None:
        told, self._sent = self._sent, []
        if not is_reached:
            told += self._waiting
            self._waiting = []
        elif self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._make)
        for reached in told:
            try:
                reached(is_reached)
            except Exception:
                log.exception("a reader behind a barrier failed")
