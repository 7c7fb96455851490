"""As a unit of systemd with `Delegate=yes`: everything stays below the unit's own group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.kernel.cgroups import groups
from tests.integration.runtime.conftest import Node

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(groups.delegated() == "", reason="no group of cgroup2 is delegated to this process"),
]

ROOT = Path("/sys/fs/cgroup")


def outside() -> set[str]:
    """Every group that is not below the delegated one."""
    own = f"{ROOT}{groups.delegated()}"
    return {directory for directory, _, _ in os.walk(ROOT) if not f"{directory}/".startswith(f"{own}/")}


async def test_containers_and_their_limits_stay_below_the_units_group(node: Node) -> None:
    before = outside()
    await node.sandbox()
    state = await node.start("c", "sleep", "1000")
    place = Path(f"/proc/{state.pid}/cgroup").read_text().strip().removeprefix("0::")
    assert place == f"{groups.delegated()}/{node.cluster}/n1/pods/burstable/pod/c"
    assert Path(f"{ROOT}{place}/memory.max").exists()
    assert Path(f"{ROOT}{place}/cpu.max").exists()
    assert outside() == before


def test_the_shipped_unit_is_understood() -> None:
    unit = Path(__file__).parents[3] / "deploy/systemd/wherry.service"
    program = Path("/usr/local/bin/wherry")
    if not program.exists():
        program.symlink_to("/bin/true")  # in the guest's own layer
    answer = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in answer.stderr.splitlines() if unit.name in line and "DelegateSubgroup" not in line]
    assert (answer.returncode, complaints) == (0, [])


def test_the_check_finds_everything_inside_the_unit() -> None:
    before = outside()
    words = [sys.executable, "-m", "shared.cli.main", "check"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "layout v2" in answer.stdout
    for controller in ("cpu", "memory", "pids", "devices"):
        assert f"ok      cgroup {controller}" in answer.stdout
    assert outside() == before
