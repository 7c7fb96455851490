"""What the keeper does where it has CAP_SYS_RESOURCE: what is a warning elsewhere is done here."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.nodeagent.runtime.model import Rlimit
from shared.kernel import syscalls
from shared.kernel.check import CAP_SYS_RESOURCE
from tests.integration.runtime.conftest import Node

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not syscalls.capget()[1] >> CAP_SYS_RESOURCE & 1, reason="CAP_SYS_RESOURCE is not permitted"),
]


async def test_limits_are_raised_and_the_oom_score_is_lowered_as_asked(node: Node) -> None:
    await node.sandbox()
    limits = {"nofile": Rlimit(1_000_000, 1_000_000), "memlock": Rlimit(-1, -1), "nproc": Rlimit(-1, -1)}
    state = await node.start("c", "sleep", "1000", oom_score_adj=-997, rlimits=limits)
    process = Path(f"/proc/{state.pid}")
    assert state.warnings == []
    assert (process / "oom_score_adj").read_text() == "-997\n"
    lines = (process / "limits").read_text().splitlines()
    values = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert values["Max open files"] == ["1000000", "1000000"]
    assert values["Max locked memory"] == ["unlimited", "unlimited"]
    assert values["Max processes"] == ["unlimited", "unlimited"]
