"""Control groups of each layout, on directories that look like the kernel's, and the device program, interpreted."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from shared.kernel.cgroups import devices, groups
from shared.kernel.cgroups.groups import Counters, DeviceRule, Limits
from shared.kernel.cgroups.v1 import GroupsV1
from shared.kernel.cgroups.v2 import GroupsV2, weight_of_shares
from shared.kernel.mounts import parse_mountinfo

HYBRID = """\
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_the_layout_is_told_by_what_is_mounted() -> None:
    lines = HYBRID.splitlines(keepends=True)
    assert groups.detect("/a", parse_mountinfo(HYBRID)).layout == "hybrid"
    assert groups.detect("/a", parse_mountinfo("".join(lines[:3]))).layout == "v1"
    assert groups.detect("/a", parse_mountinfo(lines[3])).layout == "v2"
    with pytest.raises(RuntimeError, match="no cgroup file system"):
        groups.detect("/a", [])


def test_joined_controllers_are_entered_once_and_shown_under_both_names() -> None:
    tree = groups.detect("/c/n", parse_mountinfo(HYBRID))
    assert tree.entrances("/p") == ["/sys/fs/cgroup/cpu,cpuacct/c/n/p/tasks", "/sys/fs/cgroup/memory/c/n/p/tasks"]
    assert [(mount.name, mount.options) for mount in tree.container_mounts()] == [
        ("cpu,cpuacct", "cpu,cpuacct"),
        ("memory", "memory"),
        ("unified", ""),
    ]


@pytest.fixture
def v1(tmp_path: Path) -> tuple[GroupsV1, Path]:
    controllers = {}
    for name in ("cpu", "cpuacct", "memory", "pids", "blkio"):
        (tmp_path / name).mkdir()
        controllers[name] = str(tmp_path / name)
    tree = GroupsV1("/c/n", controllers, "")
    tree.create("/p/x")
    return tree, tmp_path


def put(directory: Path, **files: str) -> None:
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


def test_v1_limits_are_written_to_their_controllers(v1: tuple[GroupsV1, Path]) -> None:
    tree, root = v1
    put(root / "cpu/c/n/p/x", cpu__shares="", cpu__cfs_period_us="", cpu__cfs_quota_us="")
    put(root / "memory/c/n/p/x", memory__limit_in_bytes="", memory__memsw__limit_in_bytes="")
    put(root / "pids/c/n/p/x", pids__max="")
    limits = Limits(cpu_shares=512, cpu_quota_us=5000, cpu_period_us=10000, memory_bytes=1 << 20, pids=-1)
    assert tree.limit("/p/x", limits) == []
    assert (root / "cpu/c/n/p/x/cpu.shares").read_text() == "512"
    assert (root / "cpu/c/n/p/x/cpu.cfs_quota_us").read_text() == "5000"
    assert (root / "memory/c/n/p/x/memory.limit_in_bytes").read_text() == "1048576"
    assert (root / "memory/c/n/p/x/memory.memsw.limit_in_bytes").read_text() == "1048576"
    assert (root / "pids/c/n/p/x/pids.max").read_text() == "max"


def test_a_missing_controller_is_a_warning(tmp_path: Path) -> None:
    tree = GroupsV1("/c", {"cpu": str(tmp_path)}, "")
    tree.create("/x")
    warnings = tree.limit("/x", Limits(memory_bytes=1, pids=2, cpuset_cpus="0"))
    assert warnings == [
        "memory.limit_in_bytes is not limited: this host has no memory cgroup controller",
        "pids.max is not limited: this host has no pids cgroup controller",
        "cpuset.cpus is not limited: this host has no cpuset cgroup controller",
    ]


def test_v1_counters(v1: tuple[GroupsV1, Path]) -> None:
    tree, root = v1
    put(root / "cpuacct/c/n/p/x", cpuacct__usage="500\n", cpuacct__usage_user="300\n", cpuacct__usage_sys="200\n")
    put(root / "cpu/c/n/p/x", cpu__stat="nr_periods 5\nnr_throttled 2\nthrottled_time 77\n")
    put(
        root / "memory/c/n/p/x",
        memory__usage_in_bytes="1000\n",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__stat="cache 1\ntotal_inactive_file 400\ntotal_rss 300\ntotal_cache 600\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    )
    put(root / "pids/c/n/p/x", pids__current="4\n", pids__max="max\n")
    put(
        root / "blkio/c/n/p/x",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 10\n8:0 Write 20\n8:16 Read 1\nTotal 31\n",
    )
    assert tree.counters("/p/x") == Counters(
        cpu_ns=500,
        cpu_user_ns=300,
        cpu_system_ns=200,
        cpu_periods=5,
        cpu_throttled_periods=2,
        cpu_throttled_ns=77,
        memory_bytes=1000,
        working_set_bytes=600,
        rss_bytes=300,
        cache_bytes=600,
        oom_kills=3,
        pids=4,
        read_bytes=11,
        write_bytes=20,
    )
    with pytest.raises(FileNotFoundError):
        tree.counters("/nosuch")


@pytest.fixture
def v2(tmp_path: Path) -> tuple[GroupsV2, Path]:
    put(tmp_path, cgroup__controllers="cpu io memory pids\n", cgroup__subtree_control="pids\n")
    return GroupsV2("/c/n", str(tmp_path)), tmp_path


def test_v2_hands_down_what_is_there_and_not_yet_handed_down(v2: tuple[GroupsV2, Path]) -> None:
    tree, root = v2
    tree.create("/p/x")
    assert (root / "c/n/p/x").is_dir()
    assert (root / "cgroup.subtree_control").read_text() == "+cpu +io +memory"


def test_v2_limits(v2: tuple[GroupsV2, Path]) -> None:
    tree, root = v2
    tree.create("/x")
    directory = root / "c/n/x"
    put(directory, cpu__weight="", cpu__max="", memory__max="", memory__swap__max="", pids__max="")
    limits = Limits(cpu_shares=1024, cpu_quota_us=50000, memory_bytes=4096, pids=7, cpuset_cpus="0")
    assert tree.limit("/x", limits) == ["cpuset.cpus is not limited: this host has no cpuset cgroup controller"]
    read = {name: (directory / name).read_text() for name in ("cpu.weight", "cpu.max", "memory.max", "memory.swap.max")}
    assert read == {"cpu.weight": "39", "cpu.max": "50000 100000", "memory.max": "4096", "memory.swap.max": "0"}
    put(directory, cpu__max="", memory__max="", memory__swap__max="", memory__oom__group="")
    tree.limit("/x", Limits(cpu_quota_us=-1, memory_bytes=-1, oom_group=True))
    assert (directory / "memory.oom.group").read_text() == "1"
    assert (directory / "cpu.max").read_text() == "max 100000"
    assert (directory / "memory.max").read_text() == "max"


def test_v2_counters(v2: tuple[GroupsV2, Path]) -> None:
    tree, root = v2
    tree.create("/x")
    put(
        root / "c/n/x",
        cpu__stat="usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n",
        memory__current="1000\n",
        memory__max="max\n",
        memory__stat="anon 300\nfile 600\ninactive_file 100\npgfault 8\n",
        memory__events="low 0\nmax 2\noom 1\noom_kill 1\n",
        pids__current="3\n",
        pids__max="20\n",
        cpu__pressure="some avg10=0.00 total=30\nfull avg10=0.00 total=20\n",
        memory__pressure="some avg10=0.00 total=3\nfull avg10=0.00 total=2\n",
        io__stat="8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n8:16 rbytes=1 wbytes=1 rios=1 wios=1\n",
    )
    assert tree.counters("/x") == Counters(
        cpu_ns=5000,
        cpu_user_ns=3000,
        cpu_system_ns=2000,
        cpu_periods=9,
        cpu_throttled_periods=4,
        cpu_throttled_ns=7000,
        memory_bytes=1000,
        working_set_bytes=900,
        rss_bytes=300,
        cache_bytes=600,
        page_faults=8,
        memory_failures=2,
        oom_kills=1,
        pids=3,
        pids_limit=20,
        read_bytes=11,
        write_bytes=21,
        reads=2,
        writes=3,
        cpu_waiting_ns=30_000,
        cpu_stalled_ns=20_000,
        memory_waiting_ns=3000,
        memory_stalled_ns=2000,
    )
    assert tree.oom_kills("/x") == 1


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (1 << 30, 10000)])
def test_shares_become_weights_as_in_kubernetes(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


def test_removal_takes_what_is_below_and_parents_only_when_asked(tmp_path: Path) -> None:
    tree = GroupsV2("/c/n", str(tmp_path))
    tree.create("/qos/pod/a/deep")
    tree.create("/qos/pod/b")
    assert tree.remove("/qos/pod/a")
    assert tree.remove("/qos/pod/b")
    assert (tmp_path / "c/n/qos/pod").is_dir()
    assert tree.remove("/qos/pod", parents=True)
    assert (tmp_path / "c/n").is_dir()
    assert not (tmp_path / "c/n/qos").exists()
    assert tree.remove("/qos/pod")


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """An interpreter of the few eBPF instructions that the program has."""
    context = struct.pack("III", access << 16 | kind, major, minor)
    code = list(struct.iter_unpack("<BBhi", program))
    registers = [0] * 11
    position = 0
    while True:
        operation, pair, offset, value = code[position]
        target, source = pair & 15, pair >> 4
        position += 1
        match operation:
            case 0x61:
                registers[target] = struct.unpack_from("I", context, offset)[0]
            case 0xBF:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = value
            case 0x57:
                registers[target] &= value
            case 0x77:
                registers[target] >>= value
            case 0x15:
                position += offset if registers[target] == value else 0
            case 0x55:
                position += offset if registers[target] != value else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")


def test_a_device_is_permitted_by_a_rule_for_all_of_the_access_asked_for() -> None:
    program = devices.program(
        (DeviceRule("c", 1, 3, "rwm"), DeviceRule("c", 136, None, "rw"), DeviceRule("b", None, None, "m"))
    )
    block, char = 1, 2
    make, read, write = 1, 2, 4
    assert run(program, char, read | write, 1, 3) == 1
    assert run(program, char, read, 1, 5) == 0
    assert run(program, block, read, 1, 3) == 0
    assert run(program, char, read | write, 136, 77) == 1
    assert run(program, char, make, 136, 77) == 0
    assert run(program, block, make, 8, 0) == 1
    assert run(program, block, make | read, 8, 0) == 0


def test_of_several_device_rules_the_last_that_fits_decides() -> None:
    program = devices.program(
        (
            DeviceRule("c", 1, None, "rwm"),
            DeviceRule("a", None, None, "rwm", allow=False),
            DeviceRule("c", 10, None, "rwm"),
            DeviceRule("c", 10, 7, "w", allow=False),
        )
    )
    char, read, write = 2, 2, 4
    assert run(program, char, read, 1, 3) == 0
    assert run(program, char, read | write, 10, 1) == 1
    assert run(program, char, read, 10, 7) == 1
    assert run(program, char, read | write, 10, 7) == 0
