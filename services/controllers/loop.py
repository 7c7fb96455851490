"""One controller at work: changes become keys, keys become plans, plans are carried out.

No expectations are kept. A key is looked at again only after the cache has passed whatever the previous plan wrote,
so a decision never counts its own unseen writes as missing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.controllers.actions import Failure, Moment, Object, Plan
from services.controllers.view import View
from services.controllers.workqueue import WorkQueue
from services.controllers.writer import Outcome, Writer
from shared.errors import BusTimeout, WherryError
from shared.events.subjects import Ref

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

CATCH_UP_LIMIT = 10.0
"""Seconds to wait for our own write to appear before a barrier decides: a restored log may never reach its revision."""
HEAVY = 0.002
"""Seconds of CPU time of thinking from which on a key rests afterwards..."""
REST_FACTOR = 4
"""...this many times as long, so that one large object takes at most a fifth of a core..."""
LONGEST_REST = 0.5
"""...but never longer than this many seconds."""
LONGEST_WAIT = 300.0
"""Seconds after which a plan for later is made anew: timers stand still while the machine sleeps, and the wall clock
that a plan reckons with may be set."""
MOST_UNSEEN = 1024
"""Keys with unseen writes from which on those that nobody looks at again, for their objects are gone, are cleared."""


class Reconciler(Protocol[K]):
    """A controller's pure part."""

    @property
    def name(self) -> str:
        """The name of its queue and, with "-controller", of its events' source."""
        ...

    @property
    def workers(self) -> int:
        """How many keys may be worked on at the same time."""
        ...

    def keys(self, view: View) -> Iterable[K]:
        """All keys there are, for the first pass."""
        ...

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[K]:
        """The keys that one change concerns; `obj` is None after a deletion, `previous` before a creation."""
        ...

    def plan(self, key: K, view: View, moment: Moment) -> Plan:
        """What to do about one key now."""
        ...


class Progress(Protocol):
    """What the loop needs of the cache."""

    async def wait_revision(self, revision: int, timeout: float | None = None) -> None: ...
    async def consistent(self, timeout: float = 5.0) -> int: ...


@dataclass(slots=True)
class _Unseen:
    """Writes of a key that the cache has not shown yet."""

    revision: int = 0
    barrier: bool = False


class Loop(Generic[K]):
    """Runs one reconciler with its queue and workers."""

    def __init__(
        self, reconciler: Reconciler[K], view: View, cache: Progress, writer: Writer, clock: Callable[[], float]
    ) -> None:
        self.reconciler = reconciler
        self.queue: WorkQueue[K] = WorkQueue(reconciler.name)
        self._view = view
        self._cache = cache
        self._writer = writer
        self._clock = clock
        self._unseen: dict[K, _Unseen] = {}
        self._clear_at = MOST_UNSEEN
        self._failures: dict[K, Failure] = {}

    def changed(self, ref: Ref, obj: Object | None, previous: Object | None) -> None:
        """Queue the keys that a change concerns."""
        try:
            keys = list(self.reconciler.affected(ref, obj, previous, self._view))
        except Exception:
            # The controllers that are told after this one must hear of the change all the same.
            log.exception("%s: cannot tell whom the change of %s concerns", self.reconciler.name, ref)
            return
        for key in keys:
            self.queue.add(key)

    async def run(self) -> None:
        """Look at every key once, then at whatever changes."""
        for key in self.reconciler.keys(self._view):
            self.queue.add(key)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.reconciler.workers):
                    group.create_task(self._work(), name=f"{self.reconciler.name} worker {number}")
        finally:
            self.queue.close()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            rest = 0.0
            try:
                rest = await self._reconcile(key)
            except WherryError as error:
                log.warning("%s %s: %s", self.reconciler.name, key, error)
                self.queue.retry(key)
            except Exception:
                # One object that a decision cannot digest must not stop the others.
                log.exception("%s %s: decision failed", self.reconciler.name, key)
                self.queue.retry(key)
            finally:
                self.queue.done(key, rest)

    async def _reconcile(self, key: K) -> float:
        """Carry out one plan; returns for how many seconds the key should rest."""
        await self._catch_up(key)
        started = time.thread_time()  # not wall time: on a busy machine every thought would look heavy
        plan = self.reconciler.plan(key, self._view, Moment(self._clock(), self._failures.get(key)))
        thought = time.thread_time() - started
        outcome = await self._writer.perform(plan.actions)
        self._note(key, outcome)
        if len(self._unseen) >= self._clear_at:
            await self._clear_seen()
        if outcome.failure is not None:
            log.info("%s %s: %s: %s", self.reconciler.name, key, outcome.failure.reason, outcome.failure.message)
        if not outcome.ok:
            self.queue.retry(key)
        else:
            self.queue.forget(key)
            if plan.again_after is not None:
                self.queue.add_after(key, min(plan.again_after, LONGEST_WAIT))
        return min(LONGEST_REST, REST_FACTOR * thought) if thought > HEAVY else 0.0

    async def _catch_up(self, key: K) -> None:
        unseen = self._unseen.get(key)
        if unseen is None:
            return
        if unseen.barrier:
            await self._cache.consistent()
        else:
            try:
                await self._cache.wait_revision(unseen.revision, CATCH_UP_LIMIT)
            except BusTimeout:
                await self._cache.consistent()
        del self._unseen[key]

    def _note(self, key: K, outcome: Outcome) -> None:
        if outcome.failure is not None and not outcome.unreachable:
            self._failures[key] = outcome.failure
        elif outcome.ok:
            self._failures.pop(key, None)
        if outcome.revision or outcome.barrier:
            self._unseen[key] = _Unseen(outcome.revision, outcome.barrier)

    async def _clear_seen(self) -> None:
        """Drop the notes of all writes that the cache shows by now, whichever key they were for."""
        noted = list(self._unseen.items())
        try:
            await self._cache.consistent()
        except WherryError as error:
            log.info("%s: writes stay noted: %s", self.reconciler.name, error)
        else:
            for key, unseen in noted:
                if self._unseen.get(key) is unseen:
                    del self._unseen[key]
        self._clear_at = max(MOST_UNSEEN, 2 * len(self._unseen))
