"""Pods that are frozen, sent and restored, on nodes whose runtime and criu are fakes."""

import asyncio
import copy
import hashlib
import io
import json
import os
import tarfile
from contextlib import asynccontextmanager

import pytest

from services.nodeagent.checkpoint import capture
from services.nodeagent.checkpoint.arrivals import ANNOTATION
from services.nodeagent.checkpoint.streams import ABLE, END, INWARD, RESTORED, CheckpointStreams
from services.nodeagent.layout import container_id, sandbox_id
from services.nodeagent.runtime.client import StartError
from shared.bus.fake import FakeBroker
from shared.bus.streams import StreamServer, open_stream
from shared.errors import BadRequest, Conflict, InternalError
from shared.kernel import criu
from tests.fakes.nodes import eventually, fake_node
from tests.fakes.podlife import container, pod

ID = "0123456789abcdef"
POD = {"namespace": "default", "pod": "p", "uid": "u1"}


@pytest.fixture(autouse=True)
def criu_works(monkeypatch):
    monkeypatch.setattr(criu, "why_not", lambda: "")


class Rig:
    """One node, what a client opens towards it, and a second node to move to."""

    def __init__(self, node, other, client):
        self.node, self.other, self.client = node, other, client

    async def start(self, **spec):
        data = {"name": "d", "emptyDir": {}}
        web = container("web", volumeMounts=[{"name": "d", "mountPath": "/d"}])
        self.node.create(pod(web, volumes=[data], nodeName="n1", **spec))
        await self.node.wait_phase("Running")
        layout = self.node.layout.pod("default", "p", "u1")
        identity = container_id("u1", "web", 0)
        # what the keeper and the container would have made
        upper = layout.writable(identity) / "upper"
        upper.mkdir(parents=True)
        (upper / "written").write_text("by web")
        (layout.volume("emptyDir", "d") / "kept").write_text("in a volume")
        layout.log("web", 0).write_text("first line\n")
        shm = self.node.layout.volatile / "keeper/sandboxes" / sandbox_id("u1", 0) / "shm"
        shm.mkdir(parents=True)
        return identity

    async def take(self, **params):
        """The archive and its end mark."""
        stream = await open_stream(self.client, "n1", "checkpoint", {**POD, **params})
        data, mark = b"", b""
        async for channel, part in stream:
            if channel == END:
                mark = part
                break
            data += part
        return stream, data, mark

    async def give(self, data, mark, identity=ID, owner=None):
        owner = {"uid": "u1"} if owner is None else owner
        stream = await open_stream(self.client, "n2", "restore", {"id": identity, "owner": owner})
        for start in range(0, len(data), 1000):
            await stream.send(INWARD, data[start : start + 1000])
        await stream.send(END, mark)
        async for _ in stream:
            pass
        await stream.close()
        return stream.status

    async def move(self, **changes):
        """Bring the migrating pod to the second node; the stream to there, and whether it said that it is restored."""
        await self.start(terminationGracePeriodSeconds=30)
        _, data, mark = await self.take(migration=ID)
        params = {"id": ID, "owner": {"uid": "u1"}, "pod": self.arriving() | changes}
        stream = await open_stream(self.client, "n2", "restore", params)
        await stream.send(INWARD, data)
        await stream.send(END, mark)
        async for channel, _ in stream:
            if channel == RESTORED:
                return stream, True
            assert channel == ABLE
        return stream, False

    def frozen(self):
        """What runs on the second node."""
        return {c.name: c.paused for c in self.other.runtime.containers.values() if c.state == "running"}

    def paused(self):
        return {state.name: state.paused for state in self.node.runtime.containers.values()}

    def arriving(self):
        obj = pod(container("web"), volumes=[{"name": "d", "emptyDir": {}}])
        obj["metadata"]["annotations"] = {ANNOTATION: ID}
        return obj


@asynccontextmanager
async def serving(broker, name, node):
    agent = broker.connect(f"node-{name}")
    handlers = CheckpointStreams(node.manager, node.facilities(node.manager)).handlers()
    server = asyncio.create_task(StreamServer(agent, name, handlers).run(), name=f"streams {name}")
    await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.cancel()
        await asyncio.wait([server])
        await agent.close()


@pytest.fixture
async def rig(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        FakeBroker() as broker,
        fake_node(tmp_path / "one") as node,
        fake_node(tmp_path / "two") as other,
        serving(broker, "n1", node),
        serving(broker, "n2", other),
    ):
        client = broker.connect("apiserver")
        yield Rig(node, other, client)
        await client.close()


async def test_a_pod_goes_on_elsewhere_with_its_attempt_log_files_and_volumes(rig):
    identity = await rig.start()
    stream, data, mark = await rig.take()
    await stream.close()
    await eventually(lambda: rig.paused() == {"web": False}, "the container to go on")
    assert (await rig.give(data, mark))["status"] == "Success"
    rig.other.create(rig.arriving())
    status = await rig.other.wait_phase("Running")
    assert rig.other.runtime.restores == {identity: "memory of web"}
    assert status["containerStatuses"][0]["restartCount"] == 0
    layout = rig.other.layout.pod("default", "p", "u1")
    assert (layout.writable(identity) / "upper/written").read_text() == "by web"
    assert (layout.volume("emptyDir", "d") / "kept").read_text() == "in a volume"
    assert layout.log("web", 0).read_text() == "first line\n"
    await eventually(lambda: not list(rig.other.layout.pod_checkpoints.iterdir()), "the removal of the files")
    rig.other.runtime.exit(identity, 1)
    await eventually(lambda: rig.other.status()["containerStatuses"][0]["restartCount"] == 1, "a restart")
    assert len(rig.other.runtime.restores) == 1


async def test_a_failing_restore_is_told_and_the_container_starts_from_its_image(rig):
    await rig.start()
    stream, data, mark = await rig.take()
    await stream.close()
    await rig.give(data, mark)
    rig.other.runtime.restore_error = StartError("restoring: criu: no", 128)
    rig.other.create(rig.arriving())
    await eventually(lambda: rig.other.runtime.running("web"), "the container")
    assert rig.other.runtime.restores == {}
    assert ("Failed", "Error: restoring: criu: no") in rig.other.recorder.events


async def test_a_pod_that_only_knows_the_id_gets_nothing_of_it(rig):
    await rig.start()
    stream, data, mark = await rig.take()
    await stream.close()
    for owner in ({}, {"labels": "x"}):
        with pytest.raises(BadRequest, match="the owner of a checkpoint"):
            await rig.give(data, mark, owner=owner)
    await rig.give(data, mark, owner={"namespace": "default", "name": "another"})
    rig.other.create(rig.arriving())
    await rig.other.wait_phase("Running")
    assert rig.other.runtime.restores == {}


async def test_an_archive_with_a_link_is_refused(rig):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        link = tarfile.TarInfo("checkpoint.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    mark = json.dumps({"sha256": hashlib.sha256(content.getvalue()).hexdigest()}).encode()
    status = await rig.give(content.getvalue(), mark)
    assert "neither a file nor a directory" in status["message"]
    assert not list(rig.other.layout.pod_checkpoints.iterdir())


async def test_a_restore_that_is_cut_short_with_the_keeper_is_tried_again(rig):
    await rig.start()
    stream, data, mark = await rig.take()
    await stream.close()
    await rig.give(data, mark)
    rig.other.runtime.restore_error = StartError("the start was interrupted: the keeper was restarted", 137)
    rig.other.create(rig.arriving())
    await eventually(lambda: "Failed" in rig.other.recorder.reasons(), "the first try")
    rig.other.runtime.restore_error = None
    await eventually(lambda: rig.other.runtime.restores, "the second try")


async def test_an_agent_killed_while_it_restores_neither_repeats_nor_forgets_it(rig):
    identity = await rig.start()
    stream, data, mark = await rig.take()
    await stream.close()
    await rig.give(data, mark)
    reached, never = asyncio.Event(), asyncio.Event()
    restore = rig.other.runtime.restore_container

    async def restored_and_not_told(spec, images, **how):
        await restore(spec, images, **how)
        reached.set()
        await never.wait()

    rig.other.runtime.restore_container = restored_and_not_told
    rig.other.create(rig.arriving())
    await reached.wait()
    await rig.other.crash()
    rig.other.runtime.restore_container = restore
    rig.other.boot()
    await rig.other.wait_phase("Running")
    assert rig.other.manager.find("default", "p").record.restoring == []
    rig.other.runtime.exit(identity, 1)
    await eventually(lambda: rig.other.status()["containerStatuses"][0]["restartCount"] == 1, "a restart")
    assert list(rig.other.runtime.restores) == [identity]


async def test_an_archive_that_is_not_whole_is_refused_and_not_kept(rig):
    await rig.start()
    stream, data, mark = await rig.take()
    await stream.close()
    assert "did not arrive whole" in (await rig.give(data[:-700], mark))["message"]
    other = json.dumps({"sha256": "0" * 64}).encode()
    assert "did not arrive whole" in (await rig.give(data, other))["message"]
    assert not list(rig.other.layout.pod_checkpoints.iterdir())
    with pytest.raises(BadRequest, match="hexadecimal"):
        await rig.give(data, mark, "../x")


async def test_a_pod_goes_on_where_it_was_when_its_migration_is_given_up(rig):
    await rig.start()
    stream, _data, _mark = await rig.take(migration=ID)
    assert rig.paused() == {"web": True}
    with pytest.raises(Conflict, match="being checkpointed already"):
        await open_stream(rig.client, "n1", "checkpoint", POD)
    await stream.close()
    await eventually(lambda: rig.paused() == {"web": False}, "the container to go on")
    [condition] = [c for c in rig.node.status()["conditions"] if c["type"] == capture.MIGRATING]
    assert (condition["status"], condition["reason"]) == ("False", "Aborted")


async def test_a_suspended_container_stays_so_after_a_checkpoint(rig):
    await rig.start()
    worker = rig.node.manager.find("default", "p")
    changed = copy.deepcopy(rig.node.object())
    changed["metadata"]["annotations"] = {"wherry.io/suspended": "*"}
    rig.node.create(changed)
    await eventually(lambda: rig.paused() == {"web": True}, "the suspension")
    stream, _data, _mark = await rig.take()
    await stream.close()
    await eventually(lambda: not worker.record.checkpoint, "the end of the checkpoint")
    assert rig.paused() == {"web": True}


async def test_a_pod_stays_frozen_until_the_api_agrees_that_its_migration_is_off(rig, monkeypatch):
    monkeypatch.setattr(capture, "RETRY_S", 0.01)
    await rig.start()
    stream, _data, _mark = await rig.take(migration=ID)
    rig.node.api.up.clear()
    await stream.close()
    worker = rig.node.manager.find("default", "p")
    await eventually(lambda: not worker.record.capturing, "the end of the stream")
    await asyncio.sleep(0.05)
    assert rig.paused() == {"web": True}
    rig.node.api.up.set()
    await eventually(lambda: rig.paused() == {"web": False}, "the container to go on")


async def test_an_agent_killed_in_the_middle_goes_on_to_settle(rig, monkeypatch):
    monkeypatch.setattr(capture, "RETRY_S", 0.01)
    await rig.start()
    await rig.take(migration=ID)
    await rig.node.crash()
    assert rig.paused() == {"web": True}
    rig.node.boot()
    await eventually(lambda: rig.paused() == {"web": False}, "the container to go on")


async def test_the_frozen_processes_of_a_pod_that_has_moved_are_killed_and_never_go_on(rig):
    identity = await rig.start(terminationGracePeriodSeconds=30)
    await rig.take(migration=ID)
    rig.node.runtime.signals.clear()
    rig.node.api.drop(rig.node.path())
    await eventually(lambda: not rig.node.manager.workers, "the pod's end")
    assert rig.node.runtime.signals == [(identity, 9)]


async def test_a_pod_that_comes_back_before_it_was_gone_starts_again(rig):
    await rig.start(terminationGracePeriodSeconds=0)
    present = rig.node.object()
    rig.node.api.drop(rig.node.path())
    rig.node.create(present)
    await eventually(lambda: len(rig.node.runtime.starts) == 2, "the second life")
    assert rig.node.manager.find("default", "p") is not None


async def test_nothing_is_frozen_where_criu_cannot_work(rig, monkeypatch):
    await rig.start()
    monkeypatch.setattr(criu, "why_not", lambda: "criu is not installed")
    with pytest.raises(InternalError, match="node n1: criu is not installed"):
        await open_stream(rig.client, "n1", "checkpoint", POD)
    assert rig.paused() == {"web": False}


async def test_a_container_of_a_kind_that_cannot_be_checkpointed_is_named_and_runs_on(rig, monkeypatch):
    await rig.start()
    rig.node.runtime.impossible = "a container with a terminal cannot be checkpointed or restored"
    frozen = []
    monkeypatch.setattr(rig.node.runtime, "pause", frozen.append)
    with pytest.raises(BadRequest, match="pod p, container web: a container with a terminal cannot be checkpointed"):
        await open_stream(rig.client, "n1", "checkpoint", POD)
    assert frozen == []


async def test_a_node_that_cannot_restore_says_so_before_it_is_sent_anything(rig, monkeypatch):
    monkeypatch.setattr(criu, "why_not", lambda: "criu is not installed")
    with pytest.raises(InternalError, match="this node cannot restore: criu is not installed"):
        await open_stream(rig.client, "n2", "restore", {"id": ID, "owner": {"uid": "u1"}, "pod": rig.arriving()})


async def test_unused_checkpoints_go_when_they_are_old(rig):
    await rig.start()
    stream, data, mark = await rig.take()
    await stream.close()
    await rig.give(data, mark)
    arrivals = rig.other.facilities(rig.other.manager).arrivals
    await arrivals.forget_unused(set())
    assert arrivals.path(ID).exists()
    os.utime(arrivals.path(ID), (0, 0))
    await arrivals.forget_unused({ID})
    assert arrivals.path(ID).exists()
    await arrivals.forget_unused(set())
    assert not arrivals.path(ID).exists()


async def test_a_moving_pod_is_restored_frozen_and_goes_on_once_it_has_moved(rig):
    stream, restored = await rig.move()
    assert restored
    assert rig.frozen() == {"web": True}
    assert rig.paused() == {"web": True}
    assert "Running" not in json.dumps(rig.other.api.patches)
    rig.other.create(rig.arriving())
    await eventually(lambda: rig.frozen() == {"web": False}, "the container to go on")
    await rig.other.wait_phase("Running")
    assert "Restored" in rig.other.recorder.reasons()
    assert rig.other.runtime.starts == [container_id("u1", "web", 0)]
    await eventually(lambda: not list(rig.other.layout.pod_checkpoints.iterdir()), "the removal of the files")
    await stream.close()


async def test_a_pod_that_cannot_be_restored_is_told_and_goes_on_where_it_was(rig):
    rig.other.runtime.restore_error = StartError("restoring: criu: no", 128)
    stream, restored = await rig.move()
    assert not restored
    assert "pod p cannot be restored: container web: restoring: criu: no" in stream.status["message"]
    await eventually(lambda: not rig.other.manager.workers, "the end of what was made")
    assert rig.other.runtime.starts == []


@pytest.mark.parametrize("trouble", ["image", "room"])
async def test_what_keeps_a_pod_from_being_restored_is_told(rig, trouble):
    if trouble == "image":
        rig.other.images.missing.add("web:1")
    else:
        rig.other.admission = lambda _pod: ("OutOfcpu", "no room")
    stream, restored = await rig.move()
    assert not restored
    assert {"image": "not found", "room": "no room"}[trouble] in stream.status["message"]
    await eventually(lambda: not rig.other.manager.workers, "the end of what was made")


async def test_what_was_restored_for_a_migration_that_is_given_up_is_killed_and_never_goes_on(rig):
    stream, _ = await rig.move()
    thawed = []
    rig.other.runtime.resume = lambda identity: thawed.append(identity)
    await stream.close()
    await eventually(lambda: not rig.other.manager.workers, "the end of what was made")
    assert rig.other.runtime.signals == [(container_id("u1", "web", 0), 9)]
    assert thawed == []
    assert rig.other.runtime.sandboxes == {}


async def test_a_move_that_is_told_late_begins_again_with_the_checkpoint(rig):
    stream, _ = await rig.move()
    await stream.close()
    await eventually(lambda: not rig.other.manager.workers, "the end of what was made")
    rig.other.runtime.restores.clear()
    rig.other.create(rig.arriving())
    await rig.other.wait_phase("Running")
    assert list(rig.other.runtime.restores.values()) == ["memory of web"]
    assert (rig.other.layout.pod("default", "p", "u1").volume("emptyDir", "d") / "kept").read_text() == "in a volume"


@pytest.mark.parametrize("moved", [True, False])
async def test_an_agent_killed_while_it_waits_for_the_move_finds_out_what_became_of_it(rig, moved):
    await rig.move()
    await rig.other.crash()
    if moved:
        rig.other.create(rig.arriving())
    rig.other.boot()
    if moved:
        await eventually(lambda: rig.frozen() == {"web": False}, "the container to go on")
        assert len(rig.other.runtime.restores) == 1
    else:
        await eventually(lambda: rig.frozen() == {} and not rig.other.manager.workers, "the end of what was made")
