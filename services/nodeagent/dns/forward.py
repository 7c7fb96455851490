"""Asking upstream resolvers for the names that are not the cluster's.

Exists so that one slow or dead resolver never costs a client its own five second time-out: each is given a little time,
the next is asked then, equal questions share one query, and what was known lately is used if nobody answers.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable

from services.nodeagent.dns import cache, wire
from services.nodeagent.dns.cache import Cache, Key, Response
from services.nodeagent.dns.metrics import statistics, upstream_duration
from services.nodeagent.dns.resolvconf import Upstreams

log = logging.getLogger(__name__)

ATTEMPT_S = 1.3
ATTEMPTS = 3
PORT = 53
_LOOP_SUFFIX = wire.encode_name("loop-probe.wherry.invalid")

# opens a non-blocking socket of a type such as socket.SOCK_DGRAM where the node's network is
SocketFactory = Callable[[int], Awaitable[socket.socket]]


class Unanswered(Exception):
    """No upstream resolver answered."""


class Forwarder:
    """Asks `upstreams`, which is called for each question as the list may change. `port` is theirs."""

    def __init__(self, upstreams: Upstreams, open_socket: SocketFactory, *, port: int = PORT) -> None:
        self._upstreams = upstreams
        self._open_socket = open_socket
        self._port = port
        self._cache = Cache()
        self._pending: dict[Key, asyncio.Future[tuple[Response, int]]] = {}
        self._failures: dict[str, int] = {}
        self._probes: dict[bytes, str] = {}
        self._loops: set[str] = set()

    async def resolve(self, key: Key) -> tuple[Response, int]:
        """The answer to a question and its age in seconds; raises Unanswered."""
        now = time.monotonic()
        found = self._cache.get(key, now)
        if found is not None:
            statistics.cache_hits["denial" if found[0].denial else "success"] += 1
            return found
        pending = self._pending.get(key)
        if pending is not None:
            return await asyncio.shield(pending)
        statistics.cache_misses += 1
        future: asyncio.Future[tuple[Response, int]] = asyncio.get_running_loop().create_future()
        # a failure without anybody else waiting is still seen: it is raised here
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._pending[key] = future
        try:
            result = await self._fresh(key), 0
        except BaseException as exc:
            stale = self._cache.get_stale(key, time.monotonic()) if isinstance(exc, Unanswered) else None
            if stale is None:
                if isinstance(exc, Unanswered):
                    future.set_exception(exc)
                else:
                    future.cancel()
                raise
            result = stale
        finally:
            del self._pending[key]
        future.set_result(result)
        return result

    def is_probe(self, name: bytes) -> bool:
        """Whether a question is this server's own probe, which an upstream sent back: then it is not asked any more."""
        upstream = self._probes.pop(name, None)
        if upstream is not None:
            log.error(
                "resolver %s forwards to this DNS server and is not used: check the machine's resolv.conf", upstream
            )
            self._loops.add(upstream)
        return upstream is not None

    async def find_loops(self) -> None:
        """Ask every upstream for a name that only this server would recognise."""
        for upstream in self._upstreams():
            name = wire.encode_name(secrets.token_hex(12))[:-1] + _LOOP_SUFFIX
            self._probes[name] = upstream
            try:
                await self._ask(upstream, Key(name, wire.A))
            except (OSError, ValueError) as exc:
                log.debug("loop probe to %s: %s", upstream, exc)
            self._probes.pop(name, None)

    async def _fresh(self, key: Key) -> Response:
        upstreams = [item for item in self._upstreams() if item not in self._loops]
        # those that failed lately are asked last
        upstreams.sort(key=lambda item: self._failures.get(item, 0))
        failure = "there is no upstream resolver"
        refused: Response | None = None
        for number in range(ATTEMPTS if upstreams else 0):
            upstream = upstreams[number % len(upstreams)]
            started = time.perf_counter()
            try:
                response = await self._ask(upstream, key)
            except (OSError, ValueError) as exc:
                self._failures[upstream] = self._failures.get(upstream, 0) + 1
                failure = f"resolver {upstream}: {exc or type(exc).__name__}"
                continue
            rcode = "NOERROR" if response.rcode == wire.NOERROR else str(response.rcode)
            upstream_duration.labels("forward", f"{upstream}:{self._port}", rcode).observe(
                time.perf_counter() - started
            )
            if response.rcode in (wire.SERVFAIL, wire.REFUSED):
                refused = response
                continue
            self._failures.pop(upstream, None)
            self._cache.put(key, response, time.monotonic())
            statistics.cache_entries["all"] = len(self._cache)
            return response
        if refused is not None:
            return refused
        raise Unanswered(failure)

    async def _ask(self, upstream: str, key: Key) -> Response:
        question = key.name + key.kind.to_bytes(2, "big") + b"\0\1"
        async with asyncio.timeout(ATTEMPT_S):
            response = await self._datagram(upstream, question, edns=True)
            if response.rcode == wire.FORMERR:
                response = await self._datagram(upstream, question, edns=False)
            if response.truncated:
                response = await self._stream(upstream, question)
        return response

    async def _datagram(self, upstream: str, question: bytes, *, edns: bool) -> Response:
        loop = asyncio.get_running_loop()
        # a port and an id of its own for each query make answers hard to forge
        with await self._open_socket(socket.SOCK_DGRAM) as connection:
            await loop.sock_connect(connection, (upstream, self._port))
            query = _query(question, edns=edns)
            await loop.sock_sendall(connection, query)
            while True:
                message = await loop.sock_recv(connection, wire.MAX_MESSAGE)
                if message[:2] == query[:2]:
                    return cache.parse(message, question)

    async def _stream(self, upstream: str, question: bytes) -> Response:
        loop = asyncio.get_running_loop()
        with await self._open_socket(socket.SOCK_STREAM) as connection:
            await loop.sock_connect(connection, (upstream, self._port))
            query = _query(question, edns=True)
            await loop.sock_sendall(connection, len(query).to_bytes(2, "big") + query)
            size = int.from_bytes(await _receive(connection, 2), "big")
            message = await _receive(connection, size)
        if message[:2] != query[:2]:
            raise ValueError("an answer with another id")
        return cache.parse(message, question)


def _query(question: bytes, *, edns: bool) -> bytes:
    header = secrets.token_bytes(2) + b"\1\0\0\1\0\0\0\0" + (b"\0\1" if edns else b"\0\0")
    return header + question + (wire.OPT_RECORD if edns else b"")


async def _receive(connection: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        chunk = await loop.sock_recv(connection, size - len(data))
        if not chunk:
            raise OSError("the resolver closed the connection")
        data += chunk
    return data
