"""The supervisor with real processes: it starts, restarts, adopts and stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.cli.supervise import running, start_time
from tests.slowness import LIMIT_S


def until(probe: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Fleet:
    """A supervisor over a few `sleep` processes in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.run = directory / "run"
        self.logs = directory / "log"
        self.run.mkdir()
        self.logs.mkdir()
        self.supervisor: subprocess.Popen[bytes] | None = None

    def plan(self, **commands: str) -> None:
        specs = [
            {"name": name, "argv": ["sh", "-c", command], "env": {}, "netns": "", "gate": ""}
            for name, command in commands.items()
        ]
        (self.run / "plan.json").write_text(json.dumps(specs))

    def start(self) -> None:
        self.supervisor = subprocess.Popen(
            [sys.executable, "-m", "shared.cli.supervise", str(self.run), str(self.logs)]
        )

    def alive(self) -> dict[str, int]:
        return {name: pid for name, pid in running(self.run).items() if name != "supervisor"}

    def signal(self, number: int) -> None:
        assert self.supervisor is not None
        self.supervisor.send_signal(number)

    def end(self) -> None:
        if self.supervisor is not None:
            self.supervisor.terminate()
            self.supervisor.wait()
        for pid in self.alive().values():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.end()


def test_what_dies_is_started_again(fleet: Fleet) -> None:
    fleet.plan(a="exec sleep 1000", b="exec sleep 1000")
    fleet.start()
    until(lambda: len(fleet.alive()) == 2)
    before = fleet.alive()
    os.kill(before["a"], signal.SIGKILL)
    until(lambda: fleet.alive().get("a") not in (None, before["a"]))
    assert fleet.alive()["b"] == before["b"]
    assert f"a (pid {before['a']}) ended with status -9" in (fleet.logs / "a.log").read_text()


def test_a_new_supervisor_adopts_what_the_killed_one_left(fleet: Fleet) -> None:
    fleet.plan(a="exec sleep 1000")
    fleet.start()
    until(lambda: len(fleet.alive()) == 1)
    before = fleet.alive()
    fleet.signal(signal.SIGKILL)
    assert fleet.supervisor is not None
    fleet.supervisor.wait()
    assert fleet.alive() == before
    fleet.start()
    until(lambda: "supervisor" in running(fleet.run))
    assert fleet.alive() == before
    os.kill(before["a"], signal.SIGKILL)
    until(lambda: fleet.alive().get("a") not in (None, before["a"]))


def test_terminating_the_supervisor_ends_everything(fleet: Fleet) -> None:
    fleet.plan(a="exec sleep 1000", b="trap 'exit 0' TERM; while true; do sleep 0.1; done")
    fleet.start()
    until(lambda: len(fleet.alive()) == 2)
    pids = list(fleet.alive().values())
    fleet.signal(signal.SIGTERM)
    assert fleet.supervisor is not None
    assert fleet.supervisor.wait(timeout=LIMIT_S) == 0
    assert [start_time(pid) for pid in pids] == [None, None]
    assert list((fleet.run / "processes").iterdir()) == []


def test_a_changed_plan_is_followed(fleet: Fleet) -> None:
    fleet.plan(a="exec sleep 1000", b="exec sleep 1000")
    fleet.start()
    until(lambda: len(fleet.alive()) == 2)
    kept = fleet.alive()["a"]
    fleet.plan(a="exec sleep 1000", c="exec sleep 1000")
    fleet.signal(signal.SIGHUP)
    until(lambda: set(fleet.alive()) == {"a", "c"})
    assert fleet.alive()["a"] == kept


def test_a_program_that_is_missing_is_named_in_the_log(fleet: Fleet) -> None:
    fleet.plan(a="exec sleep 1000")
    specs = json.loads((fleet.run / "plan.json").read_text())
    specs.append({"name": "bad", "argv": ["/no/such/program"], "env": {}, "netns": "", "gate": ""})
    (fleet.run / "plan.json").write_text(json.dumps(specs))
    fleet.start()
    until(lambda: (fleet.logs / "bad.log").exists() and "/no/such/program" in (fleet.logs / "bad.log").read_text())
    assert "a" in fleet.alive()
