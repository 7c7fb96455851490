"""Containers that are written to a directory by criu and go on from there."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from services.nodeagent.runtime.model import Mount
from shared.errors import RuntimeFailure
from shared.kernel import criu
from shared.kernel.cgroups import groups
from tests.integration.runtime.conftest import Node, eventually, layer, node
from tests.leaks import no_leaks

__all__ = ["layer", "no_leaks", "node"]


def why_not() -> str:
    if groups.detect("/t").layout != "v2":
        return "checkpoints need control groups that are cgroup2 alone"
    return criu.why_not()


pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(why_not()), reason=why_not())]

# counts, keeps a file open that is deleted, and shows what of its surroundings it sees
COUNTER = """
exec 3> /tmp/deleted; rm /tmp/deleted; echo kept >&3
n=0
while :; do n=$((n+1)); echo count $n $HOSTNAME; echo $n > /data/n; sleep 0.1; done
"""


async def test_a_container_goes_on_where_it_was_with_its_files_and_output(node: Node, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    images = tmp_path / "images"
    images.mkdir()
    mounts = [Mount(str(data), "/data")]
    await node.sandbox()
    await node.start("c", "sh", "-c", COUNTER, mounts=mounts)
    await eventually(lambda: "count 5" in node.output("c"), "some output")
    await node.runtime.pause("c")
    await node.runtime.checkpoint_container("c", str(images))
    await node.runtime.resume("c")
    at_dump = int((data / "n").read_text())
    await eventually(lambda: int((data / "n").read_text() or 0) > at_dump, "the container to go on")
    await node.runtime.remove_container("c")

    await node.sandbox("other", hostname="other")
    written = node.directory / "writable"
    shutil.copytree(written / "c/upper", written / "d/upper", symlinks=True)
    spec = node.spec("d", "sh", "-c", COUNTER, mounts=mounts, sandbox_id="other")
    state = await node.runtime.restore_container(spec, str(images))
    assert state.state == "running"
    assert Path(f"/proc/{state.pid}/cgroup").read_text().strip().endswith("/pods/burstable/other/d")
    await eventually(lambda: "count" in node.output("d"), "output after the restore")
    first = int(node.output("d").split()[1])
    assert at_dump - 1 <= first <= at_dump + 2
    session = await node.runtime.exec("d", ["cat", "/proc/self/cgroup", "/data/n", "/etc/passwd", "/proc/1/comm"])
    assert session.stdout is not None
    assert b"0::/\n" in await session.stdout.read()
    assert await session.wait() == 0
    session.close()
    await node.runtime.signal("d", signal.SIGKILL)
    assert (await node.exit_of("d")).signal == signal.SIGKILL


async def test_a_failing_restore_says_why_and_leaves_nothing(node: Node, tmp_path: Path) -> None:
    await node.sandbox()
    (tmp_path / "images").mkdir()
    (tmp_path / "images/external.json").write_text("{}")
    with pytest.raises(RuntimeFailure, match="restoring: criu"):
        await node.runtime.restore_container(node.spec("c", "true"), str(tmp_path / "images"))
    assert node.groups.processes("/pods/burstable/pod") == []


async def test_a_container_that_runs_on_or_shares_processes_is_refused(node: Node, tmp_path: Path) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000")
    with pytest.raises(RuntimeFailure, match="is not paused"):
        await node.runtime.checkpoint_container("c", str(tmp_path))
    await node.sandbox("shared", share_process=True)
    await node.start("s", "sleep", "1000", sandbox_id="shared")
    await node.runtime.pause("s")
    with pytest.raises(RuntimeFailure, match="shares its processes with others"):
        await node.runtime.checkpoint_container("s", str(tmp_path))
