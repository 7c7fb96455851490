"""A container that joins the process namespace of another one, as `kubectl debug --target` asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import RuntimeFailure
from tests.integration.runtime.conftest import Node

pytestmark = pytest.mark.root


async def test_it_sees_and_signals_the_targets_processes(node: Node) -> None:
    await node.sandbox()
    target = await node.start("target", "sleep", "4321")
    await node.start("other", "sleep", "1234")
    script = "cat /proc/1/cmdline | tr '\\0' ' '; cat /proc/[0-9]*/comm; kill -9 1"
    state, output = await node.run("doctor", "sh", "-c", script, pid_target="target")
    assert output.startswith("sleep 4321 ")
    # the first process of a namespace cannot be killed from inside, and the neighbour is not to be seen
    assert Path(f"/proc/{target.pid}").exists()
    assert output.split().count("sleep") == 2  # once in the command line, once as a process
    assert state.exit_code == 0


async def test_its_end_leaves_the_target_alone_and_the_targets_end_takes_it_along(node: Node) -> None:
    await node.sandbox()
    target = await node.start("target", "sleep", "1000")
    await node.run("short", "true", pid_target="target")
    assert Path(f"/proc/{target.pid}").exists()
    await node.start("long", "sleep", "1000", pid_target="target")
    await node.runtime.signal("target", 9)
    assert (await node.exit_of("long")).exit_code == 137


async def test_a_target_that_does_not_run_is_named(node: Node) -> None:
    await node.sandbox()
    with pytest.raises(RuntimeFailure, match="container gone, whose processes are to be shared, does not run"):
        await node.start("doctor", "true", pid_target="gone")
