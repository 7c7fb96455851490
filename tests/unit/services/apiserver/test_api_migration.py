"""Checkpoint and migration of pods through the API server, with agents that do as the test says."""

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager

import pytest

from services.apiserver.protocol import Stream
from services.apiserver.subresources.migration import CHECKPOINT, MIGRATING, migration_of
from shared.bus.streams import StreamServer
from shared.errors import BadRequest, Conflict, InternalError, Invalid, NotFound, ServiceUnavailable
from shared.identity.users import User
from tests.unit.services.apiserver.memory_api import ALICE, NODE

PODS = "/api/v1/namespaces/default/pods"
ARCHIVE = b"archive" * 5000
SUCCESS = {"metadata": {}, "status": "Success"}


def binding(node):
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}


class Agent:
    """One node's end: it sends ARCHIVE, and keeps what it is given. `before_end` runs before the end mark is sent."""

    def __init__(self):
        self.kept = {}
        self.migrations = []
        self.pods = []
        self.unable = self.fail_taking = self.fail_keeping = self.fail_restoring = self.fail_end = None
        self.before_end = None
        self.streams_ended = 0

    async def checkpoint(self, params, stream):
        if self.fail_taking:
            raise self.fail_taking
        self.migrations.append(params.get("migration"))
        await stream.send(1, ARCHIVE)
        if self.before_end:
            await self.before_end()
        if self.fail_end:
            raise self.fail_end
        await stream.send(2, json.dumps({"sha256": hashlib.sha256(ARCHIVE).hexdigest()}).encode())
        if params.get("migration"):
            await stream.wait_closed()
        self.streams_ended += 1
        await stream.close(SUCCESS)

    async def restore(self, params, stream):
        if self.unable:
            raise self.unable
        await stream.send(4, b"\0")
        data = b""
        async for channel, part in stream:
            if channel == 2:
                break
            data += part
        if self.fail_keeping:
            raise self.fail_keeping
        self.kept[params["id"]] = data
        if self.fail_restoring:
            raise self.fail_restoring
        self.pods.append(params["pod"])
        await stream.send(3, b"\0")
        await stream.wait_closed()
        await stream.close(SUCCESS)


@asynccontextmanager
async def serving(api, name, agent):
    bus = api.broker.connect(f"node-{name}")
    handlers = {"checkpoint": agent.checkpoint, "restore": agent.restore}
    server = asyncio.create_task(StreamServer(bus, name, handlers).run(), name=f"agent {name}")
    await asyncio.sleep(0.01)
    try:
        yield agent
    finally:
        server.cancel()
        await asyncio.wait([server])
        await bus.close()


@pytest.fixture
async def agents(api):
    """node-1 with the running pod p, and node-2."""
    for name in ("node-1", "node-2"):
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        await api.create("/api/v1/nodes", node)
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        await api.patch(f"/api/v1/nodes/{name}/status", {"status": ready})
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "node-1", "serviceAccountName": "default"}
    await api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running", "podIP": "10.244.0.5", "hostIP": "10.0.0.1"}})
    async with serving(api, "node-1", Agent()) as one, serving(api, "node-2", Agent()) as two:
        yield one, two


async def test_a_checkpoint_is_answered_as_an_archive(api, agents):
    outcome = await api.parts.pipeline.handle(api.request("POST", f"{PODS}/p/checkpoint"))
    assert isinstance(outcome, Stream)
    assert b"".join([part async for part in outcome.chunks]) == ARCHIVE
    await outcome.close()
    assert outcome.content_type == "application/x-tar"


async def test_only_who_may_do_everything_gets_a_checkpoint_or_moves_a_pod(api, agents):
    for user in (ALICE, NODE):
        assert await api.code("POST", f"{PODS}/p/checkpoint", user=user) == 403
        assert await api.code("POST", f"{PODS}/p/migrate", binding("node-2"), user=user) == 403


async def test_a_pod_moves_with_its_identity_and_names_its_checkpoint(api, agents):
    one, two = agents
    before = await api.get(f"{PODS}/p")
    await api.create(f"{PODS}/p/migrate", binding("node-2"))
    after = await api.get(f"{PODS}/p")
    assert after["spec"] == before["spec"] | {"nodeName": "node-2"}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    [identity] = one.migrations
    assert after["metadata"]["annotations"][CHECKPOINT] == identity
    assert two.kept == {identity: ARCHIVE}
    assert two.pods[0]["spec"] == after["spec"]
    assert two.pods[0]["metadata"]["annotations"] == after["metadata"]["annotations"]
    assert "podIP" not in after["status"]
    conditions = {c["type"]: (c["status"], c.get("reason")) for c in after["status"]["conditions"]}
    assert conditions[MIGRATING] == ("False", "Moved")
    [story] = [c["message"] for c in after["status"]["conditions"] if c["type"] == MIGRATING]
    assert "from node-1 to node-2; its address 10.244.0.5 belongs to the pod network of node-1" in story
    assert conditions["Ready"] == ("False", "Migrating")


async def test_a_node_name_changes_in_no_other_way(api, agents):
    with pytest.raises(Invalid, match="pod updates may not change"):
        await api.patch(f"{PODS}/p", {"spec": {"nodeName": "node-2"}})


async def test_the_node_that_gives_up_first_keeps_the_pod(api, agents):
    one, _two = agents

    async def give_up():
        condition = {"type": MIGRATING, "status": "False", "reason": "Aborted", "message": "no"}
        await api.patch(f"{PODS}/p/status", {"status": {"conditions": [condition]}}, "strategic", user=NODE)

    one.before_end = give_up
    assert isinstance(await api.failure("POST", f"{PODS}/p/migrate", binding("node-2")), Conflict)
    pod = await api.get(f"{PODS}/p")
    assert pod["spec"]["nodeName"] == "node-1"
    assert CHECKPOINT not in pod["metadata"].get("annotations", {})


@pytest.mark.parametrize("where", ["taking", "keeping", "restoring", "away"])
async def test_what_fails_on_the_way_leaves_the_pod_where_it_is_and_unmarked(api, agents, where):
    one, two = agents
    target, expected = "node-2", InternalError
    if where == "taking":
        one.fail_taking = InternalError("node node-1: criu is not installed")
    elif where == "keeping":
        two.fail_keeping = InternalError("no room")
    elif where == "restoring":
        two.fail_restoring = InternalError("criu: no")
    else:
        await api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-3"}})
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        await api.patch("/api/v1/nodes/node-3/status", {"status": ready})
        target, expected = "node-3", ServiceUnavailable
    assert isinstance(await api.failure("POST", f"{PODS}/p/migrate", binding(target)), expected)
    pod = await api.get(f"{PODS}/p")
    assert pod["spec"]["nodeName"] == "node-1"
    assert migration_of(pod) == ""


async def test_one_migration_at_a_time_but_a_forgotten_mark_does_not_stay_in_the_way(api, agents):
    one, _two = agents

    async def again():
        failure = await api.failure("POST", f"{PODS}/p/migrate", binding("node-2"))
        assert "being migrated already" in str(failure)

    one.before_end = again
    await api.create(f"{PODS}/p/migrate", binding("node-2"))
    left = {"type": MIGRATING, "status": "True", "reason": "Checkpointing", "message": "abc to node-1"}
    left["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running", "conditions": [left]}}, "strategic")
    await api.create(f"{PODS}/p/migrate", binding("node-1"))
    assert (await api.get(f"{PODS}/p"))["spec"]["nodeName"] == "node-1"


async def test_the_new_node_reads_the_pod_and_its_secrets_from_the_mark_to_the_end_of_the_migration(api, agents):
    one, _two = agents
    new = User("system:node:node-2", NODE.groups)
    secret = "/api/v1/namespaces/default/serviceaccounts/default"

    async def codes():
        return [await api.code("GET", path, user=new) for path in (f"{PODS}/p", secret)]

    async def during():
        assert await codes() == [200, 200]
        assert await api.code("PATCH", f"{PODS}/p/status", {"status": {"phase": "Failed"}}, user=new) == 403
        one.fail_taking = True

    assert await codes() == [403, 403]
    one.before_end = during
    one.fail_end = InternalError("tar: no")
    await api.failure("POST", f"{PODS}/p/migrate", binding("node-2"))
    assert one.fail_taking
    assert await codes() == [403, 403]


async def test_a_pod_that_is_deleted_meanwhile_does_not_move(api, agents):
    one, _two = agents

    async def delete():
        await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 30})

    one.before_end = delete
    failure = await api.failure("POST", f"{PODS}/p/migrate", binding("node-2"))
    assert "is being deleted" in str(failure)


async def test_what_cannot_move_is_refused_before_anything_stops(api, agents):
    one, two = agents
    assert "already" in str(await api.failure("POST", f"{PODS}/p/migrate", binding("node-1")))
    assert isinstance(await api.failure("POST", f"{PODS}/p/migrate", binding("nowhere")), NotFound)
    two.unable = InternalError("node node-2: this node cannot restore: criu is not installed")
    assert "criu is not installed" in str(await api.failure("POST", f"{PODS}/p/migrate", binding("node-2")))
    assert MIGRATING not in {c["type"] for c in (await api.get(f"{PODS}/p"))["status"].get("conditions", [])}
    await api.patch("/api/v1/nodes/node-2", {"spec": {"unschedulable": True}})
    assert "cordoned" in str(await api.failure("POST", f"{PODS}/p/migrate", binding("node-2")))
    await api.patch(f"{PODS}/p/status", {"status": {"phase": "Failed"}})
    failure = await api.failure("POST", f"{PODS}/p/migrate", binding("node-2"))
    assert isinstance(failure, BadRequest)
    assert "not running but Failed" in str(failure)
    assert one.migrations == []
