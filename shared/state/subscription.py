"""The changes of one resource on their way to one watcher: buffered, never dropped, and cut off when it is too slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, Self

from shared.errors import RevisionTooOld
from shared.state.record import Change

LIMIT = 50_000


class Listener(Protocol):
    """Who is told at once, synchronously, in place of a task that waits."""

    def changed(self) -> None:
        """There is something to take."""

    def woken(self) -> None:
        """Something else happened: the reader must list again, or was woken."""


class Subscription(AsyncIterator[list[Change]]):
    """Iterate to get lists of changes in order; all changes of an atomic batch are in one list.

    RevisionTooOld if the reader fell more than LIMIT changes behind. `close` ends the iteration.
    """

    __slots__ = ("_after", "_closed", "_discard", "_namespace", "_overflow", "_pending", "_waiter", "listener")

    def __init__(self, namespace: str, after: int, discard: Callable[[Subscription], None]) -> None:
        self._namespace = namespace
        self._after = after
        self._discard = discard
        self._pending: list[Change] = []
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._overflow = False
        self.listener: Listener | None = None

    def resume(self, changes: Sequence[Change]) -> None:
        """Put changes before those that are going to come: they were taken elsewhere and not told."""
        self._pending[:0] = changes

    def offer(self, change: Change) -> None:
        """Buffer a change if this watcher wants it; called by the cache."""
        if change.revision <= self._after or (self._namespace and change.record.ref.namespace != self._namespace):
            return
        if self._overflow:
            return
        if len(self._pending) >= LIMIT:
            self.cut()
            return
        self._pending.append(change)
        if self.listener is not None:
            self.listener.changed()
        else:
            self.wake()

    def cut(self) -> None:
        """End with RevisionTooOld: the watcher must list again."""
        self._overflow = True
        self._pending.clear()
        self.wake()

    def take(self) -> list[Change]:
        """What is buffered now, without waiting. RevisionTooOld as in the iteration."""
        if self._overflow:
            raise RevisionTooOld("the watcher fell too far behind, or the log began anew")
        changes = self._pending
        if changes:
            self._pending = []
        return changes

    async def wait(self) -> None:
        """Wait until there is something to take, the end, or `wake`."""
        if not (self._pending or self._closed or self._overflow):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def close(self) -> None:
        self._closed = True
        self._discard(self)
        self.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Change]:
        while True:
            await self.wait()
            if self._closed:
                raise StopAsyncIteration
            if changes := self.take():
                return changes

    def wake(self) -> None:
        """Let `wait` return, even if there is nothing."""
        if self.listener is not None:
            self.listener.woken()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
