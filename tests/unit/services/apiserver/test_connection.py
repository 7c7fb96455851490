"""HTTP/1.1 on one connection, without a network: what goes in as bytes and what comes out as bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver.http import connection as module
from services.apiserver.http.arrivals import MAX_HEAD, Arrival
from services.apiserver.http.connection import Connection
from services.apiserver.protocol import Event, Outcome, Query, Raw, Request, Stream, Watching
from shared.errors import NotFound
from shared.identity.users import ANONYMOUS
from shared.objects import registry
from tests.slowness import LIMIT_S

MEGABYTE = 1 << 20


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False
        self.aborted = False
        self.paused = False
        self.changed = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data
        self.changed.set()

    def close(self) -> None:
        self.closed = True
        self.changed.set()

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Server:
    """A service that answers what was asked; `handler` may do something else."""

    def __init__(self) -> None:
        self.handler: Callable[[Request], Awaitable[Outcome]] = self.echo
        self.taken = b""
        self.group: asyncio.TaskGroup | None = None
        self.held = 0
        self.most = 1 << 30

    async def echo(self, request: Request) -> Outcome:
        text = f"{request.method} {request.path} {len(request.body)}"
        return Raw(text.encode(), "text/plain")

    def opened(self, connection: Connection) -> None:
        assert self.group is not None
        connection.start(self.group.create_task(connection.run(), name="connection"))

    def closed(self, connection: Connection) -> None:
        pass

    def serve_shortly(self, connection: Connection, data: bytes) -> bool:
        return False

    def remember(self, arrival: Arrival, data: bytes) -> None:
        pass

    async def receive(self, arrival: Arrival, certificate: dict[str, Any] | None) -> Request:
        path, query = arrival.target()
        return Request(
            ANONYMOUS, arrival.method, path, query, arrival.headers, b"".join(arrival.body), inflow=arrival.inflow
        )

    async def handle(self, request: Request) -> Outcome:
        return await self.handler(request)

    def reserve(self, size: int) -> bool:
        self.held += size
        return self.held <= self.most

    def release(self, size: int) -> None:
        self.held -= size

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        self.taken = data


class Client:
    def __init__(self, server: Server, connection: Connection, pipe: Pipe) -> None:
        self.server = server
        self.connection = connection
        self.pipe = pipe

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    async def until(self, text: bytes, count: int = 1) -> bytes:
        """What was written, once it has a text."""
        async with asyncio.timeout(LIMIT_S):
            while self.pipe.written.count(text) < count:
                self.pipe.changed.clear()
                await self.pipe.changed.wait()
        return bytes(self.pipe.written)

    async def until_closed(self) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            while not self.pipe.closed:
                self.pipe.changed.clear()
                await self.pipe.changed.wait()
        return bytes(self.pipe.written)


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    server, pipe = Server(), Pipe()
    async with asyncio.TaskGroup() as group:
        server.group = group
        connection = Connection(server)
        connection.connection_made(pipe)
        yield Client(server, connection, pipe)
        connection.connection_lost(None)


def request(path: str = "/a", method: str = "GET", headers: str = "", body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n".encode() + body


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with connected() as client:
        client.send(request("/first"))
        assert (await client.until(b"GET /first 0")).startswith(b"HTTP/1.1 200 OK\r\n")
        client.send(request("/second", "POST", body=b"12345"))
        await client.until(b"POST /second 5")
        assert not client.pipe.closed


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with connected() as client:
        client.send(b"".join(request(f"/{number}") for number in range(40)))
        written = await client.until(b"GET /39 0")
        positions = [written.index(b"GET /%d 0" % number) for number in range(40)]
        assert positions == sorted(positions)


async def test_reading_pauses_while_many_requests_wait() -> None:
    async with connected() as client:
        go = asyncio.Event()

        async def slow(asked: Request) -> Outcome:
            await go.wait()
            return await client.server.echo(asked)

        client.server.handler = slow
        client.send(b"".join(request(f"/{number}") for number in range(20)))
        assert client.pipe.paused
        go.set()
        await client.until(b"GET /19 0")
        assert not client.pipe.paused


@given(st.lists(st.integers(1, 40), max_size=30))
def test_requests_may_arrive_in_any_pieces(sizes: list[int]) -> None:
    async def run() -> None:
        data = request("/list?limit=5&x=%20", "POST", "Accept: */*\r\n", b"a body") + request("/next")
        async with connected() as client:
            for size in sizes:
                client.send(data[:size])
                data = data[size:]
            client.send(data)
            await client.until(b"POST /list 6")
            await client.until(b"GET /next 0")

    asyncio.run(run())


async def test_a_body_may_come_in_chunks() -> None:
    async with connected() as client:
        client.send(b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        client.send(b"2;note=1\r\nde\r\n0\r\n\r\n")
        await client.until(b"PUT /c 5")


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on() -> None:
    async with connected() as client:
        client.send(b"POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert bytes(client.pipe.written) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"ok")
        await client.until(b"POST /e 2")


async def test_a_client_that_asks_to_send_too_much_is_not_told_to_go_on() -> None:
    async with connected() as client:
        client.send(b"POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        assert (await client.until(b"RequestEntityTooLarge")).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(method="POST", headers="Content-Length: 4000000\r\n"), b"413"),
        (request(method="POST", headers="Content-Encoding: gzip\r\n", body=b"x"), b"415"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (request(headers=f"X: {'x' * MAX_HEAD}\r\n")[:-2], b"431"),
        (b"GET /" + b"x" * (MAX_HEAD + 1), b"431"),
        (request("/a?" + "&".join(f"a={number}" for number in range(1001))), b"400"),
    ],
)
async def test_what_cannot_be_read_is_a_status(sent: bytes, status: bytes) -> None:
    async with connected() as client:
        client.send(sent)
        written = await client.until(b"\r\n\r\n")
        assert written[9:12] == status


async def test_a_chunked_body_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0)
    async with connected() as client:
        client.send(b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(4):
            client.send(b"100000\r\n" + b"x" * MEGABYTE + b"\r\n")
        written = await client.until_closed()
        assert written.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in written


async def test_an_old_client_gets_its_answer_and_the_end_of_the_connection() -> None:
    async with connected() as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        assert b"GET /old 0" in await client.until_closed()


async def test_a_client_may_ask_for_the_end_of_the_connection() -> None:
    async with connected() as client:
        client.send(request("/last", headers="Connection: close\r\n") + request("/ignored"))
        written = await client.until_closed()
        assert b"GET /last 0" in written
        assert b"ignored" not in written


async def test_failures_are_statuses_and_the_connection_goes_on() -> None:
    async def fail(asked: Request) -> Outcome:
        if asked.path == "/bug":
            raise RuntimeError("a bug")
        raise NotFound("nothing there")

    async with connected() as client:
        client.server.handler = fail
        client.send(request("/missing") + request("/bug"))
        written = await client.until(b"Internal error occurred")
        assert b"HTTP/1.1 404 Not Found" in written
        assert b"HTTP/1.1 500 Internal Server Error" in written
        assert not client.pipe.closed


async def test_a_request_to_become_a_websocket_is_handed_over_whole() -> None:
    upgrade = request("/exec?a=1", headers="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n")
    async with connected() as client:
        client.send(upgrade + b"frames")
        assert client.server.taken.startswith(b"GET /exec?a=1 HTTP/1.1\r\n")
        assert client.server.taken.endswith(b"\r\n\r\nframes")
        assert b"sec-websocket-key: k" in client.server.taken
        assert not client.pipe.closed


async def test_a_request_to_become_a_websocket_waits_for_its_turn() -> None:
    upgrade = request("/exec", headers="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n")
    answered = asyncio.Event()

    async def slow(asked: Request) -> Outcome:
        await answered.wait()
        return Raw(b"slow", "text/plain")

    async with connected() as client:
        client.server.handler = slow
        client.send(request("/first") + request("/second"))
        client.send(upgrade + b"frames")
        assert client.pipe.paused
        assert client.server.taken == b""
        answered.set()
        await client.until(b"slow")
        async with asyncio.timeout(10):
            while not client.server.taken:
                await asyncio.sleep(0)
        assert client.pipe.written.count(b"slow") == 2
        assert client.server.taken.endswith(b"\r\n\r\nframes")
        assert not client.pipe.paused
        assert not client.pipe.closed


async def test_the_body_for_a_proxied_server_is_passed_on_as_it_comes() -> None:
    received: list[bytes] = []

    async def take(asked: Request) -> Outcome:
        assert asked.inflow is not None
        async for data in asked.inflow:
            received.append(data)
        return Raw(b"%d" % sum(map(len, received)), "text/plain")

    path = "/api/v1/namespaces/default/pods/p/proxy/upload"
    async with connected() as client:
        client.server.handler = take
        size = 5 * MEGABYTE
        head = f"PUT {path} HTTP/1.1\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n\r\n".encode()
        client.send(head)
        assert client.pipe.written.startswith(b"HTTP/1.1 100 Continue")
        for _ in range(5):
            client.send(b"x" * MEGABYTE)
            await asyncio.sleep(0)
        await client.until(b"\r\n\r\n%d" % size)
        client.server.handler = client.server.echo
        client.send(request("/next"))
        await client.until(b"GET /next 0")


async def test_a_body_that_nobody_wants_ends_the_connection() -> None:
    async def refuse(asked: Request) -> Outcome:
        raise NotFound("no such pod")

    async with connected() as client:
        client.server.handler = refuse
        client.send(b"PUT /api/v1/nodes/n/proxy/x HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc")
        await client.until(b"no such pod")
        async with asyncio.timeout(10):
            while not client.pipe.closed:
                await asyncio.sleep(0)


async def test_another_upgrade_is_ignored() -> None:
    async with connected() as client:
        client.send(request("/h2", headers="Connection: Upgrade\r\nUpgrade: h2c\r\n") + request("/next"))
        await client.until(b"GET /h2 0")
        await client.until(b"GET /next 0")


async def test_a_stream_goes_out_in_chunks_and_the_connection_goes_on() -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b"one\n"
        yield b"two\n"

    async def stream(asked: Request) -> Outcome:
        return Stream(lines())

    async with connected() as client:
        client.server.handler = stream
        client.send(request("/log"))
        written = await client.until(b"0\r\n\r\n")
        assert written.endswith(b"\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n")
        client.server.handler = client.server.echo
        client.send(request("/next"))
        await client.until(b"GET /next 0")


async def test_a_watch_waits_for_a_slow_client() -> None:
    taken = 0

    async def batches() -> AsyncIterator[list[Event]]:
        nonlocal taken
        while True:
            taken += 1
            yield [Event("ADDED", b"{}")]
            await asyncio.sleep(0)

    pods = registry.by_plural("", "v1", "pods")
    assert pods is not None
    closed = asyncio.Event()

    async def watch(asked: Request) -> Outcome:
        return Watching(pods, batches(), closed.set)

    async with connected() as client:
        client.server.handler = watch
        client.connection.pause_writing()
        client.send(request("/watch"))
        await client.until(b'{"type":"ADDED","object":{}}\n')
        for _ in range(10):
            await asyncio.sleep(0)
        assert taken == 1
        client.connection.resume_writing()
        await client.until(b'{"type":"ADDED","object":{}}\n', 5)
    assert closed.is_set()


@pytest.mark.parametrize("in_parts", [True, False])
async def test_a_long_answer_goes_out_as_the_client_takes_it(in_parts: bool) -> None:
    parts = [bytes([65 + number % 26]) * 5000 for number in range(200)]
    raw = Raw(b"", "text/plain", parts=parts) if in_parts else Raw(b"".join(parts), "text/plain")

    async def answer(asked: Request) -> Outcome:
        return raw

    async with connected() as client:
        client.server.handler = answer
        client.connection.pause_writing()
        client.send(request("/long?timeout=5s"))
        await client.until(b"Content-Length: 1000000\r\n")
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(client.pipe.written) < MEGABYTE // 2
        # the time limit was for making the answer
        client.connection.sweep(asyncio.get_running_loop().time() + 10)
        client.connection.resume_writing()
        client.server.handler = client.server.echo
        client.send(request("/next"))
        written = await client.until(b"GET /next 0")
        assert written.partition(b"\r\n\r\n")[2].startswith(raw.whole + b"HTTP/1.1 200 OK")


async def test_headers_that_trickle_in_end_the_connection() -> None:
    async with connected() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        client.connection.sweep(asyncio.get_running_loop().time() + module.HEAD_S + 1)
        assert client.pipe.closed


async def test_a_body_that_trickles_in_ends_the_connection() -> None:
    async with connected() as client:
        client.send(request(method="POST", headers="Content-Length: 10\r\n"))
        now = asyncio.get_running_loop().time()
        client.connection.sweep(now + module.HEAD_S + 1)
        assert not client.pipe.closed
        client.connection.sweep(now + module.BODY_S + 1)
        assert client.pipe.closed


async def test_an_idle_connection_is_closed_at_last() -> None:
    async with connected() as client:
        client.send(request())
        await client.until(b"GET /a 0")
        now = asyncio.get_running_loop().time()
        client.connection.sweep(now + module.KEEPALIVE_S - 1)
        assert not client.pipe.closed
        client.connection.sweep(now + module.KEEPALIVE_S + 1)
        assert client.pipe.closed


async def test_a_request_that_takes_too_long_is_answered_and_ended() -> None:
    cancelled = asyncio.Event()

    async def hang(asked: Request) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with connected() as client:
        client.server.handler = hang
        client.send(request("/slow?timeout=5s"))
        for _ in range(3):
            await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        client.connection.sweep(now + 4)
        assert not client.pipe.written
        client.connection.sweep(now + 6)
        written = await client.until(b"allotted timeout of 5 s")
        assert written.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert cancelled.is_set()
        client.server.handler = client.server.echo
        client.send(request("/next"))
        await client.until(b"GET /next 0")


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async with connected() as client:
        client.connection.pause_writing()
        client.connection.sweep(asyncio.get_running_loop().time() + module.STALLED_S + 1)
        assert client.pipe.aborted


def test_targets_are_decoded() -> None:
    arrival = Arrival()
    arrival.url = b"https://host/api/v1/p%20x?labelSelector=a%3Db+c&empty="
    path, query = arrival.target()
    assert (path, query.get("labelSelector"), "empty" in query) == ("/api/v1/p x", "a=b c", True)
    assert isinstance(query, Query)


async def test_bodies_are_refused_while_too_many_bytes_are_held() -> None:
    async with connected() as client:
        client.server.most = 10
        client.send(request(method="POST", body=b"x" * 11))
        written = await client.until(b"TooManyRequests")
        assert written.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nRetry-After: 1\r\n" in written


async def test_no_byte_stays_accounted_for_when_a_connection_ends() -> None:
    async with connected() as client:
        client.send(request(method="POST", body=b"served") + request(method="POST", body=b"next"))
        await client.until(b"POST /a 4")
        assert client.server.held == 0
        client.send(request(method="POST", headers="Content-Length: 10\r\n") + b"half")
        assert client.server.held == 4
    assert client.server.held == 0
