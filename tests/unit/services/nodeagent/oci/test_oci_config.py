"""What of config.json is refused, and what its resources become."""

from pathlib import Path
from typing import Any

import pytest

from services.nodeagent.oci import config, groups, resources
from services.nodeagent.oci.resources import Setting
from shared.kernel.cgroups.groups import DeviceRule
from shared.kernel.mounts import MountPoint


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "ociVersion": "1.0.2-dev",
        "root": {"path": "."},
        "process": {"cwd": "/", "args": ["true"]},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    return base | changes


def linux(**changes: Any) -> dict[str, Any]:
    return document(linux={"namespaces": [{"type": "mount"}]} | changes)


def process(**changes: Any) -> dict[str, Any]:
    return document(process={"cwd": "/", "args": ["true"]} | changes)


def test_unknown_properties_are_no_error(tmp_path: Path) -> None:
    parsed = config.parse(document(unknown=1, annotations={"a": "b"}), str(tmp_path))
    assert parsed.namespaces == {"mount": "", "pid": ""}
    assert parsed.root == str(tmp_path)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (document(ociVersion="invalid"), "ociVersion"),
        (document(ociVersion="2.0.0"), "ociVersion"),
        (document(root={}), "root.path"),
        (document(root={"path": "missing"}), "root.path"),
        (document(hostname="a"), "hostname"),
        (linux(namespaces=[{"type": "pid"}, {"type": "pid"}]), "listed twice"),
        (linux(namespaces=[{"type": "dream"}]), "dream"),
        (linux(namespaces=[{"type": "pid", "path": "relative"}]), r"namespaces\[0\].path"),
        (linux(namespaces=[{"type": "user"}]), "uidMappings"),
        (linux(uidMappings=[{"containerID": 0, "hostID": 1, "size": 1}]), "uidMappings"),
        (linux(rootfsPropagation="wild"), "rootfsPropagation"),
        (linux(mountLabel="a"), "SELinux"),
        (linux(sysctl={"net.ipv4.ip_forward": "1"}), "network namespace"),
        (linux(sysctl={"vm.swappiness": "1"}), "does not belong to a namespace"),
        (linux(maskedPaths=["proc"]), "maskedPaths"),
        (document(hooks={"prestart": [{"path": "true"}]}), r"hooks.prestart\[0\].path"),
        (document(hooks={"poststop": [{"path": "/t", "timeout": 0}]}), "timeout"),
        (process(args=[]), "process.args"),
        (process(cwd="tmp"), "process.cwd"),
        (process(rlimits=[{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]), "RLIMIT_TEST"),
        (process(rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2), "listed twice"),
        (process(selinuxLabel="a"), "selinuxLabel"),
        (process(oomScoreAdj=2000), "oomScoreAdj"),
    ],
)
def test_an_invalid_value_is_refused_by_the_property_s_name(raw: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=named):
        config.parse(raw, str(tmp_path))


def test_an_unknown_capability_is_left_out_with_a_warning() -> None:
    sets, warnings = config.capability_sets({"capabilities": {"bounding": ["CAP_CHOWN", "CAP_TEST"]}})
    assert sets.bounding == 1
    assert len(warnings) == 1
    assert "CAP_TEST" in warnings[0]


def test_a_process_becomes_numbers_and_infinity_minus_one() -> None:
    limits = [{"type": "RLIMIT_CORE", "soft": 0, "hard": (1 << 64) - 1}]
    raw = process(env=["A=1", "A=2=3"], user={"uid": 5, "gid": 6, "additionalGids": [7]}, rlimits=limits)["process"]
    made, _warnings = config.process_of(raw, None)
    assert (made.uid, made.gid, made.groups, made.env) == (5, 6, [7], {"A": "2=3"})
    assert (made.rlimits["RLIMIT_CORE"].soft, made.rlimits["RLIMIT_CORE"].hard) == (0, -1)


@pytest.mark.parametrize(
    ("wanted", "systemd", "path"),
    [
        ("", False, "/wherry-runtime/one"),
        ("/a/b", False, "/a/b"),
        ("a//b/./c", False, "/a/b/c"),
        ("system.slice:docker:one", True, "/system.slice/docker-one.scope"),
        ("user-7.slice:x:one", True, "/user.slice/user-7.slice/x-one.scope"),
    ],
)
def test_the_path_of_the_control_group(wanted: str, systemd: bool, path: str) -> None:
    assert groups.path_of("one", wanted, systemd=systemd) == path


@pytest.mark.parametrize("wanted", ["/a/../..", "/", ".."])
def test_a_control_group_outside_of_the_hierarchy_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="cgroupsPath"):
        groups.path_of("one", wanted, systemd=False)


LIMITS = {"cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0"}, "pids": {"limit": -1}}


def test_limits_for_the_first_generation() -> None:
    assert [(setting.files[0], setting.value) for setting in resources.settings_v1(LIMITS)] == [
        ("cpu.shares", "1024"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "max"),
    ]


def test_limits_for_the_second_generation() -> None:
    assert [(setting.files[0], setting.value) for setting in resources.settings_v2(LIMITS)] == [
        ("cpu.weight", "39"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "max"),
    ]


DISK = {"major": 8, "minor": 16}
BLOCK = {
    "blockIO": {
        "weight": 1000,
        "weightDevice": [DISK | {"weight": 10}],
        "throttleReadBpsDevice": [DISK | {"rate": 4096}],
        "throttleWriteIOPSDevice": [DISK | {"rate": 0}],
    },
    "cpu": {"mems": "0-1"},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
}


def test_devices_memory_nodes_and_huge_pages_in_the_first_generation() -> None:
    settings = resources.settings_v1(BLOCK)
    assert [(setting.controller, *setting.files, setting.value) for setting in settings] == [
        ("cpuset", "cpuset.mems", "0-1"),
        ("blkio", "blkio.weight", "blkio.bfq.weight", "1000"),
        ("blkio", "blkio.weight_device", "blkio.bfq.weight_device", "8:16 10"),
        ("blkio", "blkio.throttle.read_bps_device", "8:16 4096"),
        ("blkio", "blkio.throttle.write_iops_device", "8:16 0"),
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4194304"),
    ]


def test_devices_memory_nodes_and_huge_pages_in_the_second_generation() -> None:
    settings = resources.settings_v2(BLOCK)
    assert [(setting.controller, *setting.files, setting.value) for setting in settings] == [
        ("cpuset", "cpuset.mems", "0-1"),
        ("io", "io.bfq.weight", "1000"),
        ("io", "io.bfq.weight", "8:16 10"),
        ("io", "io.max", "8:16 rbps=4096"),
        ("io", "io.max", "8:16 wiops=max"),
        ("hugetlb", "hugetlb.2MB.max", "4194304"),
        ("hugetlb", "hugetlb.2MB.rsvd.max", "4194304"),
    ]
    others = [setting.otherwise for setting in settings if setting.otherwise is not None]
    assert [(*other.files, other.value) for other in others] == [
        ("io.weight", "default 10000"),
        ("io.weight", "8:16 1"),
    ]


@pytest.mark.parametrize(("present", "written"), [("io.bfq.weight", "1000"), ("io.weight", "default 10000")])
def test_a_weight_is_written_on_the_scale_of_the_file_that_the_host_has(
    present: str, written: str, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / present).touch()
    unified = groups.Hierarchies([MountPoint(1, 0, "/", str(tmp_path), (), (), "cgroup2", "cgroup2", ())])
    made = groups.ContainerGroups("/one", hierarchies=unified)
    assert made.apply({"blockIO": {"weight": 1000}}) == []
    assert (tmp_path / "one" / present).read_text() == written


def test_swap_of_the_second_generation_is_counted_without_memory() -> None:
    settings = resources.settings_v2({"memory": {"limit": 100, "swap": 150}})
    assert Setting("memory", ("memory.swap.max",), "50", "memory.swap") in settings


@pytest.mark.parametrize(
    "asked",
    [
        {"memory": {"swappiness": 10}},
        {"network": {"classID": 1}},
        {"memory": {"swap": 10}},
        {"unified": {"../x": "1"}},
        {"blockIO": {"leafWeight": 10}},
        {"blockIO": {"weightDevice": [DISK | {"leafWeight": 10}]}},
    ],
)
def test_what_the_second_generation_cannot_do_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"linux\.resources"):
        resources.settings_v2(asked)


def test_device_rules_keep_their_order() -> None:
    listed = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": -1, "access": "r"}]
    assert resources.device_rules({"devices": listed}) == [
        DeviceRule("a", None, None, "rwm", False),
        DeviceRule("c", 1, None, "r"),
    ]
