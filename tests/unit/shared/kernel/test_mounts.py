"""Reading the kernel's mount table, and names of namespaces and sysctls."""

import pytest

from shared.kernel import netns
from shared.kernel.mounts import is_mount_point, parse_mountinfo


def test_a_line_of_mountinfo_is_taken_apart() -> None:
    line = r"36 35 98:0 /mnt1 /my\040mount rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue"
    [point] = parse_mountinfo(line)
    assert (point.id, point.parent, point.root, point.target) == (36, 35, "/mnt1", "/my mount")
    assert (point.options, point.kind, point.source) == (("rw", "noatime"), "ext3", "/dev/root")
    assert (point.tags, point.shared) == (("master:1", "shared:7"), True)
    assert point.super_options == ("rw", "errors=continue")


def test_a_line_without_tags_is_taken_apart_too() -> None:
    [point] = parse_mountinfo("36 35 0:5 / /proc rw - proc proc rw")
    assert (point.tags, point.shared, point.target) == ((), False, "/proc")


def test_the_root_is_a_mount_point_and_a_plain_directory_is_not(tmp_path: object) -> None:
    assert is_mount_point("/proc")
    assert not is_mount_point(str(tmp_path))


@pytest.mark.parametrize("name", ["", "a/b", ".", ".."])
def test_a_namespace_name_is_a_file_name(name: str) -> None:
    with pytest.raises(ValueError, match="network namespace name"):
        netns.path_of(name)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_a_sysctl_name_becomes_a_path(name: str, path: str) -> None:
    assert netns.sysctl_path(name) == path


@pytest.mark.parametrize("name", ["", "../x", "net..x", "/net"])
def test_a_malformed_sysctl_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="sysctl name"):
        netns.sysctl_path(name)
