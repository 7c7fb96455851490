"""Pods with a user namespace of their own: root inside, nobody outside, and owners that look right on both sides."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from services.nodeagent.keeper import mapped
from services.nodeagent.runtime.model import Capabilities, Mount
from shared.errors import RuntimeFailure
from tests.integration.runtime.conftest import Node, eventually
from tests.integration.runtime.test_sessions import read_all

pytestmark = pytest.mark.root

RANGE = 1_000_000_000 - 1_000_000_000 % 65536


async def pod(node: Node, **options: object) -> None:
    await node.sandbox(user_range=RANGE, **options)


def owner(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
    return int(line.split()[1])


async def test_root_inside_is_nobody_on_the_node(node: Node) -> None:
    await pod(node)
    state = await node.start("c", "sleep", "1000")
    assert owner(state.pid) == RANGE
    assert Path(f"/proc/{state.pid}/uid_map").read_text().split() == ["0", str(RANGE), "65536"]
    assert Path(f"/proc/{state.pid}/gid_map").read_text().split() == ["0", str(RANGE), "65536"]


async def test_every_namespace_belongs_to_the_pods_user_namespace(node: Node) -> None:
    await pod(node)
    script = "hostname other && mount -t tmpfs none /tmp && ifconfig lo 127.0.0.2 && unshare -p true && hostname"
    capabilities = Capabilities(add=["SYS_ADMIN", "NET_ADMIN"])
    assert await node.shell(script, capabilities=capabilities, seccomp="unconfined") == "other\n"


async def test_the_images_files_belong_to_whom_the_image_says(node: Node) -> None:
    await pod(node)
    (node.layer / "home/app/file").touch()
    os.chown(node.layer / "home/app/file", 1000, 1000)
    output = await node.shell("stat -c '%u:%g' / /bin/busybox /home/app/file /dev/null /dev/shm")
    assert output.split() == ["0:0", "0:0", "1000:1000", "65534:65534", "0:0"]


async def test_files_of_a_container_belong_to_the_pods_range_on_the_disk(node: Node) -> None:
    await pod(node)
    await node.shell("echo new > /etc/new; chown 1000 /bin/busybox; stat -c %u /bin/busybox /etc/new")
    upper = node.directory / "writable/c/upper"
    assert (upper / "etc/new").stat().st_uid == RANGE
    assert (upper / "bin/busybox").stat().st_uid == RANGE + 1000
    assert (node.layer / "bin/busybox").stat().st_uid == 0


@pytest.mark.parametrize("memory", [False, True])
async def test_files_in_a_volume_keep_their_owners_on_both_sides(node: Node, tmp_path: Path, memory: bool) -> None:
    volume = Path("/dev/shm") / f"{node.cluster}-volume" if memory else tmp_path / "volume"
    volume.mkdir()
    try:
        (volume / "given").touch()
        os.chown(volume / "given", 1000, 2000)
        await pod(node)
        mounts = [Mount(str(volume), "/data")]
        output = await node.shell("stat -c %u:%g /data/given; echo x > /data/made; chown 7:8 /data/made", mounts=mounts)
        assert output == "1000:2000\n"
        made = (volume / "made").stat()
        assert (made.st_uid, made.st_gid) == (7, 8)
    finally:
        for path in volume.iterdir():
            path.unlink()
        volume.rmdir()


async def test_a_source_that_cannot_be_mapped_is_named(node: Node) -> None:
    await pod(node)
    with pytest.raises(RuntimeFailure, match=r"mapping the owners of /proc/fs for /data.*does not support id-mapped"):
        await node.start("c", "true", mounts=[Mount("/proc/fs", "/data")])


async def test_a_user_reopens_its_output_and_reads_its_input(node: Node) -> None:
    await pod(node)
    state, output = await node.run("c", "sh", "-c", "echo hello > /dev/stdout; id -u", uid=1000, gid=1000)
    assert (state.exit_code, output) == (0, "hello\n1000\n")


async def test_processes_can_be_added_as_any_user_and_with_a_terminal(node: Node) -> None:
    await pod(node)
    await node.start("c", "sleep", "1000")
    for uid, tty in ((0, False), (1000, False), (1000, True)):
        session = await node.runtime.exec("c", ["sh", "-c", "id -u; cat /proc/self/uid_map"], uid=uid, gid=0, tty=tty)
        async with session:
            output = await read_all(session.stdout)
            assert await session.wait() == 0
        assert output.split() == [b"%d" % uid, b"0", b"%d" % RANGE, b"65536"]


async def test_a_terminal_is_the_containers_own(node: Node) -> None:
    await pod(node)
    _state, output = await node.run("c", "sh", "-c", "tty; echo here > /dev/console", tty=True, uid=1000)
    assert output.replace("\r", "").split() == ["/dev/pts/0", "here"]


async def test_a_shared_process_namespace_belongs_to_the_pod_too(node: Node) -> None:
    await pod(node, share_process=True)
    await node.start("a", "sleep", "1234")
    assert "sleep 1234" in await node.shell("ps -o pid,args; kill -9 $(ps -o pid,args | awk '/[s]leep/ {print $1}')")
    assert (await node.exit_of("a")).signal == 9
    owners = {owner(pid) for pid in node.groups.processes("/pods")}
    assert owners == {RANGE}


async def test_what_belongs_to_the_node_is_out_of_reach(node: Node) -> None:
    await pod(node)
    script = "echo 1 > /proc/sys/vm/swappiness; mknod /tmp/x b 8 0; mount -o remount,rw /sys; true"
    output = await node.shell(script, privileged=True)
    assert "can't create /proc/sys/vm/swappiness" in output
    assert "Operation not permitted" in output


async def test_a_privileged_container_has_the_nodes_devices(node: Node) -> None:
    await pod(node)
    output = await node.shell("ls /dev; cat /proc/self/status | grep CapEff", privileged=True)
    assert {"null", "tty0", "zero"} <= set(output.split())


async def test_parameters_groups_and_ports_of_the_pod(node: Node) -> None:
    await pod(node, sysctls={"net.core.somaxconn": "321", "kernel.shm_rmid_forced": "1"})
    script = """
    cd /proc/sys; cat net/core/somaxconn kernel/shm_rmid_forced net/ipv4/ping_group_range
    cat net/ipv4/ip_unprivileged_port_start; cat /proc/self/cgroup | grep -vc ':/$'
    ls /sys/fs/cgroup | grep -c .
    """
    words = (await node.shell(script, uid=5, gid=5)).split()
    assert words[:5] == ["321", "1", "0", "65535", "0"]
    assert words[5] == "0"
    assert int(words[6]) > 0


async def test_identities_beyond_the_range_are_refused(node: Node) -> None:
    await pod(node)
    with pytest.raises(RuntimeFailure, match="user 70000 is not one of the 65536 ids of the pod"):
        await node.start("c", "true", uid=70000)


@pytest.mark.parametrize("field", ["host_network", "host_pid", "host_ipc"])
async def test_the_nodes_namespaces_cannot_be_combined_with_it(node: Node, field: str) -> None:
    with pytest.raises(RuntimeFailure, match=f"sandbox {field} is not possible with a user namespace"):
        await pod(node, **{field: True})
    assert await node.runtime.list() == ([], [])


async def test_a_program_that_does_not_exist_is_reported_as_ever(node: Node) -> None:
    await pod(node)
    with pytest.raises(RuntimeFailure, match="executable file not found"):
        await node.start("c", "nothing")
    assert [state.exit_code for state in (await node.runtime.list())[1]] == [127]


async def test_everything_goes_on_after_the_keeper_was_killed(node: Node) -> None:
    await pod(node, share_process=True)
    state = await node.start("a", "sleep", "1000")
    await node.lose_keeper()
    node.start_keeper()
    assert [item.state for item in (await node.runtime.list())[0]] == ["ready"]
    assert await node.shell("id -u; ps | grep -c '[s]leep 1000'", name="b") == "0\n1\n"
    os.kill(state.pid, 9)
    assert (await node.exit_of("a")).exit_code == 137


async def test_a_keeper_killed_while_a_container_is_born_leaves_none(node: Node) -> None:
    await pod(node)
    starts = [node.spec(f"c{number}", "sleep", "1000") for number in range(6)]
    tasks = [asyncio.ensure_future(node.runtime.start_container(spec)) for spec in starts]
    await eventually(lambda: node.groups.processes("/pods"), "the first process")
    await node.lose_keeper()
    node.start_keeper()
    await asyncio.gather(*tasks, return_exceptions=True)
    running = {item.pid for item in (await node.runtime.list())[1] if item.state == "running"}
    await eventually(lambda: set(node.groups.processes("/pods")) == running, "the end of what was half made")


async def test_clocks_of_a_pod_can_be_moved(node: Node) -> None:
    await node.sandbox(time_offsets={"boottime": 10**9 * 10**6 + 5, "monotonic": 10**9 * 3600})
    uptime = float((await node.shell("cat /proc/uptime")).split()[0])
    assert uptime > 1_000_000
    await node.start("d", "sleep", "1000")
    session = await node.runtime.exec("d", ["cat", "/proc/uptime"])
    async with session:
        assert float((await read_all(session.stdout)).split()[0]) > 1_000_000
        assert await session.wait() == 0


async def test_clocks_can_be_moved_in_a_user_namespace_too(node: Node) -> None:
    await pod(node, time_offsets={"boottime": 10**9 * 10**6})
    assert float((await node.shell("cat /proc/uptime")).split()[0]) > 1_000_000


async def test_an_unknown_clock_is_refused(node: Node) -> None:
    with pytest.raises(RuntimeFailure, match="time_offsets 'realtime' is neither monotonic nor boottime"):
        await node.sandbox(time_offsets={"realtime": 1})


def test_a_layer_that_cannot_be_mapped_is_copied_with_shifted_owners(tmp_path: Path) -> None:
    source = tmp_path / "layer"
    (source / "d").mkdir(parents=True)
    (source / "d/file").write_text("text")
    os.link(source / "d/file", source / "d/linked")
    (source / "link").symlink_to("d/file")
    os.mknod(source / "gone", stat.S_IFCHR, 0)
    os.setxattr(source / "d", "trusted.overlay.opaque", b"y")
    os.chown(source / "d/file", 10, 20)
    (source / "d/file").chmod(0o4755)
    target = Path(mapped.shifted_copy(str(source), str(tmp_path / "copies/0"), 5000))
    copied = (target / "d/file").stat()
    assert (copied.st_uid, copied.st_gid, stat.S_IMODE(copied.st_mode), copied.st_nlink) == (5010, 5020, 0o4755, 2)
    assert (target / "d/linked").read_text() == "text"
    assert os.readlink(target / "link") == "d/file"
    assert stat.S_ISCHR((target / "gone").lstat().st_mode)
    assert os.getxattr(target / "d", "trusted.overlay.opaque") == b"y"
    assert (target / "d").stat().st_uid == 5000
    assert mapped.shifted_copy(str(source), str(target), 5000) == str(target)
