"""The keyed queue between changes and reconciliations.

A key is in the queue at most once however often it is added; it is handed to one worker at a time; a key added while
it is being worked on comes back afterwards. Failures come back with exponential back-off, and keys whose work is heavy
come back after a pause, so that a storm of changes to one large workload is looked at in few rounds. The metrics have
the names of client-go's workqueue, so that Kubernetes dashboards show these queues.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.005
LONGEST_DELAY = 30.0

_BUCKETS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
_depth = Gauge("workqueue_depth", "Current depth of workqueue", ["name"])
_adds = Counter("workqueue_adds", "Total number of adds handled by workqueue", ["name"])
_waited = Histogram(
    "workqueue_queue_duration_seconds",
    "How long an item stays in workqueue before being requested",
    ["name"],
    buckets=_BUCKETS,
)
_worked = Histogram(
    "workqueue_work_duration_seconds", "How long processing an item from workqueue takes", ["name"], buckets=_BUCKETS
)
_retries = Counter("workqueue_retries", "Total number of retries handled by workqueue", ["name"])
_unfinished = Gauge(
    "workqueue_unfinished_work_seconds",
    "How many seconds of work has been done that is in progress and hasn't been observed by work_duration",
    ["name"],
)
_longest = Gauge(
    "workqueue_longest_running_processor_seconds",
    "How many seconds has the longest running processor for workqueue been running",
    ["name"],
)


class WorkQueue(Generic[K]):
    """A queue of keys for N workers in one event loop; needs no locks because it never awaits between steps."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._ready: OrderedDict[K, float] = OrderedDict()
        self._working: dict[K, float] = {}
        self._again: dict[K, None] = {}
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._resting: dict[K, float] = {}
        self._serial = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        _depth.labels(name).set_function(lambda: len(self._ready))
        _unfinished.labels(name).set_function(lambda: sum(self._running_times()))
        _longest.labels(name).set_function(lambda: max(self._running_times(), default=0.0))

    def __len__(self) -> int:
        return len(self._ready)

    def idle(self) -> bool:
        """No key is waiting, being worked on or only kept back by its rest; what falls due later does not count."""
        return not (self._ready or self._working or self._resting.keys() & self._due.keys())

    def add(self, key: K) -> None:
        """Queue a key now, unless it is queued already."""
        if key in self._ready or key in self._again:
            return
        rest = self._resting.get(key, 0.0) - self._loop.time()
        if rest > 0:
            self.add_after(key, rest)
            return
        _adds.labels(self._name).inc()
        if key in self._working:
            self._again[key] = None
            return
        self._ready[key] = self._loop.time()
        self._wake_one()

    def add_after(self, key: K, delay: float) -> None:
        """Queue a key in `delay` seconds; an earlier time that was asked for before stays in force."""
        if delay <= 0:
            self.add(key)
            return
        at = self._loop.time() + delay
        if self._due.get(key, at + 1) <= at:
            return
        self._due[key] = at
        self._serial += 1
        heapq.heappush(self._later, (at, self._serial, key))
        self._arm()

    def retry(self, key: K) -> None:
        """Queue a key after a delay that doubles with every failure in a row."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        _retries.labels(self._name).inc()
        self.add_after(key, min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures, 20)))

    def forget(self, key: K) -> None:
        """A success: the next failure of this key starts at the shortest delay again."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key and take it; `done` must follow."""
        while not self._ready:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        key, since = self._ready.popitem(last=False)
        now = self._loop.time()
        _waited.labels(self._name).observe(now - since)
        self._working[key] = now
        if self._ready:
            self._wake_one()
        return key

    def done(self, key: K, rest: float = 0.0) -> None:
        """The worker is finished with a key; it is queued again if it was added meanwhile.

        For the next `rest` seconds the key is not handed out again, whoever adds it.
        """
        now = self._loop.time()
        _worked.labels(self._name).observe(now - self._working.pop(key))
        if rest > 0:
            self._resting[key] = now + rest
            # Without this, keys of objects that are gone would be remembered for ever.
            self._loop.call_later(rest, self._rested, key)
        if key in self._again:
            del self._again[key]
            self.add(key)

    def close(self) -> None:
        """Stop the timer; queued keys are dropped."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rested(self, key: K) -> None:
        if self._resting.get(key, float("inf")) <= self._loop.time():
            del self._resting[key]

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._later[0][0]:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._later[0][0], self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._later and self._later[0][0] <= now:
            at, _, key = heapq.heappop(self._later)
            if self._due.get(key) == at:
                del self._due[key]
                self.add(key)
        if self._later:
            self._arm()

    def _running_times(self) -> list[float]:
        now = self._loop.time()
        return [now - since for since in tuple(self._working.values())]
