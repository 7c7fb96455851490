"""Killing the agent at every point at which it touches the world, one after the other.

Every call of a runtime, network, image, checkpoint or API function is a point, once before it has happened and once
after. `Failpoints` counts them and ends the agent at the one it was told: the call raises `Killed`, which no handler of
errors catches, as kill -9 would leave none to run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The agent's end."""


class Failpoints:
    """`at` is the number of the point to fail at, counted from 1, and 0 for none; `seen` lists those passed."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.seen: list[str] = []
        self.dead = False
        self.on_death: Callable[[], None] = lambda: None

    def reach(self, name: str) -> None:
        """A point has come."""
        if self.dead:
            # whatever else the process had under way ends with it
            raise Killed(name)
        self.seen.append(name)
        if len(self.seen) == self.at:
            self.dead = True
            self.on_death()
            raise Killed(name)

    def revive(self) -> None:
        """A new agent, which is not killed."""
        self.at, self.dead = 0, False

    def around(self, target: Any, name: str, *methods: str) -> Any:
        """`target` with points before and after each of these methods."""
        return _Around(self, target, name, methods)


class _Around:
    def __init__(self, points: Failpoints, target: Any, name: str, methods: tuple[str, ...]) -> None:
        object.__setattr__(self, "_target", target)
        for method in methods:
            object.__setattr__(self, method, _wrapped(points, getattr(target, method), f"{name}.{method}"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._target, name, value)


def _wrapped(points: Failpoints, call: Callable[..., Any], name: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(call):

        async def awaited(*args: Any, **options: Any) -> Any:
            points.reach(f"before {name}")
            result = await call(*args, **options)
            # the answer of a real call arrives in a later turn of the loop
            await asyncio.sleep(0)
            points.reach(f"after {name}")
            return result

        return awaited

    def direct(*args: Any, **options: Any) -> Any:
        points.reach(f"before {name}")
        result = call(*args, **options)
        points.reach(f"after {name}")
        return result

    return direct
