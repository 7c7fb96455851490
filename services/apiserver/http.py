"""HTTP in front of the pipeline: TLS, credentials, bodies, and answers as bytes, chunks or WebSocket frames.

aiohttp's low-level server is used without its router and middlewares: every path goes the same way, and the framework's
own error pages would not be `Status` objects.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aiohttp import ClientConnectionResetError, web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from services.apiserver import instruments, negotiation, render, routes
from services.apiserver.auth import requests
from services.apiserver.auth.authentication import Authenticator
from services.apiserver.auth.impersonation import impersonate
from services.apiserver.failures import MAX_BODY, internal, status_of, too_large
from services.apiserver.negotiation import Accepted
from services.apiserver.pipeline import Pipeline
from services.apiserver.protocol import (
    JSON,
    Document,
    Item,
    Listing,
    Outcome,
    Query,
    Raw,
    Request,
    Stream,
    Upgrade,
    Watching,
)
from shared.errors import ApiError, NotAcceptable

log = logging.getLogger(__name__)

DEFAULT_HEADERS = (("Cache-Control", "no-cache, private"),)
KEEPALIVE_S = 180.0
SHUTDOWN_S = 2.0


class HttpServer:
    """Serves the API on several addresses; `close` ends running watches and streams."""

    def __init__(self, pipeline: Pipeline, authenticator: Authenticator) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._runner: web.ServerRunner | None = None
        self._open: set[asyncio.Task[object]] = set()

    async def start(self, addresses: Sequence[tuple[str, int]], context: ssl.SSLContext) -> list[tuple[str, int]]:
        """Listen; returns the addresses with the ports that were bound. OSError if one cannot be had."""
        server = web.Server(
            self._serve,
            request_factory=_make_request,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        bound = []
        for host, port in addresses:
            listener = _listen(host, port)
            await web.SockSite(self._runner, listener, ssl_context=context, backlog=1024).start()
            bound.append((host, listener.getsockname()[1]))
        return bound

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        for site in list(runner.sites):
            await site.stop()
        for task in self._open:
            task.cancel()
        await runner.cleanup()

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        request: Request | None = None
        began = time.perf_counter()
        code = 500
        try:
            request = await self._receive(http)
            outcome = await self._pipeline.handle(request)
            response = await self._respond(http, request, outcome)
            code = response.status
        except ApiError as exc:
            code = exc.code
            return _failure(http, request, exc)
        except Exception as exc:
            log.exception("request %s %s failed", http.method, http.path)
            return _failure(http, request, internal(f"{type(exc).__name__}: {exc}"))
        else:
            return response
        finally:
            if request is not None:
                _record(request, code, time.perf_counter() - began)

    async def _receive(self, http: web.BaseRequest) -> Request:
        headers = {name.lower(): value for name, value in http.headers.items()}
        certificate = http.get_extra_info("peercert")
        user = await self._authenticator.authenticate(headers, certificate)
        if any(name.startswith("impersonate-") for name in headers):
            action = requests.attributes(http.method, http.rel_url.path, watch="watch" in http.rel_url.query)
            user = impersonate(user, _lists(http.headers.items(), lower=True), self._pipeline.authorizer, action)
        body = b""
        if http.can_read_body:
            if headers.get("expect", "").lower() == "100-continue" and http.transport is not None:
                http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            try:
                body = await http.read()
            except web.HTTPRequestEntityTooLarge as exc:
                raise too_large() from exc
        url = http.rel_url
        query = Query(_lists(url.query.items()))
        return Request(user, http.method, url.path, query, headers, body)

    async def _respond(self, http: web.BaseRequest, request: Request, outcome: Outcome) -> web.StreamResponse:
        if not isinstance(outcome, Watching | Stream | Upgrade):
            return _bytes(request, to_raw(request, outcome))
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            match outcome:
                case Watching():
                    return await _watch(http, request, outcome)
                case Stream():
                    return await _stream(http, request, outcome)
                case Upgrade():
                    return await _upgrade(http, outcome)
        finally:
            self._open.discard(task)


def to_raw(request: Request, outcome: Item | Listing | Document | Raw) -> Raw:
    """An outcome in the form the client accepts."""
    if isinstance(outcome, Raw):
        return outcome
    accepted = negotiation.accept(request.headers.get("accept", ""))
    if isinstance(outcome, Item):
        return render.item(outcome, accepted, request.query)
    if isinstance(outcome, Listing):
        return render.listing(outcome, accepted, request.query)
    return render.document(outcome, accepted)


def server_context(certificate: Path, key: Path, client_authority: Path) -> ssl.SSLContext:
    """TLS of the API server: client certificates are asked for and checked, but not demanded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client_authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _watch(http: web.BaseRequest, request: Request, outcome: Watching) -> web.StreamResponse:
    resource = outcome.resource
    accepted = _watch_form(request)
    counter = instruments.WATCH_EVENTS.labels(resource.group, resource.version, resource.kind)
    instruments.LONG_RUNNING.labels("WATCH").inc()
    response: web.StreamResponse | web.WebSocketResponse
    try:
        if _wants_websocket(request):
            response = web.WebSocketResponse(heartbeat=30.0)
        else:
            response = web.StreamResponse(headers=_headers(request, Raw(b"", JSON)))
            response.enable_chunked_encoding()
        await response.prepare(http)
        with contextlib.suppress(ClientConnectionResetError):
            async for batch in outcome.batches:
                lines = [render.event(resource, one, accepted, request.query) for one in batch]
                if isinstance(response, web.WebSocketResponse):
                    for line in lines:
                        await response.send_str(line.decode())
                else:
                    await response.write(b"".join(lines))
                counter.inc(len(lines))
            if isinstance(response, web.WebSocketResponse):
                await response.close()
            else:
                await response.write_eof()
        return response
    finally:
        instruments.LONG_RUNNING.labels("WATCH").dec()
        outcome.close()


async def _stream(http: web.BaseRequest, request: Request, outcome: Stream) -> web.StreamResponse:
    try:
        response = web.StreamResponse(headers=_headers(request, Raw(b"", outcome.content_type)))
        response.enable_chunked_encoding()
        await response.prepare(http)
        with contextlib.suppress(ClientConnectionResetError):
            async for chunk in outcome.chunks:
                await response.write(chunk)
            await response.write_eof()
        return response
    finally:
        if outcome.close is not None:
            await outcome.close()


async def _upgrade(http: web.BaseRequest, outcome: Upgrade) -> web.StreamResponse:
    # the size of a frame is limited by the sender's own buffers; compression only costs here
    socket_response = web.WebSocketResponse(protocols=outcome.protocols, heartbeat=30.0, max_msg_size=0, compress=False)
    await socket_response.prepare(http)
    instruments.LONG_RUNNING.labels("CONNECT").inc()
    try:
        await outcome.serve(socket_response)
    finally:
        instruments.LONG_RUNNING.labels("CONNECT").dec()
        if not socket_response.closed:
            await socket_response.close()
    return socket_response


def _watch_form(request: Request) -> Accepted:
    try:
        accepted = negotiation.accept(request.headers.get("accept", ""))
    except NotAcceptable:
        return Accepted(JSON)
    # events are lines of JSON in any case; clients that prefer protobuf name JSON as well
    return Accepted(JSON, accepted.transformation, accepted.version)


def _bytes(request: Request, raw: Raw) -> web.Response:
    return web.Response(body=raw.body, status=raw.status, headers=_headers(request, raw))


def _failure(http: web.BaseRequest, request: Request | None, error: ApiError) -> web.Response:
    accepted = Accepted(JSON)
    if request is not None:
        with contextlib.suppress(NotAcceptable):
            accepted = Accepted(negotiation.accept(request.headers.get("accept", "")).media)
    body = b"" if http.method == "HEAD" else render.encode(status_of(error), accepted.media)
    headers = _headers(request, Raw(body, accepted.media, error.code))
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry:
        headers.append(("Retry-After", str(retry)))
    return web.Response(body=body, status=error.code, headers=headers)


def _headers(request: Request | None, raw: Raw) -> list[tuple[str, str]]:
    headers = [("Content-Type", raw.content_type)] if raw.content_type else []
    present = {name for name, _ in raw.headers}
    headers += [*raw.headers, *(one for one in DEFAULT_HEADERS if one[0] not in present)]
    for warning in dict.fromkeys(request.warnings if request is not None else ()):
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
        headers.append(("Warning", f'299 - "{text}"'))
    return headers


def _record(request: Request, code: int, seconds: float) -> None:
    with contextlib.suppress(ApiError):
        target = routes.resolve(request.path)
        if target is None:
            return
        verb = routes.verb_of(target, request.method, watch=request.query.flag("watch")).upper()
        resource = target.resource
        instruments.REQUESTS.labels(
            verb, resource.group, resource.version, resource.plural, target.subresource_name, str(code)
        ).inc()
        if verb != "WATCH" and target.subresource_name not in ("exec", "attach", "portforward", "log"):
            instruments.DURATION.labels(verb, resource.group, resource.plural).observe(seconds)


def _wants_websocket(request: Request) -> bool:
    return request.headers.get("upgrade", "").lower() == "websocket"


def _lists(pairs: Iterable[tuple[str, str]], *, lower: bool = False) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.lower() if lower else name, []).append(value)
    return found


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: object,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)  # type: ignore[arg-type]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # several server processes share the port
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener
