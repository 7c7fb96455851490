"""Exec and attach: processes added to a container, views of its own streams, consoles."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from services.nodeagent.runtime.client import NotRunning, StartError, UnknownId
from services.nodeagent.runtime.pipes import ReadEnd
from services.nodeagent.runtime.sessions import ExecSession
from tests.integration.runtime.conftest import Node, eventually

pytestmark = pytest.mark.root


async def read_all(end: ReadEnd | None) -> bytes:
    assert end is not None
    data = b""
    while chunk := await end.read():
        data += chunk
    return data


async def read_until(end: ReadEnd | None, word: bytes) -> bytes:
    assert end is not None
    data = b""
    while word not in data:
        chunk = await end.read()
        assert chunk, data
        data += chunk
    return data


async def finish(session: ExecSession) -> tuple[int, bytes, bytes]:
    async with session:
        out, err = await asyncio.gather(read_all(session.stdout), read_all(session.stderr))
        return await session.wait(), out, err


@pytest.fixture
async def running(node: Node) -> Node:
    await node.sandbox()
    await node.start("c", "sleep", "1000", env={"PATH": "/bin", "COLOUR": "blue"}, cwd="/tmp")
    return node


async def test_exec_gives_both_streams_and_the_exit_code(running: Node) -> None:
    session = await running.runtime.exec("c", ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert await finish(session) == (3, b"out\n", b"err\n")


async def test_exec_is_in_the_containers_namespaces_and_groups(running: Node) -> None:
    script = "echo $COLOUR $SHAPE; pwd; hostname; ps | grep -c 'sleep 1000'; grep CapEff /proc/self/status"
    script += "; cat /proc/self/cgroup"
    session = await running.runtime.exec("c", ["sh", "-c", script], env={"SHAPE": "round"})
    code, out, _err = await finish(session)
    lines = out.decode().splitlines()
    assert code == 0
    assert lines[:3] == ["blue round", "/tmp", "pod"]
    assert int(lines[3]) >= 1
    assert lines[4].split()[1] == "00000000a80425fb"
    assert not [line for line in lines[5:] if "pods" in line]


async def test_exec_as_another_user_and_in_another_directory(running: Node) -> None:
    session = await running.runtime.exec(
        "c", ["sh", "-c", "id -u; id -G; pwd"], uid=1000, gid=1000, groups=[5], cwd="/etc"
    )
    assert await finish(session) == (0, b"1000\n1000 5\n/etc\n", b"")


async def test_exec_passes_input_and_its_end(running: Node) -> None:
    session = await running.runtime.exec("c", ["wc", "-c"], stdin=True)
    assert session.stdin is not None
    assert await session.stdin.write(b"x" * 1_000_000)
    session.stdin.close()
    assert await finish(session) == (0, b"1000000\n", b"")


async def test_exec_of_a_missing_program_is_a_start_error(running: Node) -> None:
    with pytest.raises(StartError, match=r'exec: "nosuch": executable file not found') as caught:
        await running.runtime.exec("c", ["nosuch"])
    assert caught.value.exit_code == 127


async def test_exec_in_a_missing_directory_is_a_start_error(running: Node) -> None:
    with pytest.raises(StartError, match="working directory '/nosuch'"):
        await running.runtime.exec("c", ["true"], cwd="/nosuch")


async def test_exec_in_an_unknown_or_ended_container_is_refused(running: Node) -> None:
    with pytest.raises(UnknownId):
        await running.runtime.exec("nosuch", ["true"])
    await running.runtime.signal("c", signal.SIGKILL)
    await running.exit_of("c")
    with pytest.raises(NotRunning):
        await running.runtime.exec("c", ["true"])


async def test_a_killed_exec_reports_its_signal(running: Node) -> None:
    session = await running.runtime.exec("c", ["sleep", "1000"])
    session.kill()
    assert (await finish(session))[0] == 137


async def test_closing_an_exec_session_ends_its_process(running: Node) -> None:
    session = await running.runtime.exec("c", ["sleep", "1000"])
    pid = session.pid
    session.close()
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")


async def test_execs_end_with_the_connection_that_asked_for_them(running: Node) -> None:
    other = await running.connect()
    session = await other.exec("c", ["sleep", "1000"])
    pid = session.pid
    await other.close()
    session.close_streams()
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")
    assert (await running.runtime.list())[1][0].state == "running"


async def test_exec_with_a_console_has_a_terminal_of_the_asked_size(running: Node) -> None:
    script = "tty; stty size; test -t 0 && echo terminal"
    session = await running.runtime.exec("c", ["sh", "-c", script], tty=True, stdin=True, width=80, height=24)
    assert session.stderr is None
    async with session:
        output = (await read_all(session.stdout)).decode().splitlines()
        assert output == ["/dev/pts/0", "24 80", "terminal"]
        assert await session.wait() == 0


async def test_a_resize_reaches_the_program_on_a_console(running: Node) -> None:
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done"
    session = await running.runtime.exec("c", ["sh", "-c", script], tty=True)
    async with session:
        await read_until(session.stdout, b"ready")
        session.resize(132, 43)
        assert b"43 132" in await read_all(session.stdout)


async def test_control_c_on_a_console_interrupts(running: Node) -> None:
    session = await running.runtime.exec("c", ["sh", "-c", "echo ready; sleep 1000"], tty=True, stdin=True)
    async with session:
        await read_until(session.stdout, b"ready")
        assert session.stdin is not None
        await session.stdin.write(b"\x03")
        assert await session.wait() == 130


async def test_a_thousand_parallel_bytes_streams_of_many_execs_do_not_mix(running: Node) -> None:
    async def one(number: int) -> None:
        session = await running.runtime.exec("c", ["sh", "-c", f"yes {number} | head -n 2000"])
        code, out, _err = await finish(session)
        assert code == 0
        assert out == f"{number}\n".encode() * 2000

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(one(number), name=f"exec {number}")


async def test_attach_shows_what_comes_from_now_on_and_the_log_keeps_it(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "read word; echo got $word; echo err >&2; read word", stdin=True)
    async with await node.runtime.attach("c") as session:
        assert session.stdin is not None
        await session.stdin.write(b"hello\n")
        assert await read_until(session.stdout, b"\n") == b"got hello\n"
        assert await read_until(session.stderr, b"\n") == b"err\n"
        await session.stdin.write(b"\n")
        assert await read_all(session.stdout) == b""
    assert (await node.exit_of("c")).exit_code == 0
    assert sorted(node.output("c").splitlines()) == ["err", "got hello"]


async def test_two_viewers_see_the_same(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "read x; seq 1 1000", stdin=True)
    async with await node.runtime.attach("c") as first, await node.runtime.attach("c", stdin=False) as second:
        assert second.stdin is None
        assert first.stdin is not None
        await first.stdin.write(b"\n")
        seen = await asyncio.gather(read_all(first.stdout), read_all(second.stdout))
    assert seen[0] == seen[1] == "".join(f"{number}\n" for number in range(1, 1001)).encode()


async def test_a_slow_viewer_gets_everything(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "read x; seq 1 100000", stdin=True)
    async with await node.runtime.attach("c") as session:
        assert session.stdin is not None
        await session.stdin.write(b"\n")
        data = b""
        assert session.stdout is not None
        while chunk := await session.stdout.read(1000):
            data += chunk
            await asyncio.sleep(0)
    assert data.count(b"\n") == 100000
    assert len(node.output("c").splitlines()) == 100000


async def test_a_viewer_that_goes_does_not_hold_the_container(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "read x; seq 1 200000", stdin=True)
    session = await node.runtime.attach("c")
    assert session.stdin is not None
    await session.stdin.write(b"\n")
    await read_until(session.stdout, b"1\n")
    session.close()
    assert (await node.exit_of("c")).exit_code == 0
    assert len(node.output("c").splitlines()) == 200000


async def test_input_stays_open_after_the_first_viewer_left(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sh", "-c", "read a; read b; echo $a$b", stdin=True)
    for word in (b"one\n", b"two\n"):
        async with await node.runtime.attach("c") as session:
            assert session.stdin is not None
            await session.stdin.write(word)
    await node.exit_of("c")
    assert node.output("c") == "onetwo\n"


async def test_input_of_a_once_container_ends_with_its_first_viewer(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "wc", "-c", stdin=True, stdin_once=True)
    async with await node.runtime.attach("c") as session:
        assert session.stdin is not None
        await session.stdin.write(b"12345")
        session.close_stdin()
        assert await read_all(session.stdout) == b"5\n"
    assert (await node.exit_of("c")).exit_code == 0


async def test_a_container_with_a_console(node: Node) -> None:
    await node.sandbox()
    script = "tty; test -c /dev/console && echo console; read line; echo you said $line; stty size"
    await node.start("c", "sh", "-c", script, tty=True, stdin=True)
    async with await node.runtime.attach("c") as session:
        session.resize(100, 40)
        assert session.stdin is not None
        await session.stdin.write(b"hello\n")
        output = await read_all(session.stdout)
        assert b"you said hello" in output
        assert b"40 100" in output
    assert (await node.exit_of("c")).exit_code == 0
    assert "you said hello" in node.output("c")
    assert "console" in node.output("c")


async def test_a_container_with_a_console_belonging_to_a_user(node: Node) -> None:
    await node.sandbox()
    script = "echo x > /dev/tty && echo y > /dev/console && stat -c %u /dev/pts/0"
    state, output = await node.run("c", "sh", "-c", script, tty=True, uid=1000, gid=1000)
    assert state.exit_code == 0, output
    assert output.replace("\r", "").split() == ["x", "y", "1000"]


async def test_descriptors_of_the_keeper_do_not_grow_with_sessions(running: Node) -> None:
    assert running.process is not None
    directory = Path(f"/proc/{running.process.pid}/fd")

    def count() -> int:
        """Without the namespaces that are made in advance (see keeper/spares.py)."""
        found = 0
        for entry in directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += not os.readlink(entry).startswith(("net:", "uts:", "ipc:"))
        return found

    before = count()
    for _round in range(5):
        await finish(await running.runtime.exec("c", ["true"], stdin=True))
        (await running.runtime.attach("c")).close()
    await eventually(lambda: count() == before, "closed descriptors")
