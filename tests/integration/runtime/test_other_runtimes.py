"""Containers that runc and crun run for us, seen from the agent: nothing is different."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from services.nodeagent.runtime.model import Capabilities, Mount, Resources
from shared.errors import RuntimeFailure
from tests.integration.runtime.conftest import Node, eventually
from tests.integration.runtime.test_sessions import finish, read_all, read_until

pytestmark = pytest.mark.root


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest, node: Node) -> list[str]:
    path = shutil.which(request.param)
    if path is None:
        pytest.skip(f"{request.param} is not installed (tests/tools installs it)")
    return [path, "--root", str(node.directory / "oci")]


async def test_output_and_exit_code_arrive(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    state, output = await node.run("c", "sh", "-c", "echo out; echo err >&2; hostname; exit 7", runtime=runtime)
    assert (state.exit_code, state.signal) == (7, 0)
    assert sorted(output.split()) == ["err", "out", "pod"]


async def test_the_pods_namespaces_are_joined(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    ours = (await node.start("a", "sleep", "1000")).pid
    theirs = (await node.start("b", "sleep", "1000", runtime=runtime)).pid
    same = {
        kind
        for kind in ("net", "ipc", "uts", "pid", "mnt", "cgroup")
        if os.readlink(f"/proc/{ours}/ns/{kind}") == os.readlink(f"/proc/{theirs}/ns/{kind}")
    }
    assert same == {"net", "ipc", "uts"}


async def test_a_shared_process_namespace_is_shared(node: Node, runtime: list[str]) -> None:
    await node.sandbox(share_process=True)
    await node.start("a", "sleep", "1234")
    assert "sleep 1234" in await node.shell("ps -o pid,args", name="b", runtime=runtime)


async def test_volumes_user_and_capabilities_are_as_asked_for(node: Node, runtime: list[str], tmp_path: Path) -> None:
    (tmp_path / "volume/sub").mkdir(parents=True)
    (tmp_path / "volume/sub/file").write_text("text\n")
    (tmp_path / "single").write_text("single\n")
    mounts = [
        Mount(str(tmp_path / "volume"), "/data", sub_path="sub", read_only=True),
        Mount(str(tmp_path / "single"), "/etc/single"),
        Mount("", "/scratch", kind="tmpfs", options=["size=1m"]),
    ]
    script = """
    cat /data/file /etc/single; touch /data/x 2>/dev/null || echo sealed; touch /scratch/x && id -u
    grep NoNewPrivs /proc/self/status; grep CapBnd /proc/self/status
    """
    await node.sandbox()
    output = await node.shell(
        script,
        runtime=runtime,
        mounts=mounts,
        uid=1000,
        gid=1000,
        no_new_privileges=True,
        capabilities=Capabilities(drop=["ALL"]),
    )
    assert output.split() == ["text", "single", "sealed", "1000", "NoNewPrivs:", "1", "CapBnd:", "0000000000000000"]


async def test_a_link_in_a_volume_does_not_lead_out_of_it(node: Node, runtime: list[str], tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/link").symlink_to("/etc")
    await node.sandbox()
    with pytest.raises(RuntimeFailure, match="opening"):
        await node.start(
            "c", "true", runtime=runtime, mounts=[Mount(str(tmp_path / "volume"), "/data", sub_path="link")]
        )


async def test_the_default_filter_refuses_what_ours_does(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    options = {"capabilities": Capabilities(add=["SYS_ADMIN"]), "runtime": runtime}
    assert "denied" in await node.shell("mount -t tmpfs x /tmp 2>&1 && echo mounted || echo denied", runtime=runtime)
    assert "mounted" in await node.shell("mount -t tmpfs x /tmp && echo mounted", name="d", **options)
    assert await node.shell("unshare -U true 2>&1 && echo made || echo refused", name="e", runtime=runtime) != "made\n"


async def test_processes_are_added_with_pipes_and_with_a_terminal(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000", runtime=runtime, env={"PATH": "/bin", "KEPT": "yes"})
    session = await node.runtime.exec("c", ["sh", "-c", "cat; echo $KEPT; id -u; exit 3"], stdin=True, uid=1000)
    assert session.stdin is not None
    await session.stdin.write(b"given\n")
    session.stdin.close()
    code, out, _err = await finish(session)
    assert (code, out) == (3, b"given\nyes\n1000\n")
    async with await node.runtime.exec("c", ["sh", "-c", "stty size; tty"], tty=True, width=80, height=24) as session:
        assert (await read_all(session.stdout)).split() == [b"24", b"80", b"/dev/pts/0"]
        assert await session.wait() == 0
    records = node.directory / "run/nodes/n1/keeper/containers/c"
    await eventually(lambda: not any("exec" in name for name in os.listdir(records)), "the end of both records")


async def test_a_terminal_reaches_the_log_and_those_attached(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "read x; echo got $x; tty", tty=True, stdin=True, runtime=runtime)
    async with await node.runtime.attach("c") as session:
        assert session.stdin is not None
        await session.stdin.write(b"this\n")
        await read_until(session.stdout, b"got this")
    assert (await node.exit_of("c")).exit_code == 0
    assert "/dev/pts/0" in node.output("c")


async def test_signals_limits_and_counters_work(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    await node.start("c", "sh", "-c", script, runtime=runtime, resources=Resources(memory_bytes=64 << 20, pids=50))
    await eventually(lambda: "ready" in node.output("c"), "its readiness")
    stats = await node.runtime.stats("c")
    assert (stats.memory_limit_bytes, stats.pids_limit) == (64 << 20, 50)
    assert stats.pids >= 1
    await node.runtime.update_resources("c", Resources(memory_bytes=128 << 20))
    assert (await node.runtime.stats("c")).memory_limit_bytes == 128 << 20
    await node.runtime.pause("c")
    await node.runtime.resume("c")
    await node.runtime.signal("c", signal.SIGTERM)
    assert (await node.exit_of("c")).exit_code == 9


async def test_an_end_for_want_of_memory_is_told(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    limit = Resources(memory_bytes=16 << 20)
    state, _output = await node.run("c", "sh", "-c", "exec tail -c 100m /dev/zero", runtime=runtime, resources=limit)
    assert (state.oom_killed, state.signal) == (True, 9)


async def test_a_program_that_is_not_there_is_reported(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    with pytest.raises(RuntimeFailure, match="nothing"):
        await node.start("c", "nothing", runtime=runtime)
    [state] = (await node.runtime.list())[1]
    assert (state.state, state.exit_code) == ("exited", 127)


async def test_a_runtime_that_is_not_there_is_reported(node: Node) -> None:
    await node.sandbox()
    with pytest.raises(RuntimeFailure, match="runtime /nowhere/runtime: no such file or directory"):
        await node.start("c", "true", runtime=["/nowhere/runtime"])


async def test_a_killed_keeper_finds_its_containers_again(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    script = "trap 'exit 5' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done"
    state = await node.start("c", "sh", "-c", script, runtime=runtime)
    await eventually(lambda: "line 3" in node.output("c"), "the first lines")
    await node.lose_keeper()
    node.start_keeper()
    [held] = (await node.runtime.list())[1]
    assert (held.pid, held.state) == (state.pid, "running")
    session = await node.runtime.exec("c", ["echo", "added"])
    assert (await finish(session))[1] == b"added\n"
    await node.runtime.signal("c", signal.SIGTERM)
    assert (await node.exit_of("c")).exit_code == 5
    lines = node.output("c").splitlines()
    assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]


async def test_a_keeper_killed_in_the_middle_of_starts_accounts_for_everything(node: Node, runtime: list[str]) -> None:
    await node.sandbox()
    specs = [node.spec(f"c{number}", "sleep", "1000", runtime=runtime) for number in range(4)]
    tasks = [asyncio.ensure_future(node.runtime.start_container(spec)) for spec in specs]
    await eventually(lambda: node.groups.processes("/pods"), "the first process")
    await node.lose_keeper()
    node.start_keeper()
    await asyncio.gather(*tasks, return_exceptions=True)

    async def settled() -> bool:
        running = {item.pid for item in (await node.runtime.list())[1] if item.state == "running"}
        return set(node.groups.processes("/pods")) == running

    await eventually(settled, "the end of what was half made")


async def test_what_it_cannot_do_is_refused(node: Node, runtime: list[str], tmp_path: Path) -> None:
    await node.sandbox(user_range=1 << 20)
    with pytest.raises(RuntimeFailure, match="only possible with the built-in runtime"):
        await node.start("c", "true", runtime=runtime)
    await node.runtime.remove_sandbox("pod")
    await node.sandbox()
    with pytest.raises(RuntimeFailure, match="Bidirectional is only possible with the built-in runtime"):
        await node.start("c", "true", runtime=runtime, mounts=[Mount(str(tmp_path), "/x", propagation="shared")])


async def test_orphans_that_fall_to_the_keeper_are_reaped(node: Node) -> None:
    await node.sandbox(host_pid=True)
    await node.start("c", "sh", "-c", "(sleep 0.2 &) ; exec sleep 1000")
    keeper = node.process
    assert keeper is not None

    def zombies() -> list[str]:
        children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
        return [pid for pid in children if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"]

    await eventually(zombies, "an orphan that has ended")
    await eventually(lambda: not zombies(), "its reaping")
