"""What a container's root consists of."""

import pytest

from services.nodeagent.keeper.plan import Bind, Devices, FileSystem, Link, RootPlan, Seal, plan_root
from services.nodeagent.runtime.model import ContainerSpec, Mount, SandboxSpec
from shared.kernel import syscalls
from shared.kernel.cgroups.groups import GroupMount

V1 = [GroupMount("cgroup", "cpu,cpuacct", "cpu,cpuacct"), GroupMount("cgroup", "memory", "memory")]
V2 = [GroupMount("cgroup2", "", "")]


def plan(cgroups: list[GroupMount] = V2, sandbox: SandboxSpec | None = None, **options: object) -> RootPlan:
    spec = ContainerSpec("c", "s", "c", ["true"], **options)  # type: ignore[arg-type]
    return plan_root(spec, sandbox or SandboxSpec("s"), "/run/shm", cgroups)


def file_system(result: RootPlan, target: str) -> FileSystem:
    [found] = [step for step in result.inside if isinstance(step, FileSystem) and step.target == target]
    return found


def test_sys_and_cgroups_are_read_only_unless_privileged() -> None:
    for target in ("/sys", "/sys/fs/cgroup"):
        assert file_system(plan(), target).flags & syscalls.MS_RDONLY
        assert not file_system(plan(privileged=True), target).flags & syscalls.MS_RDONLY


def test_privileged_hides_nothing_and_has_all_devices() -> None:
    result = plan(privileged=True)
    assert (result.hidden, result.read_only) == ((), ())
    assert Devices(everything=True) in result.inside
    assert Devices(everything=False) in plan().inside


def test_unmasked_proc_hides_nothing_but_keeps_the_rest() -> None:
    result = plan(unmasked_proc=True)
    assert (result.hidden, result.read_only) == ((), ())
    assert Devices(everything=False) in result.inside


def test_shared_memory_is_the_pods_or_the_hosts() -> None:
    assert Bind("/run/shm", "/dev/shm") in plan().inside
    assert Bind("/dev/shm", "/dev/shm") in plan(sandbox=SandboxSpec("s", host_ipc=True)).inside


def test_v1_groups_are_mounted_one_by_one_with_links_for_joined_controllers() -> None:
    steps = plan(V1).inside
    assert FileSystem("cgroup", "/sys/fs/cgroup/memory", 0xF, "memory") in steps
    assert Link("/sys/fs/cgroup/cpu", "cpu,cpuacct") in steps
    assert Seal("/sys/fs/cgroup") in steps


def test_outer_mounts_come_before_inner_ones() -> None:
    mounts = [Mount("/x", "/data/inner/deep"), Mount("/y", "/data"), Mount("/z", "/data/inner")]
    targets = [step.target for step in plan(mounts=mounts).inside if isinstance(step, Bind)]
    assert targets[1:] == ["/data", "/data/inner", "/data/inner/deep"]


def test_a_tmpfs_keeps_its_own_options_and_gets_a_mode() -> None:
    mount = Mount("", "/t", kind="tmpfs", options=["size=1m", "noexec", "rw"], read_only=True)
    step = file_system(plan(mounts=[mount]), "/t")
    assert step.flags == syscalls.MS_RDONLY | syscalls.MS_NOEXEC
    assert step.data == "size=1m,mode=1777"


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (Mount("/a", "relative"), "target 'relative' is not an absolute path"),
        (Mount("a", "/b"), "source 'a' is not an absolute path"),
        (Mount("/a", "/b", kind="odd"), "kind 'odd' is neither bind nor tmpfs"),
        (Mount("/a", "/b", propagation="odd"), "propagation 'odd' is not private, slave or shared"),
    ],
)
def test_a_bad_mount_is_named(mount: Mount, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(mounts=[mount])
