"""The jobs of one pod: what takes long runs beside the worker's loop, each under a name, at most once."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

# After a failure that nobody expected a job is only seen to have ended after this long, so that it is not begun in a
# tight loop.
PAUSE_S = 2.0


class Jobs:
    """Running jobs by key; `on_end` is called whenever one has ended."""

    def __init__(self, name: str, on_end: Callable[[], None]) -> None:
        self._name = name
        self._on_end = on_end
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def open(self, group: asyncio.TaskGroup) -> None:
        """Jobs begin in this group from now on; before, none begins."""
        self._group = group

    def close(self) -> None:
        """End all jobs; none begins any more."""
        self._group = None
        for task in self._tasks.values():
            task.cancel()

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self._tasks)

    def begin(self, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work()` under `key`, in place of a job of that key."""

        async def guarded() -> None:
            try:
                await work()
            except Exception:
                log.exception("pod %s: %s", self._name, key)
                await asyncio.sleep(PAUSE_S)
            finally:
                if self._tasks.get(key) is asyncio.current_task():
                    del self._tasks[key]
                self._on_end()

        if self._group is not None:
            self._tasks[key] = self._group.create_task(guarded(), name=f"{self._name} {key}")

    def cancel(self, *kinds: str) -> None:
        """End the jobs whose key begins with one of `kinds`."""
        for key in list(self._tasks):
            if key.partition("/")[0] in kinds:
                self._tasks.pop(key).cancel()
