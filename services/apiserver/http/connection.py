"""One HTTP/1.1 connection: llhttp parses its requests, one task serves them one after the other.

aiohttp's server spent more time on a small request than everything behind it (docs/adr/0007). This knows just what the
API needs: bodies of a length or in chunks, keep-alive, pipelining, 100-continue, answers of a length or in chunks, and
back-pressure in both directions. A request to speak WebSocket or SPDY is given to aiohttp with the whole connection.

Time limits are kept by one sweep over all connections: a timer for each request would cost as much as its parsing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from typing import Any, Final, Protocol, cast

import httptools

from services.apiserver.failures import bad_request, header_too_large, internal, timed_out, too_many
from services.apiserver.http import answers
from services.apiserver.http.arrivals import MAX_HEAD, Arrival
from services.apiserver.http.certificates import peer_certificate
from services.apiserver.http.inflow import Inflow
from services.apiserver.http.watches import send_stream, send_watch
from services.apiserver.protocol import Outcome, ProtocolSwitch, Raw, Request, Stream, Upgrade, Watching
from shared.errors import ApiError
from shared.identity.users import User

log = logging.getLogger(__name__)

# between requests; kube-apiserver's own clients drop idle connections after 90 seconds
KEEPALIVE_S = 180.0
# from the first byte of a request to its last header, and to its last byte
HEAD_S = 30.0
BODY_S = 60.0
# a client that takes nothing of its answer for so long is gone or hostile
STALLED_S = 60.0
# time to read the answer to a request that was refused before it had arrived
LINGER_S = 2.0
REQUEST_S = 60.0
# requests that may wait behind the one being served, on one connection
PIPELINED = 16

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Service(Protocol):
    """What a connection needs of the server behind it."""

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def serve_shortly(self, connection: Connection, data: bytes) -> bool:
        """Serve a request that came in one piece on a connection that waits for one; False leaves it to the parser."""
        ...

    def remember(self, arrival: Arrival, data: bytes) -> None:
        """Take note of a request that was all that came in one piece."""
        ...

    async def receive(self, arrival: Arrival, certificate: dict[str, Any] | None) -> Request:
        """The request with its caller; ApiError if it may not even be looked at."""
        ...

    async def handle(self, request: Request) -> Outcome: ...

    def reserve(self, size: int) -> bool:
        """Whether so many more bytes of bodies may be held; they count in any case, until they are released."""
        ...

    def release(self, size: int) -> None: ...

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Serve the rest of a connection that begins with a request to become a WebSocket."""
        ...


class Connection(asyncio.Protocol):
    """See the module. `run` is the task that serves it; it ends when the connection does."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._arrival: Arrival | None = None
        self._head_bytes = 0
        self._waiting: deque[Arrival] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._certificate: dict[str, Any] | None = None
        # the caller by his certificate, once he is known
        self.certified: User | None = None
        # requests that arrive from now on are not read
        self._deaf = False
        self._reading_paused = False
        self._long = False
        self._serving = False
        # answered without the task, behind a barrier
        self._short = False
        # what the parser is given, if it begins with a request
        self._piece = b""
        self._expired = False
        self._handed_over = False
        self.chunked = True
        # when what the connection is waiting for must have happened, by the loop's clock
        self._arrival_due = 0.0
        self._serving_due = 0.0
        self._idle_since = self._loop.time()
        self._stalled_since = 0.0

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports fulfil the interface without inheriting it
        self._transport = cast(asyncio.Transport, transport)
        self._certificate = peer_certificate(transport.get_extra_info)
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        self._arrival_due = self._loop.time() + HEAD_S
        self._service.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        unserved = [*self._waiting, *([self._arrival] if self._arrival is not None else ())]
        self._service.release(sum(one.size for one in unserved))
        self._waiting.clear()
        if self._arrival is not None and self._arrival.inflow is not None:
            self._arrival.inflow.fail()
        self._arrival = None
        self._service.closed(self)
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._stalled_since = self._loop.time()
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        self._stalled_since = 0.0
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._arrival is None:
            free = not self._serving and not self._waiting and (self.certified is not None or not self._certificate)
            if free and self._service.serve_shortly(self, data):
                return
            self._piece = data
        else:
            self._piece = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._upgrade(data[exc.args[0] :])
            return
        except httptools.HttpParserError as exc:
            self._refuse(self._arrival or Arrival(), bad_request(f"the request is not HTTP/1.1: {exc}"))
            return
        arrival = self._arrival
        if arrival is None or self._deaf:
            return
        if arrival.error is not None:
            self._refuse(arrival, arrival.error)
        elif not arrival.method:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(arrival, header_too_large())

    # what the parser finds

    def on_message_begin(self) -> None:
        self._arrival = Arrival()
        self._arrival.peer = self._peer
        self._head_bytes = 0
        self._arrival_due = self._loop.time() + HEAD_S

    def on_url(self, url: bytes) -> None:
        assert self._arrival is not None
        self._arrival.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._arrival is not None
        self._arrival.add_header(name, value)

    def on_headers_complete(self) -> None:
        arrival = self._arrival
        assert arrival is not None
        arrival.method = self._parser.get_method().decode()
        arrival.version = self._parser.get_http_version()
        arrival.close = not self._parser.should_keep_alive()
        arrival.check_head(upgrades=self._parser.should_upgrade())
        self._arrival_due += BODY_S - HEAD_S
        waits = arrival.headers.get("expect", "").lower() == "100-continue" and arrival.error is None
        if waits and not (self._serving or self._waiting):
            # otherwise an answer is due first, and the client may send its body at any time
            self._transport.write(CONTINUE)
        if not self._parser.should_upgrade() and arrival.passes_on():
            arrival.inflow = Inflow(self._transport)
            self._enqueue(arrival)

    def on_body(self, data: bytes) -> None:
        arrival = self._arrival
        assert arrival is not None
        if arrival.inflow is not None:
            arrival.inflow.feed(data)
            return
        arrival.add_body(data)
        if not self._service.reserve(len(data)) and arrival.error is None:
            arrival.error = too_many("too much is being sent to the server at once, please try again later")

    def on_message_complete(self) -> None:
        arrival, self._arrival = self._arrival, None
        assert arrival is not None
        self._arrival_due = 0.0
        if arrival.inflow is not None:
            arrival.inflow.end()
            return
        if self._deaf:
            return
        if arrival.error is not None:
            self._refuse(arrival, arrival.error)
        else:
            if self._piece and arrival.method == "GET":
                self._service.remember(arrival, self._piece)
            self._enqueue(arrival)

    def _enqueue(self, arrival: Arrival) -> None:
        self._waiting.append(arrival)
        if len(self._waiting) >= PIPELINED and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake_task()

    def _wake_task(self) -> None:
        if self._wake is not None and not self._wake.done() and not self._short:
            self._wake.set_result(None)

    def _refuse(self, arrival: Arrival, error: ApiError) -> None:
        """Answer what cannot be read any further, in its turn, and read no more."""
        self._arrival = None
        self._deaf = True
        if arrival.inflow is not None:
            # it is being served already
            arrival.close = True
            arrival.inflow.fail()
            return
        arrival.error, arrival.close = error, True
        self._enqueue(arrival)

    def _upgrade(self, rest: bytes) -> None:
        # the parser has told of the whole message before it stopped
        arrival = self._waiting[-1]
        if arrival.headers.get("upgrade", "").lower() in ("websocket", "spdy/3.1"):
            arrival.rest = rest
            self._deaf = True
            if self._serving or len(self._waiting) > 1:
                # in its turn: whoever asks for another protocol says nothing more until he is answered
                self._transport.pause_reading()
                return
            self._waiting.pop()
            if self._task is not None:
                self._task.cancel()
            self._hand_over(arrival)
            return
        # a server may go on as if it had not been asked (RFC 9110, 7.8)
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self.data_received(rest)

    def _hand_over(self, arrival: Arrival) -> None:
        """Give the connection away with a request to change the protocol, which the caller has taken from the queue."""
        assert arrival.rest is not None
        self._handed_over = True
        self._service.closed(self)
        self._service.take_over(self._transport, arrival.head() + arrival.rest)

    # what the server does

    def start(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def sweep(self, now: float) -> None:
        """Enforce the time limits."""
        if self._stalled_since and now - self._stalled_since > STALLED_S:
            self._transport.abort()
        elif self._serving:
            if not self._long and now > self._serving_due and not self._expired and self._task is not None:
                self._expired = True
                self._task.cancel()
        elif now > (self._arrival_due or self._idle_since + KEEPALIVE_S):
            self._transport.close()

    def shut(self) -> None:
        """Close once the request being served is answered; watches and streams end at once."""
        self._deaf = True
        if not self._serving:
            self._transport.close()
        elif self._long and self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        self._transport.abort()

    async def run(self) -> None:
        """Serve requests until one of the two sides closes."""
        try:
            await self._run()
        except Exception:
            # one connection must not end the process
            log.exception("a connection failed")
            self._transport.abort()
        finally:
            if not self._handed_over:
                self._transport.close()

    async def _run(self) -> None:
        while True:
            while self._short or not self._waiting:
                if self._deaf and not self._short:
                    return
                self._wake = self._loop.create_future()
                await self._wake
            arrival = self._waiting.popleft()
            if arrival.rest is not None:
                self._transport.resume_reading()
                self._hand_over(arrival)
                return
            if self._reading_paused and not self._deaf and len(self._waiting) < PIPELINED // 2:
                self._reading_paused = False
                self._transport.resume_reading()
            self._serving = True
            try:
                await self._serve(arrival)
            finally:
                self._service.release(arrival.size)
                self._serving = self._long = False
                self._idle_since = self._loop.time()
            if arrival.inflow is not None and not arrival.inflow.complete:
                # whoever was to take the rest of the body did not want it
                arrival.close = True
            if arrival.close:
                self._deaf = True
                if arrival.error is not None:
                    # closing with unread bytes would reset the connection and take the answer with it
                    await asyncio.sleep(LINGER_S)
                return

    async def _serve(self, arrival: Arrival) -> None:
        request: Request | None = None
        began = time.perf_counter()
        self._expired = False
        limit = REQUEST_S
        self._serving_due = self._loop.time() + limit
        try:
            if arrival.error is not None:
                raise arrival.error
            request = await self._service.receive(arrival, self._certificate)
            if self._certificate and not arrival.pairs:
                self.certified = request.user
            limit = request.time_limit(REQUEST_S)
            self._serving_due += limit - REQUEST_S
            outcome = await self._service.handle(request)
            if isinstance(outcome, Watching | Stream):
                await self._send_long(arrival, request, outcome)
                answers.record(request, 200, 0.0)
                return
            assert not isinstance(outcome, Upgrade | ProtocolSwitch), "only a request to upgrade changes the protocol"
            await answers.prepare(request, outcome)
            raw = answers.to_raw(request, outcome)
        except ApiError as exc:
            # a caller who is not known is told the id of his request as well
            request = arrival.request
            raw = answers.failure(request, exc, method=arrival.method)
        except asyncio.CancelledError:
            if not self._expired or self._task is None:
                raise
            self._task.uncancel()
            raw = answers.failure(request, timed_out(limit))
        except Exception as exc:
            log.exception("request %s %s failed", arrival.method, arrival.url)
            raw = answers.failure(request, internal(f"{type(exc).__name__}: {exc}"))
        if request is not None:
            answers.record(request, raw.status, time.perf_counter() - began)
        await self._send(arrival, request, raw)

    async def _send(self, arrival: Arrival, request: Request | None, raw: Raw) -> None:
        if arrival.version == "1.0":
            arrival.close = True
        # the answer is there: how long it takes on its way is up to the client, as long as he takes of it
        self._serving_due = math.inf
        for piece in answers.complete(request, raw, close=arrival.close):
            self.write(piece)
            if self._drained is not None:
                await self.drained()

    async def _send_long(self, arrival: Arrival, request: Request, outcome: Watching | Stream) -> None:
        self._long = True
        self.chunked = arrival.version != "1.0"
        arrival.close = arrival.close or not self.chunked
        try:
            if isinstance(outcome, Watching):
                await send_watch(self, request, outcome)
            else:
                await send_stream(self, request, outcome)
        except Exception:
            # the status has been sent: only a connection that breaks can tell the client now
            log.exception("%s %s broke off", arrival.method, arrival.url)
            self._transport.abort()

    # the short way

    def begin_short(self) -> None:
        self._serving = self._short = True
        # a barrier has a time limit of its own
        self._serving_due = math.inf

    def end_short(self, unserved: Arrival | None) -> None:
        self._serving = self._short = False
        self._idle_since = self._loop.time()
        if unserved is not None and not self._transport.is_closing():
            unserved.peer = self._peer
            self._waiting.appendleft(unserved)
        if self._waiting or self._deaf:
            self._wake_task()

    # the sink of watches and streams

    def write(self, data: bytes | memoryview) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    @property
    def is_full(self) -> bool:
        return self._drained is not None

    async def drained(self) -> None:
        if self._drained is not None:
            await asyncio.shield(self._drained)
