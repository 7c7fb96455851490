"""In which order the supervisor starts processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.cli import supervise
from shared.cli.supervise import GATE_LIMIT_S, Process, Supervisor


class Recorder(Supervisor):
    """Starts nothing, but notes what it would have started at the time `now`."""

    now = 0.0

    def start(self, process: Process) -> None:
        process.pid, process.started = 1, self.now
        self.started.append(process.name)

    def step(self, now: float) -> list[str]:
        """What is started at a time."""
        self.now, self.started = now, list[str]()
        self.held = self.start_due(now)
        return self.started


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda *_, **__: -1)
    specs = [
        {"name": name, "argv": [name], "env": {}, "netns": "", "gate": gate}
        for name, gate in (("bus", "bus:1"), ("api", "api:2"), ("controllers", ""), ("agent", ""))
    ]
    (tmp_path / "plan.json").write_text(json.dumps(specs))
    made = Recorder(tmp_path, tmp_path)
    made.load_plan()
    yield made
    made.selector.close()
    made.signals.close()
    made._wake.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The addresses that accept connections."""
    addresses: set[str] = set()
    monkeypatch.setattr(supervise, "is_open", lambda address: address in addresses)
    return addresses


def test_nothing_starts_before_the_gate_in_front_of_it_is_open(supervisor: Recorder, opened: set[str]) -> None:
    assert supervisor.step(1) == ["bus"]
    assert supervisor.held == {"api", "controllers", "agent"}
    assert supervisor.step(2) == []
    opened.add("bus:1")
    assert supervisor.step(3) == ["api"]
    opened.add("api:2")
    assert supervisor.step(4) == ["controllers", "agent"]
    assert supervisor.held == set()


def test_what_dies_is_started_again_while_others_are_held_back(supervisor: Recorder, opened: set[str]) -> None:
    opened.add("bus:1")
    assert supervisor.step(1) == ["bus", "api"]
    supervisor.processes["bus"].pid = 0
    assert supervisor.step(2) == ["bus"]


def test_nobody_waits_for_a_gate_whose_process_has_died(supervisor: Recorder, opened: set[str]) -> None:
    opened.add("bus:1")
    supervisor.step(1)
    supervisor.processes["api"].pid, supervisor.processes["api"].due = 0, 9.0
    assert supervisor.step(2) == ["controllers", "agent"]
    assert supervisor.step(9) == ["api"]


def test_nodes_start_without_an_api_server_that_never_serves(supervisor: Recorder, opened: set[str]) -> None:
    opened.add("bus:1")
    supervisor.step(1)
    assert supervisor.step(GATE_LIMIT_S) == []
    assert supervisor.step(GATE_LIMIT_S + 2) == ["controllers", "agent"]
