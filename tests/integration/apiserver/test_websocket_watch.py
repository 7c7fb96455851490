"""Watches over WebSockets, as browsers open them: protocols, frames, tokens and both ends of the conversation."""

import asyncio
import base64
import ssl
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.integration.apiserver.process import ApiServerProcess
from tests.integration.apiserver.test_apiserver_process import client, create
from tests.slowness import LIMIT_S

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
BINARY = "base64.binary.k8s.io"
BEARER = "base64url.bearer.authorization.k8s.io."


@pytest.fixture
def server(kept: ApiServerProcess) -> ApiServerProcess:
    return kept


async def event(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next event, which must be a frame of text."""
    async with asyncio.timeout(LIMIT_S):
        decoded: dict[str, Any] = msgspec.json.decode(await socket.receive_str())
    return decoded


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [((), None), ((BINARY,), BINARY), (("v4.channel.k8s.io", BINARY), "v4.channel.k8s.io")],
    ids=["none", "binary", "several"],
)
async def test_events_are_text_frames_whichever_protocol_is_named(
    server: ApiServerProcess, offered: Sequence[str], agreed: str | None
) -> None:
    async with client(server) as session:
        await create(session, CONFIGMAPS, {"metadata": {"name": "early"}})
        async with session.ws_connect(
            f"{CONFIGMAPS}?watch=1&fieldSelector=metadata.name!=kube-root-ca.crt", protocols=offered
        ) as socket:
            assert socket.protocol == agreed
            first = await event(socket)
            assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "early")
            # what a watcher says is ignored, be it text or bytes
            await socket.send_str("hello")
            await socket.send_bytes(b"\x00hello")
            await create(session, CONFIGMAPS, {"metadata": {"name": "late"}})
            assert (await event(socket))["object"]["metadata"]["name"] == "late"


async def test_the_server_says_farewell_when_the_watch_is_over(server: ApiServerProcess) -> None:
    async with client(server) as session:
        url = f"{CONFIGMAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&fieldSelector=metadata.name=none"
        async with session.ws_connect(url) as socket, asyncio.timeout(LIMIT_S):
            kinds = [msgspec.json.decode(message.data)["type"] async for message in socket]
        assert set(kinds) == {"BOOKMARK"}
        assert socket.close_code == aiohttp.WSCloseCode.OK


async def test_a_watcher_that_says_farewell_is_answered(server: ApiServerProcess) -> None:
    url = f"{CONFIGMAPS}?watch=1&fieldSelector=metadata.name=none"
    async with client(server) as session, session.ws_connect(url) as socket:
        async with asyncio.timeout(LIMIT_S):
            assert await socket.close()
        assert socket.close_code == aiohttp.WSCloseCode.OK


async def test_a_bad_watch_is_refused_before_the_upgrade(server: ApiServerProcess) -> None:
    async with client(server) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{CONFIGMAPS}?watch=1&resourceVersion=none")
        assert refused.value.status == 400


async def test_a_browser_brings_its_token_as_a_protocol(server: ApiServerProcess) -> None:
    token = BEARER + base64.urlsafe_b64encode(server.token.encode()).decode().rstrip("=")
    context = ssl.create_default_context(cafile=str(server.pki.ca_certificate))
    async with client(server) as outer, aiohttp.ClientSession(server.url) as session:
        await create(outer, CONFIGMAPS, {"metadata": {"name": "early"}})
        url = f"{CONFIGMAPS}?watch=1&fieldSelector=metadata.name=early"
        async with session.ws_connect(url, protocols=(token, BINARY), ssl=context) as socket:
            assert socket.protocol == BINARY
            assert (await event(socket))["object"]["metadata"]["name"] == "early"
        for offered in ((), (token,), (token, token, BINARY), (BEARER + "bm9uZQ", BINARY)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url, protocols=offered, ssl=context)
            assert refused.value.status == (401 if offered else 403)
