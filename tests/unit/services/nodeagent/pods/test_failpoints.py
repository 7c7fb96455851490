"""The agent is killed at each of its effects in turn, over the whole life of a pod: everything still converges."""

import asyncio
import contextlib
import dataclasses
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.nodeagent.layout import container_id
from tests.fakes.failpoints import Failpoints, Killed
from tests.fakes.nodes import FakeNode, FakeRuntime, eventually
from tests.fakes.podlife import container, pod

RUNTIME = ("create_sandbox", "remove_sandbox", "start_container", "signal", "remove_container", "list")


class Runtime(FakeRuntime):
    """Init containers are done at once, SIGTERM is obeyed, and an exit is told again to a new agent."""

    async def start_container(self, spec):
        fresh = spec.id not in self.containers
        state = await super().start_container(spec)
        if fresh and spec.name == "init":
            asyncio.get_running_loop().call_soon(self.exit, spec.id, 0)
        return state

    async def signal(self, container_id, signum, *, everyone=False):
        await super().signal(container_id, signum)
        if signum == signal.SIGTERM and self.containers[container_id].state == "running":
            asyncio.get_running_loop().call_soon(self.exit, container_id, 0)

    def exit(self, container_id, code):
        if self.containers.get(container_id) is not None and self.containers[container_id].state == "running":
            super().exit(container_id, code)


class MortalNode(FakeNode):
    """A FakeNode whose agent dies at a point and is started again."""

    def __init__(self, directory, points):
        super().__init__(directory)
        self.points = points
        self.inner = Runtime()
        self.runtime = points.around(self.inner, "runtime", *RUNTIME)
        self.network = points.around(self.network, "network", "attach", "detach")
        self.images = points.around(self.images, "images", "ensure", "hold", "release")
        self.api = points.around(self.api, "api", "patch", "delete")
        self._died = asyncio.Event()
        points.on_death = self._died.set

    def facilities(self, manager):
        tools = super().facilities(manager)
        directories, volumes, *others = tools.volume_hooks
        kept = self.points.around(tools.checkpoints, "checkpoints", "save_record", "save_pod")
        directories._checkpoints = kept
        mounted = self.points.around(volumes, "volumes", "prepare", "cleanup")
        return dataclasses.replace(tools, checkpoints=kept, volume_hooks=(directories, mounted, *others))

    async def keep_alive(self):
        """What the supervisor does."""
        threads = _own_threads()
        while True:
            await self._died.wait()
            self._died.clear()
            self.runtime.on_exit = None
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # a process that is killed has no threads that go on beside the next one
            threads.shutdown(cancel_futures=True)
            threads = _own_threads()
            self.points.revive()
            self.boot()


def _own_threads():
    threads = ThreadPoolExecutor(4)
    asyncio.get_running_loop().set_default_executor(threads)
    return threads


@pytest.fixture(autouse=True)
def _short_back_off(monkeypatch):
    monkeypatch.setattr("services.nodeagent.pods.backoff.INITIAL_S", 0.05)


async def live(directory, points):
    """A pod's whole life: start with an init container, a crash of the app and its restart, deletion."""
    directory.mkdir()
    node = MortalNode(directory, points)
    keeper = asyncio.create_task(node.keep_alive(), name="supervisor")
    try:
        volumes = [{"name": "d", "emptyDir": {}}]
        app = container("app", lifecycle={"postStart": {"exec": {"command": ["true"]}}})
        node.create(pod(app, initContainers=[container("init")], volumes=volumes, terminationGracePeriodSeconds=5))
        node.boot()
        first = container_id("u1", "app", 0)
        await eventually(lambda: first in node.inner.containers, "the first start")
        await node.wait_phase("Running")
        node.inner.exit(first, 1)
        await eventually(lambda: node.inner.running("app"), "the second start")
        await eventually(
            lambda: node.status()["containerStatuses"][0]["restartCount"] == 1 and node.status()["phase"] == "Running",
            "the restart to be told",
        )
        # the event is told from here, so the agent's death comes back here as well
        with contextlib.suppress(Killed):
            node.delete(grace=5)
        await node.wait_gone()
        assert sorted(node.inner.starts) == sorted(
            [container_id("u1", "init", 0), first, container_id("u1", "app", 1)]
        ), "every attempt is started exactly once"
        assert node.inner.containers == {}
        assert node.inner.sandboxes == {}
        assert node.network.attached == {}
        assert node.images.held == {}
        assert [path for path in node.layout.pods.iterdir() if path.name == "u1"] == []
        assert list(node.layout.containers.glob("*")) == []
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await node.crash()


async def test_a_pod_that_nobody_disturbs_passes_every_kind_of_point(tmp_path):
    points = Failpoints()
    await live(tmp_path / "whole", points)
    kinds = {name.partition(" ")[2] for name in points.seen}
    assert {f"runtime.{name}" for name in RUNTIME} <= kinds
    assert {"network.attach", "network.detach", "images.hold", "images.release", "api.patch", "api.delete"} <= kinds
    assert {"checkpoints.save_record", "checkpoints.save_pod", "volumes.prepare", "volumes.cleanup"} <= kinds


@pytest.mark.parametrize("share", range(8))
async def test_the_agent_may_be_killed_at_any_point(tmp_path, share):
    counted = Failpoints()
    await live(tmp_path / "count", counted)
    # an agent that was killed has more to do than one that was not, but no other kinds of things
    for number in range(share + 1, len(counted.seen) + 1, 8):
        points = Failpoints(number)
        try:
            await live(tmp_path / f"killed-{number}", points)
        except AssertionError as exc:
            raise AssertionError(f"killed {points.seen[number - 1]} (point {number}): {exc}") from exc
        # what happens at the same time may need a call less in another life, and then its last points do not come
        assert points.at == 0 or number > len(counted.seen) - 6, f"point {number} was never reached"
