"""A keeper whose program is replaced while containers run: nothing about them changes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from services.nodeagent.keeper import succession
from tests.integration.runtime.conftest import Node, eventually

pytestmark = pytest.mark.root


async def replace(node: Node) -> None:
    """Send SIGHUP and wait for the new program; its pid is the old one's."""
    assert node.process is not None
    pid = node.process.pid
    environ = Path(f"/proc/{pid}/environ")
    before = environ.read_bytes()
    os.kill(pid, signal.SIGHUP)
    await eventually(lambda: environ.read_bytes() != before, "the new program")
    await eventually(lambda: node.runtime.connected, "the connection to it")
    assert node.process.poll() is None


async def test_containers_terminals_and_logs_survive_an_upgrade(node: Node) -> None:
    await node.sandbox()
    script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.005; done; exit 5"
    plain = await node.start("plain", "sh", "-c", script)
    talk = "while read line; do echo you said $line; [ $line = end ] && exit 3; done"
    terminal = await node.start("terminal", "sh", "-c", talk, tty=True, stdin=True)
    await eventually(lambda: "line 3" in node.output("plain"), "the first lines")
    await replace(node)
    _sandboxes, containers = await node.runtime.list()
    assert {(item.id, item.pid, item.state) for item in containers} == {
        ("plain", plain.pid, "running"),
        ("terminal", terminal.pid, "running"),
    }
    async with await node.runtime.attach("terminal") as session:
        assert session.stdin is not None
        await session.stdin.write(b"hello\nend\n")
        assert (await node.exit_of("terminal")).exit_code == 3
    assert "you said hello" in node.output("terminal")
    assert (await node.exit_of("plain")).exit_code == 5
    assert node.output("plain").splitlines() == [f"line {number}" for number in range(1, 301)]


async def test_a_keeper_is_replaced_again_and_again(node: Node) -> None:
    await node.sandbox()
    state = await node.start("c", "sh", "-c", "while read line; do echo got $line; done", tty=True, stdin=True)
    for number in range(3):
        await node.start(f"before-{number}", "sleep", "1000")
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGHUP)
        await eventually(lambda: not node.runtime.connected, "the end of the old program")
        await eventually(lambda: node.runtime.connected, "the new program")
    assert Path(f"/proc/{state.pid}").exists()
    async with await node.runtime.attach("c") as session:
        assert session.stdin is not None
        await session.stdin.write(b"x\n")
        await eventually(lambda: "got x" in node.output("c"), "the terminal to answer")


async def test_what_was_run_for_the_agent_ends_with_the_program(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000")
    session = await node.runtime.exec("c", ["sh", "-c", "sleep 1000"])
    await replace(node)
    session.close()
    assert (await node.runtime.stats("c")).pids == 1


def test_what_cannot_be_read_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "[]", '{"c": "x"}', json.dumps({"c": 987654})):
        monkeypatch.setenv(succession.VARIABLE, text)
        assert succession.inherited() == {}
