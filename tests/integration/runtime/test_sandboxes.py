"""The namespaces that a pod's containers share, and what is left of them: nothing."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from services.nodeagent.runtime.model import Resources, SandboxSpec
from shared.errors import RuntimeFailure
from shared.kernel import netns
from tests.integration.runtime.conftest import Node, both_ways, eventually

pytestmark = pytest.mark.root


def namespaces(pid: int) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "ipc", "uts", "pid", "mnt", "cgroup")}


async def ip(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec("ip", *arguments, stdout=asyncio.subprocess.PIPE)
    output, _errors = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@both_ways()
async def test_containers_of_a_pod_share_network_ipc_and_uts_and_nothing_else(node: Node) -> None:
    await node.sandbox()
    a = namespaces((await node.start("a", "sleep", "1000")).pid)
    b = namespaces((await node.start("b", "sleep", "1000")).pid)
    host = namespaces(os.getpid())
    assert {kind for kind in a if a[kind] == b[kind]} == {"net", "ipc", "uts"}
    assert not {kind for kind in a if a[kind] == host[kind]}


async def test_ip_netns_lists_the_pod_and_its_loopback_is_up(node: Node) -> None:
    spec = await node.sandbox()
    assert spec.netns_name in (await ip("netns")).split()
    output = await ip("-n", spec.netns_name, "link", "show", "lo")
    assert "LOOPBACK,UP" in output


async def test_creating_a_known_sandbox_again_changes_nothing(node: Node) -> None:
    spec = await node.sandbox()
    first = os.stat(netns.path_of(spec.netns_name)).st_ino
    state = await node.runtime.create_sandbox(spec)
    assert os.stat(state.netns_path).st_ino == first


@both_ways()
async def test_a_pod_in_the_host_network_stays_in_the_keepers(node: Node) -> None:
    spec = SandboxSpec("pod", cgroup="/pods/burstable/pod", host_network=True)
    state = await node.runtime.create_sandbox(spec)
    assert state.netns_path == ""
    container = namespaces((await node.start("c", "sleep", "1000")).pid)
    own = namespaces(os.getpid())
    assert {kind for kind in own if own[kind] == container[kind]} == {"net", "uts"}


@both_ways()
async def test_host_pid_and_host_ipc_are_the_hosts(node: Node) -> None:
    await node.sandbox(host_pid=True, host_ipc=True)
    pid = (await node.start("c", "sh", "-c", "sleep 1000 & sleep 1000")).pid
    container, own = namespaces(pid), namespaces(os.getpid())
    assert {kind for kind in own if own[kind] == container[kind]} == {"ipc", "pid"}
    await node.runtime.signal("c", 9)
    await node.exit_of("c")
    await eventually(lambda: node.groups.processes("/pods/burstable/pod") == [], "the end of what it had started")


@both_ways()
async def test_a_shared_process_namespace_shows_all_containers_and_nothing_of_the_host(node: Node) -> None:
    await node.sandbox(share_process=True)
    await node.start("a", "sleep", "1234")
    output = await node.shell("ps -o pid,args; ls /proc/1/root/ 2>&1", name="b", privileged=True)
    assert "sleep 1234" in output
    assert "pause" in output
    assert output.splitlines()[-1].split()[0] != "1"
    assert not {"etc", "usr", "boot"} & set(output.split())


@both_ways()
async def test_orphans_in_a_shared_process_namespace_are_reaped(node: Node) -> None:
    await node.sandbox(share_process=True)
    output = await node.shell("(sh -c 'sleep 0.01 &' &); sleep 0.2; ps -o stat | grep -c Z; true", name="b")
    assert output == "0\n"


@both_ways()
async def test_processes_left_by_a_container_in_a_shared_namespace_end_with_it(node: Node) -> None:
    await node.sandbox(share_process=True)
    await node.start("a", "sleep", "1000")
    await node.run("b", "sh", "-c", "sleep 4321 & exit 0")
    await node.runtime.remove_container("b")
    assert len(node.groups.processes("/pods/burstable/pod")) == 2


@both_ways()
async def test_shared_memory_is_the_pods(node: Node) -> None:
    await node.sandbox()
    await node.shell("echo shared > /dev/shm/file", name="a")
    assert await node.shell("cat /dev/shm/file", name="b") == "shared\n"


@both_ways()
async def test_sysctls_apply_to_the_pod_only(node: Node) -> None:
    await node.sandbox(sysctls={"net.core.somaxconn": "321", "kernel.shm_rmid_forced": "1"})
    output = await node.shell("cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced")
    assert output == "321\n1\n"
    assert Path("/proc/sys/net/core/somaxconn").read_text() != "321\n"


@both_ways()
async def test_a_user_may_bind_a_low_port(node: Node) -> None:
    await node.sandbox()
    assert await node.shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0\n"


async def test_a_sysctl_of_the_whole_machine_is_refused_and_nothing_is_left(node: Node) -> None:
    with pytest.raises(RuntimeFailure, match=r"sysctl vm\.swappiness does not belong to a pod"):
        await node.sandbox(sysctls={"vm.swappiness": "1"})
    assert await node.runtime.list() == ([], [])


async def test_a_sandbox_that_fails_half_way_leaves_nothing(node: Node) -> None:
    with pytest.raises(RuntimeFailure, match=r"sysctl net\.no\.such"):
        await node.sandbox(sysctls={"net.no.such": "1"})
    assert await node.runtime.list() == ([], [])


@both_ways()
async def test_the_pods_limit_holds_for_all_its_containers_together(node: Node) -> None:
    await node.sandbox(resources=Resources(memory_bytes=32 << 20))
    stats, interfaces = await node.runtime.sandbox_stats("pod")
    assert stats.memory_limit_bytes == 32 << 20
    assert [interface.name for interface in interfaces] == ["lo"]
    state, _output = await node.run("c", "sh", "-c", "head -c 100m /dev/zero | tail")
    assert state.oom_killed


async def test_removing_a_sandbox_ends_its_containers(node: Node) -> None:
    await node.sandbox()
    pids = [(await node.start(name, "sleep", "1000")).pid for name in ("a", "b", "c")]
    await node.runtime.remove_sandbox("pod")
    assert await node.runtime.list() == ([], [])
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    await node.runtime.remove_sandbox("pod")


@both_ways()
async def test_no_mount_of_a_container_is_seen_outside_of_it(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000")
    mounts = Path("/proc/self/mounts").read_text()
    assert f"{node.directory}/writable" not in mounts


@both_ways()
async def test_a_containers_processes_have_an_id_on_the_node_and_one_inside(node: Node) -> None:
    await node.sandbox()
    pid = (await node.start("c", "sh", "-c", "sleep 1000 & wait")).pid
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [ids] = [line.split()[1:] for line in lines if line.startswith("NSpid:")]
    assert ids == [str(pid), "1"]


async def test_sandboxes_from_namespaces_made_in_advance_are_like_the_first(node: Node) -> None:
    first = await node.sandbox("first", sysctls={"net.ipv4.ip_local_port_range": "1024 2000", "kernel.msgmax": "1234"})
    assert node.process is not None
    kept = f"/proc/{node.process.pid}/fd"

    def spares() -> int:
        links = (os.readlink(f"{kept}/{fd}") for fd in os.listdir(kept) if os.path.lexists(f"{kept}/{fd}"))
        return sum(link.startswith("net:") for link in links)

    await eventually(lambda: spares() > 1, "namespaces made in advance")
    second = await node.sandbox("second", sysctls=first.sysctls)
    look = "ip -o addr; hostname; cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/ipv4/ping_group_range"
    look += " /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax; ls -l /proc/self/ns/"
    outputs = []
    for name in (first.id, second.id):
        text = await node.shell(f"{look} | grep -E -v ' (cgroup|mnt|pid)'", name=f"in-{name}", sandbox_id=name)
        outputs.append(text.replace(name, "NAME"))
    numbers = [set(re.findall(r"\b(?:net|ipc|uts):\[(\d+)\]", output)) for output in outputs]
    assert len(numbers[0]) == len(numbers[1]) == 3
    assert not numbers[0] & numbers[1]
    plain = [re.sub(r"\[\d+\]|\w{3} +\d+ \d\d:\d\d|^total.*", "", output, flags=re.MULTILINE) for output in outputs]
    assert plain[0] == plain[1]
