"""The delay lock of systemd-logind, on a bus of its own with a logind that the test plays."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dbus_fast import Message, Variant
from dbus_fast.aio import MessageBus

from services.nodeagent import inhibitor
from services.nodeagent.inhibitor import LOGIND, MANAGER, PLACE, ShutdownInhibitor
from tests.fakes.nodes import eventually

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed")


class Logind:
    """Hands out locks; `held` is how many of them are open somewhere else."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self.asked: list[list[Any]] = []
        self._ends: list[int] = []
        bus.add_message_handler(self._answer)

    def _answer(self, message: Message) -> Message | None:
        if message.member == "Inhibit":
            self.asked.append(message.body)
            ours, theirs = os.pipe()
            os.set_blocking(ours, False)
            self._ends.append(ours)
            asyncio.get_running_loop().call_later(0.05, os.close, theirs)
            return Message.new_method_return(message, "h", [0], [theirs])
        if message.member == "Get":
            return Message.new_method_return(message, "v", [Variant("t", 5_000_000)])
        return None

    def announce(self, going: bool) -> None:
        self.bus.send(Message.new_signal(PLACE, MANAGER, "PrepareForShutdown", "b", [going]))

    @property
    def held(self) -> int:
        return sum(_is_open(end) for end in self._ends)

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


def _is_open(end: int) -> bool:
    try:
        return os.read(end, 1) != b""
    except BlockingIOError:
        return True


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """A message bus."""
    daemon = await asyncio.create_subprocess_exec(
        "dbus-daemon", "--session", "--nofork", "--print-address", stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    yield (await daemon.stdout.readline()).decode().strip()
    daemon.kill()
    await daemon.wait()


@pytest.fixture
async def logind(address: str) -> AsyncIterator[Logind]:
    bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
    await bus.request_name(LOGIND)
    found = Logind(bus)
    yield found
    bus.disconnect()
    await asyncio.sleep(0.1)
    found.close()


async def test_the_lock_is_held_until_the_pods_have_ended(
    address: str, logind: Logind, caplog: pytest.LogCaptureFixture
) -> None:
    ending, ended = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    async def going_down() -> None:
        ending.set()
        await ended.wait()

    lock = ShutdownInhibitor(address, going_down, lambda: calls.append("cancelled"), 30.0)
    task = asyncio.create_task(lock.run(), name="inhibitor")
    try:
        await eventually(lambda: logind.asked, "the request for a lock")
        assert (logind.asked[0][0], logind.asked[0][3]) == ("shutdown", "delay")
        await eventually(lambda: "InhibitDelayMaxSec=31" in caplog.text, "the advice to allow more time")
        await asyncio.sleep(0.1)
        logind.announce(True)
        await asyncio.wait_for(ending.wait(), 10)
        assert logind.held == 1
        ended.set()
        await eventually(lambda: logind.held == 0, "the lock to be let go")
        logind.announce(False)
        await eventually(lambda: calls == ["cancelled"] and len(logind.asked) == 2, "a new lock after the end was off")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await eventually(lambda: logind.held == 0, "the lock to go with the agent")


async def test_without_logind_it_is_tried_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inhibitor, "RETRY_S", 0.05)
    lock = ShutdownInhibitor(address, lambda: asyncio.sleep(0), lambda: None, 1.0)
    task = asyncio.create_task(lock.run(), name="inhibitor")
    try:
        await asyncio.sleep(0.2)
        bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
        await bus.request_name(LOGIND)
        late = Logind(bus)
        await eventually(lambda: late.asked, "the request for a lock")
        bus.disconnect()
        late.close()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
