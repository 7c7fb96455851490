"""Containers made by the zygote, from lists of system calls, are like those that the keeper makes itself."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import signal
from pathlib import Path

import pytest

from services.nodeagent.runtime.client import StartError
from services.nodeagent.runtime.model import Mount, Rlimit
from shared.kernel import calls, syscalls
from shared.kernel.check import CAP_SYS_RESOURCE
from tests.integration.runtime.conftest import BY_KEEPER, LISTED, WITHOUT_LIST, Node, eventually

pytestmark = [pytest.mark.root, pytest.mark.skipif(not calls.supported(), reason="no machine program for this machine")]

LOOK = """
cat /proc/self/mountinfo /proc/self/limits /proc/self/cgroup
grep -E '^(Name|Umask|PPid|Uid|Gid|Groups|NSpid|SigBlk|SigIgn|SigCgt|Shd|Cap|NoNew|Sec)' /proc/self/status
ls -la / /dev /proc/self/fd /sys/fs/cgroup 2>/dev/null; ls -ld /new/deep/file /new/directory
pwd; env; umask; hostname; cat /proc/self/oom_score_adj; ps -o pid,ppid,pgid,sid | head -n 2
"""


def zygotes(node: Node) -> list[int]:
    assert node.process is not None
    own = node.process.pid
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "wherry-zygote\n"]


def comparable(text: str, node: Node) -> str:
    """Without what differs from one container to the next: numbers of mounts and devices, inodes, names, times."""
    text = re.sub(r"^\d+ \d+ \d+:\d+ ", "", text, flags=re.MULTILINE)
    text = re.sub(r"master:\d+|shared:\d+|pipe:\[\d+\]|\w{3} +\d+ \d\d:\d\d|mnt_id:.*", "_", text)
    text = re.sub(r"(/|\")(listed|by-keeper)\b", r"\1NAME", text)
    return re.sub(r"^[-dlcp].{9} +\d+ ", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("uid", [0, 1000])
async def test_a_listed_container_is_like_one_that_the_keeper_makes(node: Node, uid: int, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "file").write_text("bound\n")
    mounts = [
        Mount(str(tmp_path / "file"), "/new/deep/file", read_only=True),
        Mount(str(tmp_path / "source"), "/new/directory", propagation="slave", sub_path="part/of"),
        Mount("", "/cache", kind="tmpfs", options=["size=1m", "nosuid"]),
    ]
    (tmp_path / "source/part/of").mkdir(parents=True)
    await node.sandbox()
    outputs = []
    for name, env in (("listed", LISTED), ("by-keeper", BY_KEEPER)):
        options = {"uid": uid, "gid": uid, "groups": [7, 8], "rlimits": {"nofile": Rlimit(100, 200)}, "cwd": "/tmp"}
        _state, output = await node.run(
            name,
            "sh",
            "-c",
            LOOK,
            env={**env, "PATH": "/usr/local/bin:/bin"},
            mounts=mounts,
            oom_score_adj=500,
            no_new_privileges=bool(uid),
            read_only_root=True,
            **options,
        )
        outputs.append(comparable(output, node).replace("HOME=/home/app", "HOME=/root"))
        assert len(zygotes(node)) == 1
    difference = "\n".join(difflib.unified_diff(*(output.splitlines() for output in outputs), n=0))
    assert not difference, difference
    assert WITHOUT_LIST not in node.keeper_log()


@pytest.mark.skipif(bool(syscalls.capget()[1] >> CAP_SYS_RESOURCE & 1), reason="CAP_SYS_RESOURCE is permitted")
async def test_what_the_host_refuses_is_a_warning_of_a_listed_container_too(node: Node) -> None:
    await node.sandbox()
    asked = {"oom_score_adj": -900, "rlimits": {"nofile": Rlimit(1 << 21, 1 << 22)}}
    listed = await node.start("listed", "sleep", "1000", **asked)
    by_keeper = await node.start("by-keeper", "sleep", "1000", env=BY_KEEPER, **asked)
    assert listed.warnings == by_keeper.warnings
    assert any("nofile" in warning for warning in listed.warnings)
    for name in ("limits", "oom_score_adj"):
        assert len({Path(f"/proc/{state.pid}/{name}").read_text() for state in (listed, by_keeper)}) == 1
    assert WITHOUT_LIST not in node.keeper_log()


async def test_a_listed_container_gets_a_working_directory_that_was_not_there(node: Node) -> None:
    await node.sandbox()
    outputs = [
        await node.shell(
            "pwd; stat -c '%a %u' /not /not/there /not/there/yet", name=name, env=env, cwd="/not/there/yet"
        )
        for name, env in (("listed", LISTED), ("by-keeper", BY_KEEPER))
    ]
    assert outputs == ["/not/there/yet\n755 0\n755 0\n755 0\n"] * 2
    assert WITHOUT_LIST not in node.keeper_log()


async def test_a_start_goes_on_without_a_zygote_that_was_killed(node: Node) -> None:
    await node.sandbox()
    await node.shell("true", name="first")
    (zygote,) = zygotes(node)
    os.kill(zygote, signal.SIGKILL)
    await node.shell("true", name="second")
    await node.shell("true", name="third")
    assert len(zygotes(node)) == 1
    assert zygotes(node) != [zygote]


async def test_a_zygote_that_does_not_answer_is_replaced(node: Node) -> None:
    await node.sandbox()
    await node.shell("true", name="first")
    (zygote,) = zygotes(node)
    os.kill(zygote, signal.SIGSTOP)
    await node.shell("true", name="second")
    assert not Path(f"/proc/{zygote}").exists()


async def test_the_zygote_ends_with_the_keeper(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000")
    (zygote,) = zygotes(node)
    await node.lose_keeper()

    def gone() -> bool:
        try:
            return Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    await eventually(gone, "the end of the zygote")


async def test_what_a_list_cannot_do_is_done_by_the_keeper(node: Node, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("bound\n")
    layer = tmp_path / "layer"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc/hosts").symlink_to("/run/made/later")
    await node.sandbox()
    mounts = [Mount(str(tmp_path / "source"), "/etc/hosts")]
    lower = [str(layer), str(node.layer)]
    assert await node.shell("cat /etc/hosts /run/made/later", mounts=mounts, lower=lower) == "bound\n" * 2
    assert node.keeper_log().count(WITHOUT_LIST) == 1


async def test_nothing_that_the_second_attempt_writes_is_lost(node: Node, tmp_path: Path) -> None:
    """While no process has a container's pipes the keeper sees their end, in whichever order it looks."""
    await node.sandbox()
    script = ["sh", "-c", "echo out; echo err >&2"]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").symlink_to("/run/made/later")
    special = {"lower": [str(tmp_path), str(node.layer)], "mounts": [Mount("/dev/null", "/etc/hosts")]}
    names = [f"c{number}" for number in range(30)]
    async with asyncio.TaskGroup() as group:
        for name in names:
            told = node.start(name, *script, **special)
            group.create_task(told, name=name)
    for name in names:
        await node.exit_of(name)
        assert sorted(node.output(name).split()) == ["err", "out"]
    assert node.keeper_log().count(WITHOUT_LIST) == len(names)


async def test_a_program_that_cannot_be_executed_is_told_in_words(node: Node) -> None:
    await node.sandbox()
    with pytest.raises(StartError, match="executable file not found") as missing:
        await node.start("a", "not-there")
    assert missing.value.exit_code == 127
    with pytest.raises(StartError, match="permission denied") as denied:
        await node.start("b", "/etc/passwd")
    assert denied.value.exit_code == 126


async def test_a_listed_container_joins_the_processes_of_another(node: Node) -> None:
    await node.sandbox(share_process=True)
    await node.start("a", "sleep", "1000")
    assert "sleep 1000" in await node.shell("ps -o args", name="b")
    assert WITHOUT_LIST not in node.keeper_log()
    await node.sandbox("other")
    assert (await node.shell("echo $$", name="alone", sandbox_id="other")) == "1\n"


async def test_however_short_a_program_is_its_start_and_its_end_are_seen(node: Node) -> None:
    await node.sandbox()
    names = [f"c{number}" for number in range(40)]
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(node.start(name, "true"), name=name)
    for name in names:
        state = await node.exit_of(name)
        assert (state.exit_code, state.message) == (0, "")
        assert state.started_at
    assert WITHOUT_LIST not in node.keeper_log()
