"""The QoS levels above the pods' groups share the CPU by what their pods asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.nodeagent.keeper.sandboxes import level_shares
from services.nodeagent.runtime.model import Resources
from shared.kernel.cgroups.v2 import weight_of_shares
from shared.kernel.mounts import mount_points
from tests.integration.runtime.conftest import Node

pytestmark = pytest.mark.root


def shares(node: Node, path: str) -> int:
    """cpu.shares or cpu.weight of one of the node's groups."""
    if node.groups.layout == "v2":
        [root] = [point.target for point in mount_points() if point.kind == "cgroup2"]
        return int(Path(f"{root}{node.groups.absolute(path)}/cpu.weight").read_text())
    root = next(point.target for point in mount_points() if point.kind == "cgroup" and "cpu" in point.super_options)
    return int(Path(f"{root}{node.groups.absolute(path)}/cpu.shares").read_text())


def expected(node: Node, value: int) -> int:
    return weight_of_shares(value) if node.groups.layout == "v2" else value


async def test_a_level_weighs_what_its_pods_asked_for_together(node: Node) -> None:
    await node.sandbox("a", resources=Resources(cpu_shares=512))
    await node.sandbox("b", resources=Resources(cpu_shares=1024))
    await node.sandbox("c", cgroup="/pods/besteffort/c", resources=Resources(cpu_shares=2))
    await node.sandbox("d", cgroup="/pods/guaranteed/d", resources=Resources(cpu_shares=2048))
    assert shares(node, "/pods/burstable") == expected(node, 1536)
    assert shares(node, "/pods/besteffort") == expected(node, 2)
    assert shares(node, "/pods/guaranteed") == expected(node, 2048)


async def test_a_level_follows_resizes_and_removals(node: Node) -> None:
    await node.sandbox("a", resources=Resources(cpu_shares=512))
    await node.sandbox("b", resources=Resources(cpu_shares=1024))
    await node.runtime.update_sandbox_resources("a", Resources(cpu_shares=100))
    assert shares(node, "/pods/burstable") == expected(node, 1124)
    await node.runtime.remove_sandbox("b")
    assert shares(node, "/pods/burstable") == expected(node, 100)


def test_shares_stay_within_what_the_kernel_takes() -> None:
    assert level_shares("/pods/burstable", [262_144, 5]) == 262_144
    assert level_shares("/pods/burstable", [0]) == 2
    assert level_shares("/other", [5]) is None
