"""What survives when the agent, or the keeper, is killed at a bad moment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from services.nodeagent.runtime.client import StartError
from services.nodeagent.runtime.model import ContainerState, encode
from services.nodeagent.runtime.wire import pack
from shared.errors import RuntimeFailure
from shared.kernel import netns
from tests.integration.runtime.conftest import Node, eventually

pytestmark = pytest.mark.root


async def test_containers_outlive_the_agents_connection(node: Node) -> None:
    await node.sandbox()
    state = await node.start("c", "sleep", "1000", labels={"pod": "a"})
    other = await node.connect()
    await other.close()
    again = await node.connect()
    _sandboxes, containers = await again.list()
    assert [(item.id, item.pid, item.labels) for item in containers] == [("c", state.pid, {"pod": "a"})]
    await again.close()


async def test_an_agent_killed_in_the_middle_of_starts_leaves_nothing_unaccounted(node: Node) -> None:
    await node.sandbox()
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(node.socket))
    for number in range(10):
        spec = node.spec(f"c{number}", "sleep", "1000")
        client.sendall(pack({"id": number + 1, "call": "start_container", "args": {"spec": encode(spec)}}))
    client.close()

    async def started() -> bool:
        return [item.state for item in (await node.runtime.list())[1]] == ["running"] * 10

    await eventually(started, "ten running containers")
    listed = {item.pid for item in (await node.runtime.list())[1]}
    assert listed == set(node.groups.processes("/pods"))


async def test_an_agent_process_killed_by_signal_can_be_followed_by_another(node: Node) -> None:
    await node.sandbox()
    script = textwrap.dedent(
        f"""
        import asyncio
        from services.nodeagent.runtime.client import KeeperClient
        from services.nodeagent.runtime.model import ContainerSpec

        async def main():
            client = await KeeperClient.connect({str(node.socket)!r})
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    spec = ContainerSpec(
                        f"c{{number}}", "pod", "c", ["sleep", "1000"], env={{"PATH": "/bin"}},
                        lower=[{str(node.layer)!r}], writable=f"{node.directory}/writable/c{{number}}",
                    )
                    group.create_task(client.start_container(spec))
                    if number == 5:
                        print("begun", flush=True)

        asyncio.run(main())
        """
    )
    agent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert agent.stdout is not None
    await agent.stdout.readline()
    agent.kill()
    await agent.communicate()

    async def settled() -> bool:
        return all(item.state == "running" for item in (await node.runtime.list())[1])

    await eventually(settled, "the end of all starts")
    listed = {item.pid for item in (await node.runtime.list())[1]}
    assert listed == set(node.groups.processes("/pods"))


async def test_a_killed_keeper_takes_no_container_along_and_loses_no_output(node: Node) -> None:
    await node.sandbox()
    script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.005; done; exit 5"
    state = await node.start("c", "sh", "-c", script)
    await eventually(lambda: "line 3" in node.output("c"), "the first lines")
    await node.lose_keeper()
    assert Path(f"/proc/{state.pid}").exists()
    node.start_keeper()
    _sandboxes, containers = await node.runtime.list()
    assert [(item.id, item.pid, item.state) for item in containers] == [("c", state.pid, "running")]
    ended = await node.exit_of("c")
    assert node.output("c").splitlines() == [f"line {number}" for number in range(1, 301)]
    assert ended.exit_code == 5


async def test_exec_and_limits_work_after_the_keeper_was_restarted(node: Node) -> None:
    await node.sandbox(share_process=True)
    await node.start("c", "sleep", "1000", env={"PATH": "/bin", "KEPT": "yes"})
    await node.lose_keeper()
    node.start_keeper()
    session = await node.runtime.exec("c", ["sh", "-c", "echo $KEPT"])
    assert session.stdout is not None
    assert await session.stdout.read() == b"yes\n"
    assert await session.wait() == 0
    session.close()
    await node.start("d", "sleep", "1000")
    assert (await node.runtime.stats("c")).pids == 1


async def test_a_container_that_ended_without_a_keeper_is_reported(node: Node) -> None:
    await node.sandbox()
    state = await node.start("c", "sleep", "1000")
    await node.lose_keeper()
    os.kill(state.pid, signal.SIGKILL)
    await eventually(lambda: not Path(f"/proc/{state.pid}/ns/pid").exists(), "its end")
    node.start_keeper()
    ended = await node.exit_of("c")
    assert (ended.exit_code, ended.message) == (137, "the end was not seen: the keeper was away")


async def test_a_keeper_killed_in_the_middle_of_starts_accounts_for_everything(node: Node) -> None:
    await node.sandbox()
    starts = [asyncio.ensure_future(node.start(f"c{number}", "sleep", "1000")) for number in range(10)]
    await eventually(lambda: node.groups.processes("/pods"), "the first process")
    await node.lose_keeper()
    node.start_keeper()
    results = await asyncio.gather(*starts, return_exceptions=True)
    interrupted = [item for item in results if isinstance(item, StartError)]
    assert len(interrupted) + sum(isinstance(item, ContainerState) for item in results) == 10
    _sandboxes, containers = await node.runtime.list()
    running = {item.pid for item in containers if item.state == "running"}
    await eventually(lambda: set(node.groups.processes("/pods")) == running, "the end of what was half made")


async def test_a_lost_keeper_fails_what_was_under_way_and_later_calls_wait_for_it(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000")
    session = await node.runtime.exec("c", ["sleep", "1000"])
    await node.lose_keeper()
    with pytest.raises(RuntimeFailure, match="went away"):
        await session.wait()
    session.close()
    listing = asyncio.ensure_future(node.runtime.list())
    node.start_keeper()
    assert [item.id for item in (await listing)[1]] == ["c"]


async def test_a_sandbox_whose_namespaces_are_gone_is_gone_after_a_restart(node: Node) -> None:
    spec = await node.sandbox()
    await node.lose_keeper()
    netns.delete(spec.netns_name)
    node.start_keeper()
    sandboxes, _containers = await node.runtime.list()
    assert [item.state for item in sandboxes] == ["gone"]
    with pytest.raises(RuntimeFailure, match="is not ready"):
        await node.start("c", "true")


async def test_a_malformed_request_ends_only_its_connection(node: Node) -> None:
    for garbage in (b"\xff\xff\xff\xff", b"\0\0\0\2{]", b"\0\0\0\2[]"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(node.socket))
            client.sendall(garbage)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(client, 100) == b""
    assert await node.runtime.list() == ([], [])


async def test_a_bad_specification_names_its_field(node: Node) -> None:
    await node.sandbox()
    for options, message in (
        ({"lower": []}, "container lower has no layer"),
        ({"cwd": "relative"}, "cwd 'relative' is not an absolute path"),
        ({"seccomp": "odd"}, "seccomp 'odd'"),
    ):
        with pytest.raises(RuntimeFailure, match=message):
            await node.start("c", "true", **options)
    with pytest.raises(RuntimeFailure, match=r"container id '\.\./x' is not of the form"):
        await node.start("../x", "true", log_path="")
    assert (await node.runtime.list())[1] == []
