"""A node with a real keeper and real containers; the API, the images' source and the pod network are fakes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.nodeagent.layout import NodeLayout
from services.nodeagent.network.node import PodAddress
from services.nodeagent.probes.prober import Prober
from services.nodeagent.runtime.client import KeeperClient
from services.nodeagent.runtime.model import ContainerState
from services.nodeagent.volumes import private
from shared.images.manifests import ImageConfig
from shared.kernel.cgroups import groups
from tests.fakes.nodes import FakeNetwork, FakeNode, eventually
from tests.leaks import Leaks, no_leaks
from tests.slowness import LIMIT_S

__all__ = ["no_leaks"]

APPLETS = (
    "cat cp date dd echo env false grep head hostname id kill ls mkdir mount sh sleep sort stat tail test touch true"
)


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked layer with busybox and a few users."""
    directory = tmp_path_factory.mktemp("image")
    for name in ("bin", "etc", "tmp", "root", "home/app"):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)
    (directory / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", directory / "bin/busybox")
    for applet in APPLETS.split():
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    (directory / "etc/group").write_text("root:x:0:\napp:x:1001:\nwheel:x:10:app\n")
    return directory


class LoopbackNetwork(FakeNetwork):
    """Pods have an address that is only told, and their own loopback."""

    async def attach(self, sandbox_id: str, netns_path: str, **options: Any) -> PodAddress:
        assert os.path.exists(netns_path)
        return await super().attach(sandbox_id, netns_path, **options)


class KeptNode(FakeNode):
    """A FakeNode on a real keeper."""

    private = staticmethod(private.ensure)

    def __init__(self, directory: Path, layer: Path) -> None:
        super().__init__(directory)
        self.cluster = f"t{os.getpid() % 100000}{os.urandom(1).hex()}"[:8]
        self.layout = NodeLayout(directory / "data", directory / "run", self.cluster, "n1")
        self.groups = groups.detect(f"/{self.cluster}/n1")
        self.network = LoopbackNetwork()
        self.images.layer = layer
        self.images.config = ImageConfig(cmd=["sleep", "1000"], env=["PATH=/bin", "FROM_IMAGE=1"])
        self.keeper: subprocess.Popen[bytes] | None = None
        self.runtime: Any = None

    def start_keeper(self) -> None:
        env = {
            **os.environ,
            "WHERRY_RUN": str(self.layout.run),
            "WHERRY_CLUSTER": self.cluster,
            "WHERRY_NODE_NAME": "n1",
        }
        self.keeper = subprocess.Popen([sys.executable, "-m", "services.nodeagent.keeper"], env=env)

    def kill_keeper(self) -> None:
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.wait()
            self.keeper = None

    async def connect(self) -> None:
        self.runtime = await KeeperClient.connect(self.layout.keeper_socket, timeout_s=LIMIT_S)
        self.prober = Prober(self.runtime)  # type: ignore[assignment]
        self.runtime.on_reconnect = lambda: self.manager.keeper_returned()

    async def connect_again(self) -> None:
        """After the keeper's socket was removed along with everything below RUN."""
        await self.runtime.close()
        await self.connect()

    def known(self) -> list[ContainerState]:
        """Containers as the agent's records have them: state running or not."""
        return [
            ContainerState(c.container_id, "", c.name, "running" if c.running else "exited")
            for worker in self.manager.workers.values()
            for c in worker.record.containers.values()
        ]

    async def held(self) -> list[ContainerState]:
        _, containers = await self.runtime.list()
        return list(containers)

    def pod_paths(self) -> list[str]:
        """The pods that the API still has."""
        return [path for path in self.api.objects if "/pods/" in path]

    def log(self, name: str, attempt: int = 0, pod: str = "p", uid: str = "u1") -> str:
        """What a container has written so far."""
        path = self.layout.pod("default", pod, uid).log(name, attempt)
        if not path.exists():
            return ""
        return "".join(line.split(" ", 3)[3] for line in path.read_text().splitlines(keepends=True))

    async def wait_log(self, name: str, text: str, attempt: int = 0) -> str:
        await eventually(lambda: text in self.log(name, attempt), f"{text!r} in the log of {name}")
        return self.log(name, attempt)


@pytest.fixture
async def node(tmp_path: Path, layer: Path, no_leaks: Leaks) -> AsyncIterator[KeptNode]:
    """Nothing may be left in the kernel once every pod is deleted and the keeper is gone."""
    made = KeptNode(tmp_path, layer)
    no_leaks.only(made.cluster)
    made.start_keeper()
    await made.connect()
    made.boot()
    try:
        yield made
        for path in made.pod_paths():
            if "deletionTimestamp" not in made.api.objects[path]["metadata"]:
                made.delete(path.rpartition("/")[2], grace=1)
        # an agent that has only just been booted has no workers yet: the API says when the pods have really ended
        await eventually(lambda: not made.pod_paths() and not made.manager.workers, "the end of all pods")
        assert await made.runtime.list() == ([], [])
    finally:
        await made.crash()
        await made.runtime.close()
        made.kill_keeper()
        made.groups.remove_all()
