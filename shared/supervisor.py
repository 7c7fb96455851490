"""The life of the tasks of one process: a task group, the signals that end it, and the drain in between.

A service is crash-only: when one of its tasks fails, all of them end, the process exits, and whoever started it starts
it again. So nothing here restarts anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

DRAIN_LIMIT_S = 5.0

Drain = Callable[[], Awaitable[None]]


class Supervisor:
    """Runs a main coroutine and its background tasks until main returns, a task fails, or SIGTERM or SIGINT arrives."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._drains: list[Drain] = []
        self._drain_limit = DRAIN_LIMIT_S
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run a background task; its failure ends the process. Only while `run` runs."""
        if self._group is None:
            coroutine.close()
            raise RuntimeError(f"task {name} started outside of the supervisor's run")
        task = self._group.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def on_drain(self, drain: Drain, limit_s: float = DRAIN_LIMIT_S) -> None:
        """Await `drain` after a signal and before anything is cancelled; the last one registered runs first.

        All drains together have the longest of their limits, in seconds.
        """
        self._drains.append(drain)
        self._drain_limit = max(self._drain_limit, limit_s)

    async def run(self, main: Coroutine[Any, Any, Any]) -> None:
        """Returns after main returned or a signal was handled. Raises what main or a task raised (in a group)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                main_task = group.create_task(main, name="main")
                watcher = group.create_task(self._stop_on_signal(main_task), name="signals")
                # A main that is done ends the background tasks as well: they serve it.
                main_task.add_done_callback(lambda _: self._cancel(watcher))
        finally:
            self._group = None
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Begin the end, as a signal does."""
        self.stopping.set()

    def _cancel(self, *more: asyncio.Task[Any]) -> None:
        for task in (*more, *self._tasks):
            task.cancel()

    async def _stop_on_signal(self, main_task: asyncio.Task[Any]) -> None:
        await self.stopping.wait()
        log.info("stopping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_limit):
                for drain in reversed(self._drains):
                    try:
                        await drain()
                    except Exception:
                        log.exception("drain failed")
        main_task.cancel()
        self._cancel()
