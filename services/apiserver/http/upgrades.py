"""Connections that become WebSockets, or SPDY ones: exec, attach, port-forward, logs and watches for browsers.

They are few, and aiohttp speaks the protocol; it is given the connection with the request that asked for the upgrade.
"""

import asyncio
import contextlib
import logging

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from services.apiserver import instruments, render
from services.apiserver.audit.ids import audit_id
from services.apiserver.auth.authentication import BEARER_PROTOCOL
from services.apiserver.failures import MAX_BODY, internal
from services.apiserver.http import answers
from services.apiserver.http.arrivals import Arrival
from services.apiserver.http.certificates import peer_certificate
from services.apiserver.http.connection import Service
from services.apiserver.http.watches import watch_form
from services.apiserver.protocol import ProtocolSwitch, Raw, Request, Stream, Upgrade, Watching
from services.apiserver.streaming.pipes import RawPipe
from shared.errors import ApiError

log = logging.getLogger(__name__)

HEARTBEAT_S = 30.0


class Upgrades:
    """Serves requests that come with `Upgrade: websocket` or SPDY/3.1, each on a connection of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._server = web.Server(
            self._serve, request_factory=_make_request, handler_cancellation=True, access_log=None
        )

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Serve what arrives on a connection from now on; `data` is the request that began it."""
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    async def close(self, timeout: float) -> None:
        """End what is open."""
        await self._server.shutdown(timeout)

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        request: Request | None = None
        arrival = _arrival(http)
        try:
            request = await self._service.receive(arrival, peer_certificate(http.get_extra_info))
            outcome = await self._service.handle(request)
            match outcome:
                case Watching():
                    return await _watch(http, request, outcome)
                case Upgrade():
                    return await _upgrade(http, outcome)
                case ProtocolSwitch():
                    return await _switch(http, outcome)
                case Stream():
                    return await _stream(http, request, outcome)
            return _response(request, answers.to_raw(request, outcome))
        except ApiError as exc:
            return _response(arrival.request, answers.failure(arrival.request, exc))
        except Exception as exc:
            log.exception("request %s %s failed", http.method, http.path)
            return _response(request, answers.failure(request, internal(f"{type(exc).__name__}: {exc}")))


def _arrival(http: web.BaseRequest) -> Arrival:
    arrival = Arrival()
    arrival.method, arrival.peer = http.method, http.remote or ""
    arrival.url = http.path_qs.encode() if http.rel_url.raw_path_qs is None else http.rel_url.raw_path_qs.encode()
    for name, value in http.raw_headers:
        arrival.add_header(name, value)
    return arrival


async def _watch(http: web.BaseRequest, request: Request, outcome: Watching) -> web.StreamResponse:
    resource = outcome.resource
    accepted = watch_form(request)
    counter = instruments.WATCH_EVENTS.labels(resource.group, resource.version, resource.kind)
    instruments.LONG_RUNNING.labels("WATCH").inc()
    # kube-apiserver agrees to any protocol a watcher names, and sends the same text frames whichever it is
    offered = [one.strip() for one in request.headers.get("sec-websocket-protocol", "").split(",")]
    protocols = [one for one in offered if one and not one.startswith(BEARER_PROTOCOL)][:1]
    response = web.WebSocketResponse(protocols=protocols, heartbeat=HEARTBEAT_S)

    async def send_events() -> None:
        with contextlib.suppress(ConnectionResetError):
            async for batch in outcome.batches:
                for one in batch:
                    await response.send_str(render.event(resource, one, accepted, request.query).decode())
                counter.inc(len(batch))

    async def read_away() -> None:
        # what a watcher says means nothing, but its farewell must be heard
        async for _ in response:
            pass

    try:
        await response.prepare(http)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(send_events(), name="events to a WebSocket"),
                group.create_task(read_away(), name="messages of a watcher"),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        await response.close()
        return response
    finally:
        instruments.LONG_RUNNING.labels("WATCH").dec()
        outcome.close()


async def _upgrade(http: web.BaseRequest, outcome: Upgrade) -> web.StreamResponse:
    # the size of a frame is limited by the sender's own buffers; compression only costs here
    response = web.WebSocketResponse(protocols=outcome.protocols, heartbeat=HEARTBEAT_S, max_msg_size=0, compress=False)
    await response.prepare(http)
    instruments.LONG_RUNNING.labels("CONNECT").inc()
    try:
        await outcome.serve(response)
    finally:
        instruments.LONG_RUNNING.labels("CONNECT").dec()
        if not response.closed:
            await response.close()
    return response


async def _switch(http: web.BaseRequest, outcome: ProtocolSwitch) -> web.StreamResponse:
    pipe = RawPipe(http)
    response = web.StreamResponse(status=101, reason="Switching Protocols", headers=CIMultiDict(outcome.headers))
    instruments.LONG_RUNNING.labels("CONNECT").inc()
    try:
        await pipe.open(http, response)
        await outcome.serve(pipe)
    finally:
        instruments.LONG_RUNNING.labels("CONNECT").dec()
    return response


async def _stream(http: web.BaseRequest, request: Request, outcome: Stream) -> web.StreamResponse:
    """The answer of whoever does not want to change the protocol."""
    begun = Raw(b"", outcome.content_type, outcome.status, outcome.headers)
    response = web.StreamResponse(status=begun.status, headers=CIMultiDict(answers.headers(request, begun)))
    response.force_close()
    try:
        await response.prepare(http)
        async for data in outcome.chunks:
            await response.write(data)
        await response.write_eof()
    finally:
        if outcome.close is not None:
            await outcome.close()
    return response


def _response(request: Request | None, raw: Raw) -> web.Response:
    headers = [*answers.headers(request, raw), ("Audit-Id", audit_id(request))]
    return web.Response(body=raw.whole, status=raw.status, headers=headers)


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: object,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)  # type: ignore[arg-type]
