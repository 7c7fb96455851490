"""The agent is killed at each of its calls to a real keeper, over a pod's whole life: real containers, no leftovers."""

import asyncio
import contextlib

import pytest

from services.nodeagent.layout import container_id
from tests.fakes.failpoints import Failpoints, Killed
from tests.fakes.nodes import eventually
from tests.fakes.podlife import container, pod

pytestmark = pytest.mark.root

CALLS = ("create_sandbox", "remove_sandbox", "start_container", "signal", "remove_container")


def shell(name, script):
    return container(name, command=["sh", "-c", script])


class Supervised:
    """Starts the agent of a node again whenever a point has killed it."""

    def __init__(self, node):
        self.node = node
        self.points = Failpoints()
        self.died = asyncio.Event()
        self.points.on_death = self.died.set
        node.runtime = self.points.around(node.runtime, "runtime", *CALLS)
        node.network = self.points.around(node.network, "network", "attach", "detach")

    async def run(self):
        while True:
            await self.died.wait()
            self.died.clear()
            self.node.runtime.on_exit = None
            task, self.node._task = self.node._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.points.revive()
            self.node.boot()

    async def live(self, number):
        """One pod's life, killed at point `number` (0: not at all)."""
        node, uid, name = self.node, f"u{number}", f"p{number}"
        obj = pod(
            shell("app", "trap 'exit 0' TERM; while true; do sleep 0.02; done"),
            initContainers=[shell("init", "true")],
            terminationGracePeriodSeconds=10,
        )
        obj["metadata"] |= {"name": name, "uid": uid}
        self.points.at, self.points.seen = number, []
        with contextlib.suppress(Killed):
            node.create(obj)
        await node.wait_phase("Running", name)
        await eventually(lambda: all(s["ready"] for s in node.status(name)["containerStatuses"]), "readiness")
        held = [state.id for state in await node.held() if state.state == "running"]
        assert held == [container_id(uid, "app", 0)], "exactly one attempt runs"
        assert node.status(name)["containerStatuses"][0]["restartCount"] == 0
        with contextlib.suppress(Killed):
            node.delete(name, grace=10)
        await eventually(lambda: node.path(name) not in node.api.objects, "the end of the pod")
        await eventually(lambda: not node.manager.workers, "the end of the worker")
        assert await node.runtime.list() == ([], [])
        assert node.network.attached == {}


async def test_every_call_to_the_keeper_may_be_the_last(node):
    await node.crash()
    agent = Supervised(node)
    supervisor = asyncio.create_task(agent.run(), name="supervisor")
    node.boot()
    try:
        await agent.live(0)
        points = list(agent.points.seen)
        assert {f"before runtime.{name}" for name in CALLS} <= set(points)
        for number in range(1, len(points) + 1):
            try:
                await agent.live(number)
            except AssertionError as exc:
                raise AssertionError(f"killed {points[number - 1]} (point {number}): {exc}") from exc
    finally:
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
