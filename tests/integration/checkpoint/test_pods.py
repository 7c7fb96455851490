"""Whole pods: frozen and written by one node's agent, received by another's, and going on there."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.nodeagent.checkpoint import capture
from services.nodeagent.checkpoint.arrivals import ANNOTATION
from services.nodeagent.checkpoint.streams import ABLE, END, INWARD, OUTWARD, RESTORED, CheckpointStreams
from shared.bus.fake import FakeBroker
from shared.bus.port import Bus
from shared.bus.streams import BusStream, StreamServer, open_stream
from tests.fakes.nodes import eventually
from tests.fakes.podlife import container, pod
from tests.integration.checkpoint.test_containers import pytestmark
from tests.integration.nodeagent.conftest import KeptNode, layer
from tests.leaks import Leaks, no_leaks

__all__ = ["layer", "no_leaks", "pytestmark"]

ID = "0123456789abcdef"
POD = {"namespace": "default", "pod": "p", "uid": "u1"}
COUNTER = """
n=0; while :; do n=$((n+1)); echo $NAME $n; echo $n > /d/$NAME; echo $n > /own; sleep 0.5; done
"""


@pytest.fixture
async def nodes(tmp_path: Path, layer: Path, no_leaks: Leaks) -> AsyncIterator[list[KeptNode]]:
    """Two nodes with agents and keepers; nothing may be left in the kernel when their pods are gone."""
    no_leaks.only(f"t{os.getpid() % 100000}")
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        node = KeptNode(tmp_path / name, layer)
        node.start_keeper()
        made.append(node)
    try:
        for node in made:
            await node.connect()
            node.boot()
        yield made
        for node in made:
            if node.path() in node.api.objects:
                node.delete(grace=1)
            await eventually(lambda held=node: not held.manager.workers, "the end of all pods")  # type: ignore[misc]
            assert await node.runtime.list() == ([], [])
    finally:
        for node in made:
            await node.crash()
            await node.runtime.close()
            node.kill_keeper()
            node.groups.remove_all()


@asynccontextmanager
async def bus_of(nodes: list[KeptNode]) -> AsyncIterator[Bus]:
    """A client of both nodes' streams; they are called n1 and n2."""
    async with FakeBroker() as broker:
        buses, servers = [], []
        for name, node in zip(("n1", "n2"), nodes, strict=True):
            buses.append(broker.connect(f"node-{name}"))
            handlers = CheckpointStreams(node.manager, node.facilities(node.manager)).handlers()
            servers.append(asyncio.create_task(StreamServer(buses[-1], name, handlers).run(), name=name))
        await asyncio.sleep(0.1)
        buses.append(broker.connect("apiserver"))
        try:
            yield buses[-1]
        finally:
            for server in servers:
                server.cancel()
            await asyncio.wait(servers)
            for bus in buses:
                await bus.close()


def shell(name: str) -> dict[str, Any]:
    mounts = [{"name": "d", "mountPath": "/d"}]
    env = [{"name": "NAME", "value": name}]
    return container(name, command=["sh", "-c", COUNTER], env=env, volumeMounts=mounts)


def counting(*names: str) -> dict[str, Any]:
    return pod(*map(shell, names), volumes=[{"name": "d", "emptyDir": {}}], nodeName="n1")


async def carry(bus: Bus, moved: dict[str, Any]) -> tuple[BusStream, BusStream]:
    """Take a checkpoint on n1 and restore it on n2 as the pod `moved`; both streams, still open."""
    params, arrival = {"migration": ID}, {"pod": moved}
    source = await open_stream(bus, "n1", "checkpoint", {**POD, **params})
    sink = await open_stream(bus, "n2", "restore", {"id": ID, "owner": {"uid": "u1"}, **arrival})
    async for channel, data in source:
        if channel == OUTWARD:
            await sink.send(INWARD, data)
        elif channel == END:
            await sink.send(END, data)
            break
    assert source.status is None, source.status
    async for channel, _ in sink:
        if channel == RESTORED:
            return source, sink
        assert channel == ABLE
    raise AssertionError(sink.status)


def last(log: str) -> int:
    return int(log.split()[-1]) if log else 0


async def test_a_pod_moves_with_memory_files_logs_and_volumes_and_runs_in_one_place_only(nodes: list[KeptNode]) -> None:
    one, two = nodes
    one.create(counting("a", "b"))
    for name in ("a", "b"):
        await one.wait_log(name, f"{name} 3")
    async with bus_of(nodes) as bus:
        # the one write of the move, as the two nodes see it
        moved = copy.deepcopy(one.object())
        moved["metadata"]["annotations"] = {ANNOTATION: ID}
        source, sink = await carry(bus, moved)
        frozen = {name: last(one.log(name)) for name in ("a", "b")}
        assert [state.paused for state in await two.held()] == [True, True]
        assert {name: last(two.log(name)) for name in frozen} == frozen
        one.api.drop(one.path())
        two.create(moved)
        await two.wait_phase("Running")
        for name, count in frozen.items():
            await two.wait_log(name, f"{name} {count + 3}\n")
            numbers = [int(line.split()[1]) for line in two.log(name).splitlines()]
            assert numbers == list(range(1, len(numbers) + 1))
        await eventually(lambda: not one.manager.workers, "the pod's end where it was")
        assert {name: last(one.log(name)) for name in frozen} in ({"a": 0, "b": 0}, frozen)
        statuses = two.status()["containerStatuses"]
        assert [status["restartCount"] for status in statuses] == [0, 0]
        assert "Restored" in two.recorder.reasons()
        await source.close()
        await sink.close()


async def test_a_migration_that_is_given_up_leaves_the_pod_running_where_it_was(nodes: list[KeptNode]) -> None:
    one, two = nodes
    one.create(counting("a"))
    await one.wait_log("a", "a 3")
    async with bus_of(nodes) as bus:
        moved = copy.deepcopy(one.object())
        moved["metadata"]["annotations"] = {ANNOTATION: ID}
        source, sink = await carry(bus, moved)
        count = last(one.log("a"))
        await one.crash()
        one.kill_keeper()
        one.start_keeper()
        await eventually(lambda: one.runtime.connected, "the connection")
        one.boot()
        await one.wait_log("a", f"a {count + 3}\n")
        numbers = [int(line.split()[1]) for line in one.log("a").splitlines()]
        assert numbers == list(range(1, len(numbers) + 1))
        [condition] = [c for c in one.status()["conditions"] if c["type"] == capture.MIGRATING]
        assert condition["reason"] == "Aborted"
        assert last(two.log("a")) in (0, count)
        await sink.close()
        await eventually(lambda: not two.manager.workers, "the end of what was restored in vain")
        assert await two.held() == []
        await source.close()
