"""The broker itself refuses what a user must not do: the proof of who is speaking rests on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.errors import BrokerError, NoResponders
from shared.events.subjects import inbox_prefix
from shared.state.streams import ensure_streams
from tests.fakes.nats import NatsServer
from tests.slowness import LIMIT_S


@pytest.fixture
async def admin(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with connect(nats_server.settings("admin"), "test admin") as bus:
        await ensure_streams(bus)
        yield bus


ALLOWED = [
    ("node-node-1", "api.node.node-1.request"),
    ("node-node-1", "api.node.node-1.lease"),
    ("controllers", "api.service.controllers.request"),
    ("controllers", "b.x"),
    ("scheduler", "s.core.pods.default.a"),
    ("apiserver", "s.core.pods.default.a"),
    ("apiserver", "e.core.events.default.a"),
    ("apiserver", "agent.node-1.open"),
    ("apiserver", "_INBOX_node-node-2.x"),
    ("logcollector-node-1", "logs.node-1.default.pod.web"),
    ("registry", "$O.registry.C.x"),
]
REFUSED = [
    ("node-node-1", "api.node.node-2.request"),
    ("node-node-1", "api.node.node-2.lease"),
    ("node-node-1", "api.service.controllers.request"),
    ("node-node-1", "s.core.pods.default.a"),
    ("node-node-1", "agent.node-2.open"),
    ("node-node-1", "_INBOX_node-node-2.x"),
    ("node-node-1", "logs.node-1.default.pod.web"),
    ("node-node-1", "$JS.API.STREAM.INFO.STATE"),
    ("node-node-1", "$JS.API.STREAM.DELETE.STATE"),
    ("logcollector-node-1", "logs.node-2.default.pod.web"),
    ("logcollector-node-1", "$JS.API.STREAM.INFO.LOGS"),
    ("controllers", "s.core.pods.default.a"),
    ("controllers", "l.leader.scheduler"),
    ("scheduler", "e.core.events.default.a"),
    ("scheduler", "$JS.API.STREAM.DELETE.STATE"),
    ("registry", "s.core.pods.default.a"),
    ("registry", "$JS.API.STREAM.INFO.STATE"),
    ("apiserver", "api.node.node-1.request"),
    ("apiserver", "$JS.API.STREAM.DELETE.STATE"),
]


@pytest.mark.parametrize(("user", "subject"), ALLOWED)
async def test_what_a_user_may_publish_arrives(
    nats_server: NatsServer, admin: Connection, user: str, subject: str
) -> None:
    arrived = asyncio.Event()
    await admin.subscribe(subject, lambda message: arrived.set())
    await admin.flush()
    async with connect(nats_server.settings(user), "test") as bus:
        await bus.publish(subject, b"x")
        async with asyncio.timeout(LIMIT_S):
            await arrived.wait()


@pytest.mark.parametrize(("user", "subject"), REFUSED)
async def test_what_a_user_may_not_publish_is_refused_at_once(
    nats_server: NatsServer, admin: Connection, user: str, subject: str
) -> None:
    heard: list[str] = []
    await admin.subscribe(subject, lambda message: heard.append(message.subject))
    await admin.flush()
    async with connect(nats_server.settings(user), "test") as bus:
        with pytest.raises(BrokerError, match="refuses"):
            await bus.call(subject, b"x", timeout=60)
    await admin.flush()
    assert heard == []


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("node-node-1", "agent.node-2.>"),
        ("node-node-1", "agent.>"),
        ("node-node-1", "_INBOX_node-node-2.>"),
        ("node-node-1", "api.node.>"),
        ("node-node-1", "s.>"),
        ("node-node-1", ">"),
        ("scheduler", "_INBOX_apiserver.>"),
        ("controllers", "api.node.>"),
    ],
)
async def test_what_a_user_may_not_subscribe_stays_unheard(
    nats_server: NatsServer, admin: Connection, user: str, subject: str
) -> None:
    heard: list[str] = []
    target = subject.replace(">", "secret")
    async with connect(nats_server.settings(user), "test") as bus:
        await bus.subscribe(subject, lambda message: heard.append(message.subject))
        own = asyncio.Event()
        inbox = f"{inbox_prefix(user)}.own"
        await bus.subscribe(inbox, lambda message: own.set())
        await bus.flush()
        await admin.publish(target, b"x")
        await admin.publish(inbox, b"behind it")
        async with asyncio.timeout(LIMIT_S):
            await own.wait()
    assert heard == []


async def test_a_node_added_later_is_served_without_a_new_connection(
    nats_server: NatsServer, admin: Connection
) -> None:
    async with connect(nats_server.settings("apiserver"), "test apiserver") as server:
        changes: list[bool] = []
        server.on_connection(changes.append)

        async def answer(message: object) -> None:
            await server.publish(message.reply, b"\xc3")  # type: ignore[attr-defined]

        await server.subscribe("api.node.*.request", answer, queue="apiserver")
        await server.flush()
        nats_server.add_user("node-late")
        async with asyncio.timeout(LIMIT_S), connect(nats_server.settings("node-late"), "late node") as node:
            assert await node.request("api.node.late.request", None, timeout=5) is True
        assert changes == []


async def test_a_wrong_password_is_refused_until_it_is_right(nats_server: NatsServer) -> None:
    settings = nats_server.settings("node-node-1")
    nats_server.credentials["node-node-1"] = "another"
    nats_server.add_user("node-node-3")
    async with connect(nats_server.settings("node-node-3"), "probe"):
        pass  # the broker knows the new user, so it has read the other's new password too
    async with asyncio.TaskGroup() as group:
        connection = Connection("node-node-1")
        opening = group.create_task(connection.open(settings, "test"), name="opening")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(opening)
        nats_server.credentials["node-node-1"] = settings.password
        nats_server.add_user("node-node-4")
        async with asyncio.timeout(LIMIT_S):
            await opening
        await connection.close()


async def test_an_acknowledgement_cannot_be_steered_into_the_state_log(
    nats_server: NatsServer, admin: Connection
) -> None:
    async with connect(nats_server.settings("node-node-1"), "test") as node:
        await node.publish("api.node.node-1.lease", b"x", reply="s.core.pods.default.forged")
        await node.flush()
    jetstream = JetStream(admin)
    assert await jetstream.last_message("NODES", "api.node.node-1.lease") is not None
    assert await jetstream.last_message("STATE", "s.core.pods.default.forged") is None


async def test_a_log_collector_cannot_steer_an_acknowledgement_either(
    nats_server: NatsServer, admin: Connection
) -> None:
    forged: list[str] = []
    for subject in ("s.>", "agent.>", "_INBOX_admin.x"):
        await admin.subscribe(subject, lambda message: forged.append(message.subject))
    await admin.flush()
    async with connect(nats_server.settings("logcollector-node-1"), "test") as collector:
        for target in ("s.core.pods.default.forged", "agent.node-1.open", "_INBOX_admin.x"):
            await collector.publish("logs.node-1.default.web.main", b"x", reply=target)
        # an acknowledgement that goes where it should, behind all of those
        assert await JetStream(collector).publish("logs.node-1.default.web.main", b"y") == 4
    await admin.flush()
    assert forged == []
    assert await JetStream(admin).last_message("STATE", "s.core.pods.default.forged") is None


async def test_a_request_without_api_server_fails_at_once_for_a_node_too(nats_server: NatsServer) -> None:
    async with connect(nats_server.settings("node-node-1"), "test") as node:
        with pytest.raises(NoResponders):
            await node.call("api.node.node-1.request", timeout=60)
