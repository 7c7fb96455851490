"""A node for the tests: a real keeper process, a busybox image, and the agent's client."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from services.nodeagent.runtime.client import KeeperClient
from services.nodeagent.runtime.model import ContainerSpec, ContainerState, SandboxSpec
from shared.kernel import calls
from shared.kernel.cgroups import groups
from tests.leaks import Leaks, no_leaks
from tests.slowness import LIMIT_S

__all__ = ["no_leaks"]

APPLETS = """
awk cat chmod chroot cp date dd echo env false find grep head hostname id ifconfig ip kill ls md5sum mkdir mkfifo mknod
mount mv nc ping printf ps pwd readlink rm sed seq sh sleep sort stat stty sync tail tee test touch tr true tty umount
uname unshare wc wget yes
"""


def make_image(directory: Path) -> Path:
    """An unpacked layer with busybox and a few users."""
    for name in ("bin", "etc", "tmp", "root", "home/app", "var"):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)
    (directory / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", directory / "bin/busybox")
    for applet in APPLETS.split():
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
    (directory / "etc/group").write_text("root:x:0:\napp:x:1000:\n")
    return directory


async def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until `condition()`, or what it awaits, is true and return its value."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come to be within {LIMIT_S:g} s")
        await asyncio.sleep(0.01)


LISTED = {"PATH": "/bin", "HOME": "/root"}
BY_KEEPER = {"PATH": "/bin"}  # where HOME has to be looked up in the container, an interpreter has to do it
WITHOUT_LIST = "made without a list of system calls"  # in the keeper's log, of a container that had one


def both_ways(*, second_attempt: bool = False) -> Callable[[Any], Any]:
    """Run a test's body with containers made from lists of system calls, then with those that the keeper makes itself,
    on one keeper. `second_attempt`: the list comes upon something that it leaves to the keeper."""

    def decorate(test: Any) -> Any:
        @functools.wraps(test)
        async def run(node: Node, **fixtures: Any) -> None:
            place = fixtures.get("tmp_path")
            for way, env in (("listed", LISTED), ("by-keeper", BY_KEEPER)):
                node.env = env
                if place is not None:
                    fixtures["tmp_path"] = place / way
                    (place / way).mkdir()
                try:
                    await test(node, **fixtures)
                    if env is LISTED and calls.supported():
                        assert (WITHOUT_LIST in node.keeper_log()) == second_attempt
                except BaseException as exc:
                    exc.add_note(f"containers were made: {way}")
                    raise
                await node.start_over()

        return run

    return decorate


def skip_without_loop_devices() -> None:
    """For tests of device permissions: a device that root of the host may open, and that does nothing then."""
    try:
        os.close(os.open("/dev/loop0", os.O_RDONLY))
    except OSError as exc:
        pytest.skip(f"/dev/loop0 cannot be opened on the host: {exc.strerror}")


class Node:
    """One keeper with its directories; `runtime` is connected to it."""

    def __init__(self, directory: Path, layer: Path) -> None:
        self.directory = directory
        self.layer = layer
        self.cluster = f"t{os.getpid() % 100000}{os.urandom(1).hex()}"[:8]
        self.socket = directory / "run/nodes/n1/keeper.sock"
        self.groups = groups.detect(f"/{self.cluster}/n1")
        self.exits: dict[str, ContainerState] = {}
        self.env = LISTED
        self.process: subprocess.Popen[bytes] | None = None
        (directory / "writable").mkdir()  # as the agent does
        self.runtime: KeeperClient

    def start_keeper(self) -> None:
        env = {
            **os.environ,
            "WHERRY_RUN": str(self.directory / "run"),
            "WHERRY_CLUSTER": self.cluster,
            "WHERRY_NODE_NAME": "n1",
        }
        with open(self.directory / "keeper.log", "ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "services.nodeagent.keeper"], env=env, stderr=log)

    def keeper_log(self) -> str:
        return (self.directory / "keeper.log").read_text()

    def kill_keeper(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    async def lose_keeper(self) -> None:
        """Kill the keeper, and wait until the client has seen it."""
        self.kill_keeper()
        await eventually(lambda: not self.runtime.connected, "the loss of the connection")

    async def connect(self) -> KeeperClient:
        client = await KeeperClient.connect(self.socket, timeout_s=LIMIT_S)
        client.on_exit = self._on_exit
        return client

    def _on_exit(self, state: ContainerState) -> None:
        self.exits[state.id] = state

    async def sandbox(self, name: str = "pod", **options: Any) -> SandboxSpec:
        spec = SandboxSpec(
            id=name,
            hostname=options.pop("hostname", name),
            cgroup=options.pop("cgroup", f"/pods/burstable/{name}"),
            netns_name=f"{self.cluster}-{name}",
            **options,
        )
        await self.runtime.create_sandbox(spec)
        return spec

    def spec(self, name: str, *argv: str, **options: Any) -> ContainerSpec:
        options.setdefault("sandbox_id", "pod")
        options.setdefault("env", dict(self.env))
        options.setdefault("log_path", str(self.log_file(name)))
        options.setdefault("lower", [str(self.layer)])
        writable = str(self.directory / "writable" / name)
        return ContainerSpec(id=name, name=name, argv=list(argv), writable=writable, **options)

    async def start(self, name: str, *argv: str, **options: Any) -> ContainerState:
        return await self.runtime.start_container(self.spec(name, *argv, **options))

    async def run(self, name: str, *argv: str, **options: Any) -> tuple[ContainerState, str]:
        """Start, wait for the end; its last state and what it wrote to both streams."""
        await self.start(name, *argv, **options)
        state = await self.exit_of(name)
        return state, self.output(name)

    async def shell(self, script: str, *, name: str = "c", **options: Any) -> str:
        """What a shell script writes; the script has to succeed."""
        state, output = await self.run(name, "sh", "-c", script, **options)
        assert state.exit_code == 0, output
        return output

    async def exit_of(self, name: str) -> ContainerState:
        state: ContainerState = await eventually(lambda: self.exits.get(name), f"the end of {name}")
        return state

    def log_file(self, name: str) -> Path:
        return self.directory / "logs" / name / "0.log"

    def output(self, name: str) -> str:
        """The log's text, parts joined."""
        text = ""
        for line in self.log_file(name).read_text().splitlines():
            _time, _stream, tag, content = line.split(" ", 3)
            text += content + ("\n" if tag == "F" else "")
        return text

    async def clean(self) -> None:
        sandboxes, _containers = await self.runtime.list()
        for sandbox in sandboxes:
            await self.runtime.remove_sandbox(sandbox.id)

    async def start_over(self) -> None:
        """Forget all that the containers so far have left."""
        await self.clean()
        self.exits.clear()
        for name in ("logs", "writable"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        (self.directory / "writable").mkdir()
        os.truncate(self.directory / "keeper.log", 0)


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture
async def node(tmp_path: Path, layer: Path, no_leaks: Leaks) -> AsyncIterator[Node]:
    """A running keeper. Everything has to be gone when the sandboxes have been removed and the keeper is ended."""
    made = Node(tmp_path, layer)
    no_leaks.only(made.cluster)
    made.start_keeper()
    made.runtime = await made.connect()
    try:
        yield made
        if made.process is None:
            made.start_keeper()
        await made.clean()
        assert await made.runtime.list() == ([], [])
    finally:
        await made.runtime.close()
        made.kill_keeper()
        made.groups.remove_all()
        print(made.keeper_log(), file=sys.stderr)
