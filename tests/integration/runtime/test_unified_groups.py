"""What only a kernel with cgroup2 alone can show: limits, killing, freezing and pressure, with no keeper between."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.kernel.cgroups import groups
from shared.kernel.cgroups.groups import Limits
from shared.kernel.cgroups.v2 import GroupsV2
from tests.slowness import LIMIT_S

pytestmark = pytest.mark.root

SPIN = "while :; do :; done"


class Tree:
    """A subtree with a group `/a`, and the processes that were started in it."""

    def __init__(self, found: GroupsV2, directory: str) -> None:
        self.groups = found
        self.directory = directory
        self.children: list[subprocess.Popen[bytes]] = []
        found.create("/a")

    def shell(self, script: str) -> subprocess.Popen[bytes]:
        """Run a script in the group."""
        entering = f"echo $$ > {self.directory}/a/cgroup.procs; {script}"
        child = subprocess.Popen(["busybox", "sh", "-c", entering], stderr=subprocess.PIPE)
        self.children.append(child)
        return child

    def file(self, name: str) -> str:
        return Path(f"{self.directory}/a/{name}").read_text().strip()

    def events(self) -> str:
        return self.file("cgroup.events")

    def end(self) -> None:
        self.groups.kill("")
        for child in self.children:
            child.communicate()
        reached(self.groups.remove_all, "the end of the groups")


def reached(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come to be"
        time.sleep(0.01)


@pytest.fixture
def tree() -> Iterator[Tree]:
    groups.settle()
    name = f"/t{os.getpid()}"
    found = groups.detect(name)
    if not isinstance(found, GroupsV2):
        pytest.skip(f"this host's control groups are of layout {found.layout}")
    root = next(point.target for point in groups.mount_points() if point.kind == "cgroup2")
    made = Tree(found, root + groups.delegated() + name)
    try:
        yield made
    finally:
        made.end()


def test_one_process_above_the_memory_limit_ends_all_of_its_group(tree: Tree) -> None:
    assert tree.groups.limit("/a", Limits(memory_bytes=16 << 20, oom_group=True)) == []
    child = tree.shell("head -c 100m /dev/zero | tail & wait; sleep 1000")
    child.communicate(timeout=LIMIT_S)
    assert child.returncode == -signal.SIGKILL
    assert tree.groups.counters("/a").oom_kills >= 2
    assert "populated 0" in tree.events()


def test_without_the_group_rule_only_the_largest_process_is_killed(tree: Tree) -> None:
    tree.groups.limit("/a", Limits(memory_bytes=16 << 20, oom_group=False))
    child = tree.shell("head -c 100m /dev/zero | tail; exit 5")
    child.communicate(timeout=LIMIT_S)
    assert child.returncode == 5
    assert tree.groups.oom_kills("/a") == 1


def test_a_quota_throttles(tree: Tree) -> None:
    tree.groups.limit("/a", Limits(cpu_quota_us=5000, cpu_period_us=100000))
    tree.shell(SPIN)
    reached(lambda: tree.groups.counters("/a").cpu_throttled_periods > 2, "throttling")
    assert tree.groups.counters("/a").cpu_throttled_ns > 0


def test_frozen_processes_stand_still_and_can_be_killed(tree: Tree) -> None:
    tree.shell(SPIN)
    reached(lambda: tree.groups.counters("/a").cpu_ns > 0, "use of the CPU")
    tree.groups.freeze("/a", True)
    reached(lambda: "frozen 1" in tree.events(), "freezing")
    tree.groups.freeze("/a", False)
    reached(lambda: "frozen 0" in tree.events(), "thawing")
    tree.groups.freeze("/a", True)
    tree.groups.kill("/a")
    reached(lambda: "populated 0" in tree.events(), "the end")


def test_a_kill_reaches_every_descendant(tree: Tree) -> None:
    tree.shell("for i in 1 2 3 4 5; do (setsid sleep 1000 & wait) & done; wait")
    reached(lambda: len(tree.groups.processes("/a")) == 11, "eleven processes")
    tree.groups.kill("/a")
    reached(lambda: tree.groups.processes("/a") == [], "their end")


def test_a_limit_of_processes_is_kept(tree: Tree) -> None:
    tree.groups.limit("/a", Limits(pids=2))
    child = tree.shell("sleep 1000 & sleep 1000 & wait")
    assert child.stderr is not None
    assert b"fork" in child.stderr.readline()
    assert tree.groups.counters("/a").pids_limit == 2


def test_limits_of_a_running_group_can_be_changed_both_ways(tree: Tree) -> None:
    tree.shell("sleep 1000")
    for size, shares, weight in ((64 << 20, 512, 20), (256 << 20, 4096, 157), (32 << 20, 2, 1)):
        assert tree.groups.limit("/a", Limits(memory_bytes=size, cpu_shares=shares, cpu_quota_us=50000)) == []
        assert tree.groups.counters("/a").memory_limit_bytes == size
        assert tree.file("cpu.weight") == str(weight)
    tree.groups.limit("/a", Limits(memory_bytes=-1, cpu_quota_us=-1, pids=-1))
    assert (tree.file("memory.max"), tree.file("cpu.max"), tree.file("pids.max")) == ("max", "max 100000", "max")


def test_processes_that_compete_for_one_cpu_are_told_as_pressure(tree: Tree) -> None:
    if not os.path.exists("/proc/pressure/cpu"):
        pytest.skip("this kernel keeps no pressure stall information")
    tree.groups.limit("/a", Limits(cpuset_cpus="0"))
    tree.shell(SPIN)
    tree.shell(SPIN)
    reached(lambda: tree.groups.counters("/a").cpu_waiting_ns > 1_000_000, "pressure")
