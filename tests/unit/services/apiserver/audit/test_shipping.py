"""Audit events reach a webhook in batches, with its credentials, and only so many are kept for one that is away."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiohttp import web

from services.apiserver.audit import instruments
from services.apiserver.audit.batching import Batching
from services.apiserver.audit.receiver import Receiver
from services.apiserver.audit.shipping import TRIES, Shipper
from shared.errors import SettingsError
from tests.fakes.webhooks import webhook_server

EVENT = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"%d"}\n'


@dataclass
class Listener:
    url: str = ""
    status: int = 200
    batches: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def hear(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("authorization", ""))
        self.batches.append(msgspec.json.decode(await request.read()))
        self.heard.set()
        return web.Response(status=self.status)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    app = web.Application()
    app.router.add_post("/events", listener.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    listener.url = f"http://127.0.0.1:{port}/events"
    yield listener
    await runner.cleanup()


async def at_once(delay: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def shipping(
    receiver: Receiver, batching: Batching, sleep: Callable[[float], Awaitable[None]] = at_once
) -> AsyncIterator[Shipper]:
    shipper = Shipper(receiver, batching, sleep)
    task = asyncio.create_task(shipper.run(), name="shipper")
    try:
        yield shipper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await shipper.close()


def identifiers(batch: dict[str, Any]) -> list[str]:
    return [one["auditID"] for one in batch["items"]]


async def test_a_full_batch_goes_at_once_and_the_rest_at_the_end(listener: Listener) -> None:
    sent = asyncio.Event()

    async def sleep(delay: float) -> None:
        sent.set()

    receiver = Receiver(listener.url, headers={"authorization": "Bearer t"})
    async with shipping(receiver, Batching(size=2, wait=60), sleep) as to:
        for number in range(3):
            to.write(EVENT % number)
        async with asyncio.timeout(10):
            await sent.wait()
    first, last = listener.batches
    assert (first["kind"], first["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
    assert first["items"] == [{"auditID": "0"}, {"auditID": "1"}]
    assert identifiers(last) == ["2"]
    assert listener.tokens == ["Bearer t"] * 2


async def test_a_batch_that_does_not_fill_goes_when_its_time_is_up(listener: Listener) -> None:
    async with shipping(Receiver(listener.url), Batching(size=100, wait=0.01)) as to:
        to.write(EVENT % 7)
        async with asyncio.timeout(10):
            await listener.heard.wait()
        assert identifiers(listener.batches[0]) == ["7"]


async def test_a_server_that_fails_is_tried_again_and_then_what_it_lost_is_counted(listener: Listener) -> None:
    listener.status = 503
    given_up = asyncio.Event()
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)
        if len(delays) == TRIES:
            given_up.set()
        await asyncio.sleep(0)

    lost = instruments.ERRORS.labels("webhook")
    before = lost._value.get()
    async with shipping(Receiver(listener.url), Batching(size=1, wait=60), sleep) as to:
        to.write(EVENT % 1)
        async with asyncio.timeout(10):
            await given_up.wait()
        assert len(listener.batches) == TRIES
        assert delays[:3] == [10.0, 15.0, 22.5]
        assert lost._value.get() == before + 1


async def test_what_does_not_fit_is_lost_and_counted(listener: Listener) -> None:
    lost = instruments.ERRORS.labels("webhook")
    before = lost._value.get()
    to = Shipper(Receiver(listener.url), Batching(buffer=2))
    for number in range(3):
        to.write(EVENT % number)
    assert lost._value.get() == before + 1
    await to.close()
    assert [identifiers(one) for one in listener.batches] == [["0", "1"]]


def kubeconfig(path: Path, cluster: dict[str, Any], user: dict[str, Any] | None = None) -> Path:
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def test_the_kubeconfig_says_whom_to_trust_and_who_we_are(tmp_path: Path) -> None:
    async with webhook_server(tmp_path) as server:
        trusted = {"server": server.url, "certificate-authority-data": server.bundle}
        receiver = Receiver.load(kubeconfig(tmp_path / "k", trusted, {"username": "a", "password": "b"}))
        assert receiver.headers == {"authorization": f"Basic {base64.b64encode(b'a:b').decode()}"}
        assert receiver.context is not None
        assert len(receiver.context.get_ca_certs()) == 1
    (tmp_path / "token").write_text("secret\n")
    plain = Receiver.load(kubeconfig(tmp_path / "k", {"server": "http://a/"}, {"tokenFile": "token"}))
    assert plain == Receiver("http://a/", None, {"authorization": "Bearer secret"})


def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"k cannot be used: clusters\[\]\.cluster\.server: 'a:1' is no URL"):
        Receiver.load(kubeconfig(tmp_path / "k", {"server": "a:1"}))
    (tmp_path / "k").write_text("current-context: z")
    with pytest.raises(SettingsError, match="current-context: there is no context 'z'"):
        Receiver.load(tmp_path / "k")
    with pytest.raises(SettingsError, match="nowhere cannot be used"):
        Receiver.load(tmp_path / "nowhere")
