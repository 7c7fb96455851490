"""One face for the fake broker and for nats-server, so that one suite tests both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from shared.bus.connection import connect
from shared.bus.fake import FakeBroker
from shared.bus.port import Bus
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S


async def wait_for(condition: Callable[[], bool], what: str = "", limit_s: float = LIMIT_S) -> None:
    """Wait until `condition()` holds; fails the test at the limit."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not reached: {what or condition}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    """Run coroutines beside the block; they are cancelled at its end, and their failure fails the test."""
    tasks = [asyncio.create_task(coroutine, name=f"beside {index}") for index, coroutine in enumerate(coroutines)]
    try:
        yield
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


class TestBroker(Protocol):
    """What the suites need."""

    __test__ = False

    @property
    def replicas(self) -> int: ...

    async def connect(self, user: str = "admin") -> Bus: ...

    async def kill(self) -> None: ...

    async def start(self) -> None: ...


class FakeTestBroker:
    replicas = 1

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    async def connect(self, user: str = "admin") -> Bus:
        return self._broker.connect(user)

    async def kill(self) -> None:
        self._broker.stop()

    async def start(self) -> None:
        self._broker.start()


class RealTestBroker:
    def __init__(self, server: NatsServer, stack: contextlib.AsyncExitStack, replicas: int = 1) -> None:
        self.replicas = replicas
        self._server = server
        self._stack = stack
        self._buses: list[Bus] = []

    async def connect(self, user: str = "admin") -> Bus:
        bus = await self._stack.enter_async_context(connect(self._server.settings(user), "test"))
        self._buses.append(bus)
        return bus

    async def kill(self) -> None:
        """kill -9, and wait until every connection has noticed."""
        self._server.kill()
        await wait_for(lambda: not any(bus.connected for bus in self._buses), "connections notice the end")

    async def start(self) -> None:
        """Start again, and wait until every connection is back."""
        await asyncio.to_thread(self._server.start)
        for bus in self._buses:
            await bus.wait_connected()


@asynccontextmanager
async def fake_broker() -> AsyncIterator[FakeTestBroker]:
    async with FakeBroker() as broker:
        yield FakeTestBroker(broker)


@asynccontextmanager
async def real_broker(server: NatsServer) -> AsyncIterator[RealTestBroker]:
    async with contextlib.AsyncExitStack() as stack:
        yield RealTestBroker(server, stack)
