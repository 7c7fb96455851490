"""The same containers on each layout of control groups that this kernel can be made to show."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.kernel.cgroups.groups import DeviceRule, Groups
from shared.kernel.cgroups.v1 import GroupsV1
from shared.kernel.cgroups.v2 import GroupsV2
from shared.kernel.mounts import mount_points
from tests.integration.runtime.conftest import Node, eventually, skip_without_loop_devices
from tests.leaks import Leaks

pytestmark = pytest.mark.root

KEEPER = """
import sys
from services.nodeagent.keeper.keeper import Keeper
from services.nodeagent.keeper.loop import Loop
from tests.integration.runtime.test_layouts import groups_of

directory, layout, subtree = sys.argv[1:]
loop = Loop()
Keeper(loop, directory + "/keeper", directory + "/keeper.sock", groups_of(layout, subtree)).start({})
loop.run()
"""


def groups_of(layout: str, subtree: str) -> Groups:
    """The groups of one layout, whatever else the host has; skipped where it has not even that."""
    points = mount_points()
    if layout == "v2":
        for point in points:
            if point.kind == "cgroup2":
                return GroupsV2(subtree, point.target)
    else:
        controllers = {
            option: point.target for point in points if point.kind == "cgroup" for option in point.super_options
        }
        if "memory" in controllers:
            return GroupsV1(subtree, controllers, "")
    pytest.skip(f"this host has no {layout} control groups")


class LayoutNode(Node):
    layout = ""

    def start_keeper(self) -> None:
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-c", KEEPER, str(self.socket.parent), self.layout, f"/{self.cluster}/n1"]
        self.process = subprocess.Popen(argv)


@pytest.fixture(params=["v1", "v2"])
async def layout_node(
    request: pytest.FixtureRequest, tmp_path: Path, layer: Path, no_leaks: Leaks
) -> AsyncIterator[Node]:
    made = LayoutNode(tmp_path, layer)
    made.layout = request.param
    no_leaks.only(made.cluster)
    made.groups = groups_of(request.param, f"/{made.cluster}/n1")
    made.start_keeper()
    made.runtime = await made.connect()
    try:
        yield made
        await made.clean()
    finally:
        await made.runtime.close()
        made.kill_keeper()
        made.groups.remove_all()


async def test_a_container_runs_is_frozen_and_ends(layout_node: Node) -> None:
    await layout_node.sandbox()
    state = await layout_node.start("c", "sh", "-c", "while :; do :; done")
    assert layout_node.groups.processes("/pods/burstable/pod/c") == [state.pid]
    await layout_node.runtime.pause("c")
    await layout_node.runtime.resume("c")
    session = await layout_node.runtime.exec("c", ["sh", "-c", "cat /proc/self/cgroup; exit 4"])
    assert session.stdout is not None
    assert b"pods" not in await session.stdout.read()
    assert await session.wait() == 4
    session.close()
    assert (await layout_node.runtime.stats("c")).id == "c"
    await layout_node.runtime.pause("c")
    await layout_node.runtime.signal("c", signal.SIGKILL)
    assert (await layout_node.exit_of("c")).signal == 9


async def test_all_processes_of_a_group_are_killed(layout_node: Node) -> None:
    await layout_node.sandbox(share_process=True)
    await layout_node.start("c", "sh", "-c", "for i in 1 2 3 4 5; do sleep 1000 & done; wait")
    await eventually(lambda: len(layout_node.groups.processes("/pods/burstable/pod/c")) == 6, "six processes")
    await layout_node.runtime.remove_container("c")
    assert layout_node.groups.processes("/pods/burstable/pod/c") == []


async def test_a_container_sees_its_own_group_as_the_root(layout_node: Node) -> None:
    await layout_node.sandbox()
    output = await layout_node.shell("cat /proc/self/cgroup; find /sys/fs/cgroup -name cgroup.procs | head -n 1")
    assert layout_node.cluster not in output
    assert "cgroup.procs" in output


async def test_a_device_made_by_the_container_can_be_opened_only_by_a_privileged_one(layout_node: Node) -> None:
    skip_without_loop_devices()
    await layout_node.sandbox()
    script = "mknod /node b 7 0 && (: < /node) 2>/dev/null && echo opened || echo refused; head -c 1 /dev/zero | wc -c"
    assert (await layout_node.shell(script, name="plain")).split() == ["refused", "1"]
    assert (await layout_node.shell(script, name="privileged", privileged=True)).split() == ["opened", "1"]


def test_rules_of_every_form_are_accepted_by_the_kernel() -> None:
    tree = groups_of("v2", f"/t{os.getpid()}")
    tree.create("/a")
    try:
        assert tree.restrict_devices("/a", (DeviceRule("c", 1, 3, "r"), DeviceRule("a", None, None, "m"))) == []
    finally:
        tree.remove_all()
