"""What of config.json is refused, and what its resources become."""

from pathlib import Path
from typing import Any

import pytest

from services.nodeagent.oci import config, groups, resources
from services.nodeagent.oci.resources import Setting
from shared.kernel.cgroups.groups import DeviceRule


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


def test_swap_of_the_second_generation_is_counted_without_memory() -> None:
    settings = resources.settings_v2({"memory": {"limit": 100, "swap": 150}})
    assert Setting("memory", ("memory.swap.max",), "50", "memory.swap") in settings


@pytest.mark.parametrize(
    "asked",
    [{"memory": {"swappiness": 10}}, {"network": {"classID": 1}}, {"memory": {"swap": 10}}, {"unified": {"../x": "1"}}],
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
