"""One HTTP request over a channel to a pod or node, and its answer as it comes: HTTP/1.1 from this side.

A request that asks for another protocol (WebSocket) keeps the channel, if the other side agrees: bytes both ways.
Source: k8s.io/apimachinery/pkg/util/proxy, upgradeaware.go.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httptools

from services.apiserver.auth.authentication import BEARER_PROTOCOL
from services.apiserver.protocol import Outcome, ProtocolSwitch, Raw, Request, Stream
from services.apiserver.streaming.channels import Channel
from services.apiserver.streaming.links import PageRewriter, rewrite_page, rewritten
from services.apiserver.streaming.pipes import Pipe
from shared.errors import ServiceUnavailable, StreamBroken

NO_BODY = (204, 304)
WITH_BODY = ("POST", "PUT", "PATCH")
# of one connection only (RFC 9110, 7.6.1), or about the caller of the API and not of the pod
NOT_PASSED_ON = frozenset(
    (
        *("connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("authorization", "content-length", "host", "transfer-encoding", "upgrade"),
    )
)
NOT_PASSED_BACK = NOT_PASSED_ON | {"cache-control", "content-type", "date", "location"}
LAST_CHUNK = b"0\r\n\r\n"
UNREACHABLE = "error trying to reach service"


@dataclass(frozen=True, slots=True)
class Route:
    """Where in the proxied server a request goes: `prefix` is the URL path of the proxy, `path` what lies behind it."""

    prefix: str
    path: str
    host: str
    scheme: str = "http"


@dataclass(slots=True)
class Answer:
    """What the other side has answered so far; filled by the parser's callbacks."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    begun: bool = False
    complete: bool = False
    # bytes of another protocol
    rest: bytes = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def take(self) -> bytes:
        data = b"".join(self.body)
        self.body.clear()
        return data


class Exchange:
    """One request and its answer; `run` gives the outcome, which then owns the channel."""

    def __init__(self, channel: Channel, request: Request, route: Route) -> None:
        self._channel = channel
        self._request = request
        self._route = route
        self._answer = Answer()
        self._parser = httptools.HttpResponseParser(self._answer)
        self._sending: asyncio.Task[None] | None = None
        self._hosts = frozenset(filter(None, (route.host, request.headers.get("host", ""))))

    async def run(self) -> Outcome:
        """ServiceUnavailable if there is no answer; the channel is closed unless the outcome still needs it."""
        try:
            return await self._run()
        except (StreamBroken, httptools.HttpParserError) as exc:
            await self.close()
            raise ServiceUnavailable(f"{UNREACHABLE}: {exc}") from exc
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End both directions."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._channel.close()

    async def _run(self) -> Outcome:
        request, answer = self._request, self._answer
        await self._channel.send(written(request, self._route))
        if request.inflow is not None:
            # the answer may begin, and go on, before the request has ended; `close` waits for the end of the task
            self._sending = asyncio.create_task(self._send_body(request.inflow), name="body to a proxied server")
        while not answer.begun and await self._read():
            pass
        if not answer.begun:
            raise ServiceUnavailable(f"{UNREACHABLE}: the connection ended before an answer")
        status = self._parser.get_status_code()
        if status == 101:
            return ProtocolSwitch(switching_headers(answer), self._tunnel)
        headers = passed_back(answer, self._route.prefix, self._hosts)
        kind = answer.header("content-type") or "application/octet-stream"
        if request.method == "HEAD":
            await self.close()
            length = answer.header("content-length")
            return Raw(b"", kind, status, (*headers, *((("Content-Length", length),) if length else ())))
        if status in NO_BODY or (answer.complete and not answer.body):
            await self.close()
            return Raw(b"", kind, status, headers)
        chunks = self._body()
        encoding = answer.header("content-encoding").lower()
        if kind.partition(";")[0].strip() == "text/html" and encoding in ("", "identity", "gzip"):
            # kube-apiserver leaves pages in other encodings alone as well
            headers = tuple(one for one in headers if one[0].lower() != "content-encoding")
            rewriter = PageRewriter(self._route.prefix, self._hosts)
            chunks = rewrite_page(chunks, rewriter, zipped=encoding == "gzip")
        return Stream(chunks, kind, self.close, status, headers)

    async def _send_body(self, inflow: AsyncIterator[bytes]) -> None:
        chunked = "content-length" not in self._request.headers
        with contextlib.suppress(StreamBroken):
            # if it is broken, whoever waits for the answer is told
            try:
                async for data in inflow:
                    await self._channel.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            except ConnectionResetError:
                # half a request must not look like a whole one
                await self._channel.close()
                return
            if chunked:
                await self._channel.send(LAST_CHUNK)

    async def _read(self) -> bool:
        """Feed the parser with what comes next; False at the end."""
        data = await self._channel.receive()
        if not data:
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._answer.rest = data[exc.args[0] :]
        return True

    async def _body(self) -> AsyncIterator[bytes]:
        answer = self._answer
        if data := answer.take():
            yield data
        while not answer.complete:
            if not await self._read():
                if answer.header("content-length") or answer.header("transfer-encoding"):
                    # the client must not take a part for the whole
                    raise StreamBroken("the answer broke off")
                return
            if data := answer.take():
                yield data

    async def _tunnel(self, pipe: Pipe) -> None:
        """Carry bytes both ways until one side ends."""

        async def inward() -> None:
            while (data := await pipe.receive()) is not None:
                await self._channel.send(data)

        async def outward() -> None:
            data = self._answer.rest or await self._channel.receive()
            while data:
                await pipe.send(data)
                data = await self._channel.receive()

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(inward(), name="tunnel in"), group.create_task(outward(), name="tunnel out")]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except* (StreamBroken, ConnectionError):
            # both ends have left, or will notice that this connection ends
            pass
        finally:
            with contextlib.suppress(StreamBroken):
                await self._channel.close()


def written(request: Request, route: Route) -> bytes:
    """The request as the other side receives it."""
    query = request.query.encoded()
    upgrade = request.headers.get("upgrade", "")
    path = route.path or "/"
    lines = [f"{request.method} {path}{'?' if query else ''}{query} HTTP/1.1", f"Host: {route.host}"]
    lines += ["Connection: Upgrade", f"Upgrade: {upgrade}"] if upgrade else ["Connection: close"]
    for name, value in request.headers.items():
        if name in NOT_PASSED_ON or name.startswith("impersonate-"):
            continue
        if name == "sec-websocket-protocol":
            # browsers send their bearer token as a protocol
            offered = [one.strip() for one in value.split(",")]
            value = ", ".join(one for one in offered if not one.startswith(BEARER_PROTOCOL))
            if not value:
                continue
        lines.append(f"{name}: {value}")
    lines += [f"X-Forwarded-Uri: {route.prefix}{path}", "X-Forwarded-Proto: https"]
    lines += [f"X-Forwarded-Host: {request.headers['host']}"] if "host" in request.headers else []
    if request.inflow is not None:
        length = request.headers.get("content-length")
        lines.append(f"Content-Length: {length}" if length else "Transfer-Encoding: chunked")
    elif request.body or request.method in WITH_BODY:
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + request.body


def passed_back(answer: Answer, prefix: str, hosts: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """The answer's headers for the client, with a Location that leads back through the proxy."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in NOT_PASSED_BACK]
    if location := answer.header("location"):
        headers.append(("Location", rewritten(location, prefix, hosts)))
    return tuple(headers)


def switching_headers(answer: Answer) -> tuple[tuple[str, str], ...]:
    """The headers of a 101 answer, which are the other protocol's business."""
    return tuple(one for one in answer.headers if one[0].lower() not in ("date", "content-length"))
