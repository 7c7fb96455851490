"""Containers that are written to a directory by criu and go on from there."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.nodeagent.runtime.client import Impossible
from services.nodeagent.runtime.model import Mount
from shared.errors import RuntimeFailure
from shared.kernel import apparmor, criu
from shared.kernel.cgroups import groups
from tests.integration.runtime.conftest import Node, eventually, layer, node
from tests.integration.runtime.test_user_namespaces import RANGE
from tests.leaks import no_leaks

__all__ = ["layer", "no_leaks", "node"]


def why_not() -> str:
    if groups.detect("/t").layout != "v2":
        return "checkpoints need control groups that are cgroup2 alone"
    return criu.why_not()


pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(why_not()), reason=why_not())]

needs_apparmor = pytest.mark.skipif(
    not apparmor.enabled() or shutil.which(apparmor.PARSER) is None,
    reason="this kernel does not confine by AppArmor, or apparmor_parser is missing",
)

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


async def test_what_cannot_be_checkpointed_is_told_while_it_runs(node: Node) -> None:
    await node.sandbox()
    await node.start("c", "sleep", "1000")
    await node.runtime.check_checkpoint("c")
    await node.sandbox("mapped", user_range=RANGE)
    await node.start("m", "sleep", "1000", sandbox_id="mapped")
    with pytest.raises(Impossible, match="a container with a user namespace of its pod's own cannot be checkpointed"):
        await node.runtime.check_checkpoint("m")
    assert not [state for state in (await node.runtime.list())[1] if state.paused]


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


@pytest.fixture
def profile() -> Iterator[str]:
    """A loaded profile that lets criu's part in the container use its socket."""
    text = "profile wherry-test-confined flags=(attach_disconnected) { file, signal, unix, }\n"
    subprocess.run([apparmor.PARSER, "--replace", "--skip-cache"], input=text, text=True, check=True)
    yield "wherry-test-confined"
    subprocess.run([apparmor.PARSER, "--remove"], input=text, text=True, check=True)


@needs_apparmor
async def test_a_confined_container_goes_on_under_its_profile(node: Node, tmp_path: Path, profile: str) -> None:
    counter = COUNTER.replace("/data", "/tmp")
    await node.sandbox()
    await node.start("c", "sh", "-c", counter, apparmor=profile)
    await eventually(lambda: "count 5" in node.output("c"), "some output")
    (tmp_path / "images").mkdir()
    await node.runtime.pause("c")
    await node.runtime.checkpoint_container("c", str(tmp_path / "images"))
    await node.runtime.remove_container("c")
    written = node.directory / "writable"
    shutil.copytree(written / "c/upper", written / "d/upper", symlinks=True)
    spec = node.spec("d", "sh", "-c", counter, apparmor=profile)
    state = await node.runtime.restore_container(spec, str(tmp_path / "images"))
    assert Path(f"/proc/{state.pid}/attr/current").read_text() == f"{profile} (enforce)\n"
    await node.runtime.signal("d", signal.SIGKILL)
    assert (await node.exit_of("d")).signal == signal.SIGKILL


@needs_apparmor
async def test_a_profile_that_keeps_criu_out_is_told_and_the_container_runs_on(node: Node, tmp_path: Path) -> None:
    text = "profile wherry-test-silent flags=(attach_disconnected) { file, signal, }\n"
    subprocess.run([apparmor.PARSER, "--replace", "--skip-cache"], input=text, text=True, check=True)  # noqa: ASYNC221
    await node.sandbox()
    await node.start("c", "sh", "-c", COUNTER.replace("/data", "/tmp"), apparmor="wherry-test-silent")
    await eventually(lambda: "count 5" in node.output("c"), "some output")
    (tmp_path / "images").mkdir()
    await node.runtime.pause("c")
    with pytest.raises(RuntimeFailure, match="Permission denied"):
        await node.runtime.checkpoint_container("c", str(tmp_path / "images"))
    await node.runtime.resume("c")
    reached = len(node.output("c").splitlines())
    await eventually(lambda: f"count {reached + 5} " in node.output("c"), "the container to go on")
