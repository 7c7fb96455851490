"""Clients that read and compare-and-set a few registers at the same time, and remember exactly what they were told.

What a register is made of is up to the two calls of its `Client`; how often somebody kills a server meanwhile is up to
the test. WHERRY_LINEARIZABILITY_SECONDS sets how long each history gets.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from tests.linearizability import CONFLICT, OK, READ, WRITE, NotLinearizable, Operation, Value, check, unknown

SECONDS = float(os.environ.get("WHERRY_LINEARIZABILITY_SECONDS", "0"))


class Refused(Exception):
    """A write that was told to have lost against another; it had no effect."""


class Lost(Exception):
    """The outcome is unknown."""


class Client(Protocol):
    """One client of all registers. `seen` is whatever a write needs to know of what it replaces."""

    async def read(self, name: str) -> tuple[Value, Any]:
        """The value, None if there is none, and what a write on top of it needs. Lost."""

    async def write(self, name: str, new: Value, seen: Any) -> None:
        """Replace what was seen; None deletes. Refused, Lost."""


class Histories:
    """The history of each register."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.operations: dict[str, list[Operation]] = {name: [] for name in names}
        self._written = 0
        self.acknowledged = 0

    async def work(self, process: str, client: Client, seed: int) -> None:
        """Read and write for ever."""
        chance = random.Random(seed)
        while True:
            name = chance.choice(self.names)
            read = await self._read(process, client, name)
            if read is None:
                await asyncio.sleep(0.05)
                continue
            old, seen = read
            draw = chance.random()
            if draw < 0.3:
                continue
            new = None if draw < 0.4 and old is not None else self._value(process)
            await self._write(process, client, name, old, new, seen)

    def _value(self, process: str) -> str:
        self._written += 1
        return f"{process}-{self._written}"

    async def _read(self, process: str, client: Client, name: str) -> tuple[Value, Any] | None:
        begin = time.monotonic()
        try:
            value, seen = await client.read(name)
        except Lost:
            return None
        self.operations[name].append(Operation(process, READ, None, value, OK, begin, time.monotonic()))
        return value, seen

    async def _write(self, process: str, client: Client, name: str, old: Value, new: Value, seen: Any) -> None:
        begin = time.monotonic()
        try:
            await client.write(name, new, seen)
            outcome = OK
            self.acknowledged += 1
        except Refused:
            outcome = CONFLICT
        except (Lost, asyncio.CancelledError) as exc:
            self.operations[name].append(unknown(process, old, new, begin))
            if isinstance(exc, asyncio.CancelledError):
                raise
            return
        self.operations[name].append(Operation(process, WRITE, old, new, outcome, begin, time.monotonic()))

    def check(self, *, replicas: int = 1) -> None:
        """NotLinearizable if the history of one register is not.

        A replicated stream refuses a write because of another that is on its way to the replicas, and that may get lost
        with the leader: then nobody ever sees why.
        """
        for name, history in self.operations.items():
            try:
                check(history, spurious_conflicts=replicas > 1)
            except NotLinearizable as exc:
                raise NotLinearizable(f"register {name}: {exc}") from None

    def counts(self) -> dict[str, int]:
        """How many operations had which outcome."""
        found: dict[str, int] = {}
        for operation in (one for history in self.operations.values() for one in history):
            key = f"{operation.kind} {operation.outcome}"
            found[key] = found.get(key, 0) + 1
        return found


async def disturb(histories: Histories, disturbances: Sequence[Callable[[], Awaitable[None]]], seconds: float) -> None:
    """Carry out the disturbances, one after the other and over again until the time is up, each once at least; between
    them wait until writes are acknowledged again."""
    deadline = time.monotonic() + (SECONDS or seconds)
    number = 0
    while number < len(disturbances) or time.monotonic() < deadline:
        await _progress(histories, 30)
        await disturbances[number % len(disturbances)]()
        number += 1
    await _progress(histories, 30)


async def _progress(histories: Histories, count: int) -> None:
    target = histories.acknowledged + count
    async with asyncio.timeout(60):
        while histories.acknowledged < target:
            await asyncio.sleep(0.05)
