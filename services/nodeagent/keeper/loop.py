"""The keeper's event loop: epoll and timers, nothing else, in one thread.

asyncio would cost 10 MB and a slower fork; a process that only waits for descriptors needs neither.
"""

from __future__ import annotations

import heapq
import itertools
import select
import sys
import time
import traceback
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

Callback = Callable[[int], None]


class Timer:
    """A call to be made once; `cancel` forgets it."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Loop:
    """Calls `callback(events)` for ready descriptors. An exception in a callback is written out, not fatal: one broken
    container must not take the keeper of all the others down."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._new: set[int] = set()  # watched since this turn's events were fetched
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = False

    def watch(self, fd: int, callback: Callback, events: int = READ) -> None:
        """Watch `fd`, or change what it is watched for."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
            self._new.add(fd)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def stop(self) -> None:
        self._running = False

    def close(self) -> None:
        self._epoll.close()

    def run(self) -> None:
        """Until `stop`."""
        self._running = True
        while self._running:
            self.turn()

    def turn(self, limit_s: float | None = None) -> None:
        """Wait once, at most `limit_s`, and call back what is due."""
        timeout = self._until_timer()
        if limit_s is not None and (timeout < 0 or timeout > limit_s):
            timeout = limit_s
        ready = self._epoll.poll(timeout, 64)
        self._new.clear()
        for fd, events in ready:
            callback = self._callbacks.get(fd)
            # an earlier callback of this turn may have closed it, and opened something else under its number
            if callback is not None and fd not in self._new:
                _guard(lambda call=callback, mask=events: call(mask))  # type: ignore[misc]
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            action = heapq.heappop(self._timers)[2].action
            if action is not None:
                _guard(action)

    def _until_timer(self) -> float:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1.0


def _guard(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        traceback.print_exc(file=sys.stderr)
