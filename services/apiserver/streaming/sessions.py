"""exec, attach and port-forward: WebSocket or SPDY towards the client, a stream over the bus towards the node's agent.

Channels are those of Kubernetes' remote command protocol: 0 stdin, 1 stdout, 2 stderr, 3 a Status when it is over,
4 terminal sizes; in v5 a message on 255 closes the channel that its byte names (KEP-4006).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.apiserver.failures import bad_request
from services.apiserver.protocol import STREAM_PROTOCOL, Object, Outcome, ProtocolSwitch, Request, Upgrade
from services.apiserver.routes import Target
from services.apiserver.store import Store
from services.apiserver.streaming.forwarding import FORWARD_PROTOCOLS, SPDY_PROTOCOL, Forwarder
from services.apiserver.streaming.pipes import Pipe, WebSocketPipe
from services.apiserver.streaming.places import Place, place_of
from services.apiserver.streaming.spdysessions import COMMAND_PROTOCOLS as SPDY_COMMAND_PROTOCOLS
from services.apiserver.streaming.spdysessions import CommandSession
from shared.bus.port import Bus
from shared.bus.streams import BusStream, open_stream
from shared.errors import ApiError, Forbidden, StreamBroken
from shared.objects import json

if TYPE_CHECKING:
    from aiohttp import web

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
COMMAND_PROTOCOLS = (
    *("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"),
    *("channel.k8s.io", "base64.channel.k8s.io"),
)
SPDY_FORWARD_PROTOCOLS = ("portforward.k8s.io",)
WITH_STATUS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io")


@dataclass(frozen=True, slots=True)
class Sessions:
    """Serves pods/NAME/exec, /attach and /portforward."""

    bus: Bus
    store: Store

    async def execute(self, request: Request, target: Target) -> Outcome:
        command = request.query.all("command")
        if not command:
            raise bad_request("you must specify at least 1 command for the container")
        return await self._command(request, target, "exec", {"command": command})

    async def attach(self, request: Request, target: Target) -> Outcome:
        return await self._command(request, target, "attach", {})

    async def _command(self, request: Request, target: Target, operation: str, extra: Object) -> Outcome:
        spoken = _upgrade(request)
        pod = (await self.store.latest(target.resource, target.namespace, target.name)).object
        phase = pod.get("status", {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            raise bad_request(f"cannot {operation} into a container in a completed pod; current phase is {phase}")
        place = place_of(pod, request.query.get("container"))
        flags = {name: request.query.flag(name) for name in ("stdin", "stdout", "stderr", "tty")}
        if not (flags["stdin"] or flags["stdout"] or flags["stderr"]):
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        if flags["tty"]:
            # a terminal has one output
            flags["stderr"] = False
        if spoken == "spdy":
            return await self._over_spdy(place, operation, flags, extra, request)
        try:
            stream = await open_stream(self.bus, place.node, operation, place.parameters() | flags | extra)
        except ApiError as exc:
            # kubectl takes a refused upgrade for a server without WebSocket and asks again with SPDY; told on the
            # error channel, it shows the reason
            refusal = exc.status()

            async def refuse(connection: web.WebSocketResponse) -> None:
                await WebSocketPipe(connection).send(bytes((ERROR,)) + _outcome(connection, refusal))

            return Upgrade(COMMAND_PROTOCOLS, refuse)

        async def serve(connection: web.WebSocketResponse) -> None:
            await relay(connection, stream)

        return Upgrade(COMMAND_PROTOCOLS, serve)

    async def _over_spdy(
        self, place: Place, operation: str, flags: dict[str, bool], extra: Object, request: Request
    ) -> Outcome:
        protocol = _agreed(request, SPDY_COMMAND_PROTOCOLS)
        wanted = {"error"} | {name for name in ("stdin", "stdout", "stderr") if flags[name]}
        if flags["tty"]:
            wanted.add("resize")
        stream = await open_stream(self.bus, place.node, operation, place.parameters() | flags | extra)

        async def serve(pipe: Pipe) -> None:
            await CommandSession(pipe, stream, frozenset(wanted)).run()

        return ProtocolSwitch.to_spdy(protocol, serve)

    async def forward(self, request: Request, target: Target) -> Outcome:
        spoken = _upgrade(request)
        pod = (await self.store.latest(target.resource, target.namespace, target.name)).object
        place = place_of(pod, pod["spec"]["containers"][0]["name"])
        if spoken == "spdy":
            protocol = _agreed(request, SPDY_FORWARD_PROTOCOLS)
            return ProtocolSwitch.to_spdy(protocol, lambda pipe: Forwarder(self.bus, place, pipe).run_spdy())
        ports = _ports(request.query.all("ports"))

        async def serve(connection: web.WebSocketResponse) -> None:
            forwarder = Forwarder(self.bus, place, WebSocketPipe(connection))
            if connection.ws_protocol == SPDY_PROTOCOL:
                await forwarder.run_spdy()
            else:
                await forwarder.run_channels(ports)

        return Upgrade(FORWARD_PROTOCOLS, serve)


async def relay(connection: web.WebSocketResponse, stream: BusStream) -> None:
    """Carry both directions until the command ends or the client leaves."""
    try:
        async with asyncio.TaskGroup() as group:
            inward = group.create_task(_inward(connection, stream), name="client to node")
            group.create_task(_outward(connection, stream, inward), name="node to client")
    except* (ConnectionResetError, StreamBroken):
        pass
    finally:
        await stream.close()


async def _inward(connection: web.WebSocketResponse, stream: BusStream) -> None:
    pipe = WebSocketPipe(connection)
    while (content := await pipe.receive()) is not None:
        if not content:
            continue
        channel, data = content[0], content[1:]
        if channel not in (STDIN, RESIZE, CLOSE) or stream.closed:
            continue
        if data or channel == CLOSE:
            await stream.send(channel, data)
    # the client is gone: the agent's handler must learn it even when it is silent
    await stream.close()


async def _outward(connection: web.WebSocketResponse, stream: BusStream, inward: asyncio.Task[None]) -> None:
    told = False
    pipe = WebSocketPipe(connection)
    try:
        async for channel, data in stream:
            told = told or channel == ERROR
            if channel in (STDOUT, STDERR, ERROR):
                await pipe.send(bytes((channel,)) + data)
        status = stream.status or {"metadata": {}, "status": "Success"}
    except StreamBroken as exc:
        status = {"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500, "message": str(exc)}
    if not told and not connection.closed and (text := _outcome(connection, status)):
        await pipe.send(bytes((ERROR,)) + text)
    await connection.close()
    inward.cancel()


def _outcome(connection: web.WebSocketResponse, status: Object) -> bytes:
    """How a session ended, as its protocol tells it: before v4 as plain text, and of success nothing."""
    if connection.ws_protocol in WITH_STATUS:
        return json.encode(status)
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()


def _upgrade(request: Request) -> str:
    """websocket or spdy, as the client asks for. BadRequest for anything else."""
    wanted = request.headers.get("upgrade", "").lower()
    if wanted not in ("websocket", "spdy/3.1"):
        raise bad_request("Upgrade request required: WebSocket and SPDY/3.1 are served")
    return wanted.partition("/")[0]


def _agreed(request: Request, served: Sequence[str]) -> str:
    """The first protocol that both know. Forbidden, as in Kubernetes, if there is none."""
    header = request.headers.get(STREAM_PROTOCOL.lower(), "")
    asked = [part.strip() for part in header.split(",") if part.strip()]
    for protocol in asked:
        if protocol in served:
            return protocol
    text = f"client supports [{' '.join(asked)}], server accepts [{' '.join(served)}]"
    raise Forbidden(f"unable to upgrade: unable to negotiate protocol: {text}")


def _ports(values: Sequence[str]) -> list[int]:
    ports = []
    for value in values:
        for text in value.split(","):
            if not text.isdigit() or not 0 < int(text) < 65536:
                raise bad_request(f'query parameter "ports" holds {text!r}, which is no port')
            ports.append(int(text))
    return ports
