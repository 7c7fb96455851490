"""The life of a process: tasks, signals, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from shared.supervisor import Supervisor


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_the_end_of_main_ends_the_background_tasks() -> None:
    supervisor = Supervisor()

    async def main() -> None:
        supervisor.start(forever(), name="background")
        await asyncio.sleep(0)

    await supervisor.run(main())


async def test_a_failing_task_ends_everything() -> None:
    supervisor = Supervisor()
    cancelled = False

    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        nonlocal cancelled
        supervisor.start(fail(), name="fragile")
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled = True
            raise

    with pytest.raises(ExceptionGroup) as caught:
        await supervisor.run(main())
    assert caught.group_contains(ZeroDivisionError)
    assert cancelled


async def test_a_signal_drains_before_it_cancels() -> None:
    supervisor = Supervisor()
    order: list[str] = []

    async def drain(name: str) -> None:
        order.append(name)

    async def broken() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        supervisor.on_drain(lambda: drain("first registered"))
        supervisor.on_drain(broken)
        supervisor.on_drain(lambda: drain("last registered"))
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await forever()
        finally:
            order.append("cancelled")

    await supervisor.run(main())
    assert order == ["last registered", "first registered", "cancelled"]


async def test_a_task_outside_of_run_is_refused() -> None:
    with pytest.raises(RuntimeError, match="early"):
        Supervisor().start(forever(), name="early")


SERVICE = """
import asyncio, sys
from shared.service import Service, run

async def main(service: Service) -> None:
    mode = sys.argv[1]
    if mode == "fail":
        raise ValueError("on purpose")
    if mode == "wait":
        print("up", flush=True)
        await asyncio.get_running_loop().create_future()

run("test", main)
"""


@pytest.mark.parametrize(("mode", "code"), [("return", 0), ("fail", 1)])
def test_a_service_exits_with_its_fate(mode: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", SERVICE, mode], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("on purpose" in done.stderr) == (mode == "fail")


def test_a_service_ends_well_on_sigterm() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVICE, "wait"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 0


def test_wrong_settings_are_told_in_one_line() -> None:
    env = {**os.environ, "WHERRY_BUS_URL": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-c", SERVICE, "return"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("test: WHERRY_BUS_URL")
    assert len(done.stderr.splitlines()) == 1
