"""`DnsServer`: answers pods' questions over UDP and TCP.

Exists per node so that a question never leaves the node for a name of the cluster, and never crosses address
translation. Questions for cluster names are answered at once where they are read; only others become tasks.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, Sequence

from services.nodeagent.dns import cache, wire
from services.nodeagent.dns.alias import relocated
from services.nodeagent.dns.cache import Key as CacheKey
from services.nodeagent.dns.forward import Forwarder, Unanswered
from services.nodeagent.dns.metrics import statistics
from services.nodeagent.dns.records import Object
from services.nodeagent.dns.resolvconf import ResolvConf, Upstreams
from services.nodeagent.dns.wire import Answer, Question
from services.nodeagent.dns.zone import Zone
from services.nodeagent.proxy.changes import Key
from shared.errors import NetworkError
from shared.kernel.netlink import namespaces

log = logging.getLogger(__name__)

_BATCH = 64
_MAX_FORWARDED = 1000
_MAX_CONNECTIONS = 200
_IDLE_S = 10.0
_BUFFER = 4 << 20
_CNAME_DEPTH = 8

Address = tuple[str, int]


class DnsServer:
    """The DNS server of a node. `address` must belong to a link of the node when `run` starts; `upstreams` returns the
    resolvers for other names (by default those of the machine's resolv.conf); `networks` are the pod and service CIDRs;
    `namespace` is the path of the node's network namespace, None if the process is in it already.
    """

    def __init__(
        self,
        address: str = "10.96.0.10",
        *,
        domain: str = "cluster.local",
        networks: Sequence[str] = ("10.244.0.0/16", "10.96.0.0/16"),
        upstreams: Upstreams | None = None,
        namespace: str | None = None,
        port: int = 53,
        upstream_port: int = 53,
    ) -> None:
        self._address: Address = (address, port)
        self._namespace = namespace
        self._zone_name = f"{domain}."
        self._zone = Zone(domain, address, networks)
        chosen = upstreams or ResolvConf()
        self._forwarder = Forwarder(
            lambda: [item for item in chosen() if item != address], self._open_socket, port=upstream_port
        )
        self._turn = 0
        self._forwarded = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._serving = asyncio.Event()

    def apply(
        self,
        services: Mapping[Key, Object],
        slices: Mapping[Key, Object],
        pods: Mapping[Key, Object] | None = None,
    ) -> int:
        """Know exactly these objects, by (namespace, name); returns the number of changed services and pods.

        Costs what changed. Without `pods` (all of the cluster's) every well-formed pod name is answered.
        """
        return self._zone.apply(services, slices, pods)

    async def wait_serving(self) -> None:
        """Return when the sockets are open."""
        await self._serving.wait()

    async def run(self) -> None:
        """Serve until cancelled; NetworkError if the address cannot be used."""
        datagrams = self._bind(socket.SOCK_DGRAM)
        try:
            listener = self._bind(socket.SOCK_STREAM)
        except BaseException:
            datagrams.close()
            raise
        loop = asyncio.get_running_loop()
        with datagrams, listener:
            async with asyncio.TaskGroup() as group:
                loop.add_reader(datagrams.fileno(), self._read, datagrams, group)
                server = await asyncio.start_server(self._converse, sock=listener)
                try:
                    self._serving.set()
                    await self._forwarder.find_loops()
                    await server.serve_forever()
                finally:
                    self._serving.clear()
                    loop.remove_reader(datagrams.fileno())
                    server.close()
                    for writer in self._connections:
                        writer.close()

    def _bind(self, kind: int) -> socket.socket:
        opened = self._new_socket(kind)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
            opened.bind(self._address)
            if kind == socket.SOCK_STREAM:
                opened.listen(128)
            else:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        except OSError as exc:
            opened.close()
            raise NetworkError(f"DNS address {self._address[0]}:{self._address[1]}: {exc}") from exc
        return opened

    def _new_socket(self, kind: int) -> socket.socket:
        def create() -> socket.socket:
            return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

        return create() if self._namespace is None else namespaces.call_inside(self._namespace, create)

    async def _open_socket(self, kind: int) -> socket.socket:
        return self._new_socket(kind)

    def _read(self, datagrams: socket.socket, group: asyncio.TaskGroup) -> None:
        """Answer what is waiting; a bounded number, so that the event loop's other work gets its turn."""
        for _ in range(_BATCH):
            started = time.perf_counter()
            try:
                data, client = datagrams.recvfrom(4096)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                # an ICMP error for an earlier answer
                log.debug("DNS socket: %s", exc)
                continue
            question = wire.parse_question(data)
            if isinstance(question, int):
                if question >= 0:
                    _send(datagrams, wire.failure(data, question), client)
                continue
            answer = self._local(question)
            if answer is not None:
                message = wire.reply(question, answer, self._turn, question.limit)
                self._turn += 1
                _send(datagrams, message, client)
                self._count(question, answer.rcode, "udp", "kubernetes", started, len(data), len(message))
            elif self._forwarded >= _MAX_FORWARDED:
                _send(datagrams, wire.refusal(question, wire.SERVFAIL), client)
            else:
                self._forwarded += 1
                group.create_task(
                    self._answer_later(datagrams, client, question, started, len(data)),
                    name=f"dns {wire.decode_name(question.name)}",
                )

    def _local(self, question: Question) -> Answer | None:
        if question.kind != wire.CNAME and self._zone.external(question.name) is not None:
            return None
        return self._zone.lookup(question.name, question.kind)

    async def _answer_later(
        self, datagrams: socket.socket, client: Address, question: Question, started: float, size: int
    ) -> None:
        try:
            message, rcode = await self._elsewhere(question, question.limit)
        finally:
            self._forwarded -= 1
        _send(datagrams, message, client)
        self._count(question, rcode, "udp", "forward", started, size, len(message))

    async def _elsewhere(self, question: Question, limit: int) -> tuple[bytes, int]:
        """The message that answers a question which needs an upstream resolver, and its rcode."""
        if self._forwarder.is_probe(question.name):
            return wire.refusal(question, wire.REFUSED), wire.REFUSED
        try:
            answer = await self._follow(question.name, question.kind)
        except Unanswered as exc:
            log.warning("DNS name %s: %s", wire.decode_name(question.name), exc)
            return wire.refusal(question, wire.SERVFAIL), wire.SERVFAIL
        except Exception:
            # one question must not end the server for all others
            log.exception("DNS name %s", wire.decode_name(question.name))
            return wire.refusal(question, wire.SERVFAIL), wire.SERVFAIL
        return wire.reply(question, answer, 0, limit, authoritative=False), answer.rcode

    async def _follow(self, name: bytes, kind: int, depth: int = _CNAME_DEPTH) -> Answer:
        target = self._zone.external(name) if kind != wire.CNAME else None
        if target is None:
            local = self._zone.lookup(name, kind)
            if local is not None:
                return local
            response, age_s = await self._forwarder.resolve(CacheKey(name, kind))
            answers, authorities, extras = response.counts
            return Answer(response.rcode, answers, authorities, cache.aged(response, age_s), 0, 0, extras)
        alias = self._zone.lookup(name, wire.CNAME)
        if alias is None or not depth:
            raise Unanswered("the chain of ExternalName services is too long")
        try:
            # stub resolvers do not ask for the target themselves
            rest = await self._follow(target, kind, depth - 1)
            records, count = relocated(rest, target, kind)
        except (Unanswered, ValueError) as exc:
            log.warning("DNS name %s: %s", wire.decode_name(target), exc)
            return alias
        return Answer(rest.rcode, alias.answers + count, 0, alias.body + records)

    def _count(
        self, question: Question, rcode: int, protocol: str, plugin: str, started: float, size: int, sent: int
    ) -> None:
        zone = self._zone_name if plugin == "kubernetes" else "."
        statistics.record(zone, protocol, question.kind, rcode, plugin, time.perf_counter() - started, (size, sent))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(writer)
        try:
            while True:
                async with asyncio.timeout(_IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                message = await self._answer_stream(data)
                if message is None:
                    return
                writer.write(len(message).to_bytes(2, "big") + message)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer_stream(self, data: bytes) -> bytes | None:
        started = time.perf_counter()
        question = wire.parse_question(data)
        if isinstance(question, int):
            return wire.failure(data, question) if question >= 0 else None
        answer = self._local(question)
        if answer is not None:
            message = wire.reply(question, answer, self._turn, wire.MAX_MESSAGE)
            self._turn += 1
            self._count(question, answer.rcode, "tcp", "kubernetes", started, len(data), len(message))
            return message
        message, rcode = await self._elsewhere(question, wire.MAX_MESSAGE)
        self._count(question, rcode, "tcp", "forward", started, len(data), len(message))
        return message


def _send(datagrams: socket.socket, message: bytes, client: Address) -> None:
    try:
        datagrams.sendto(message, client)
    except OSError as exc:
        # the client is gone, or its link is full: it will ask again
        log.debug("DNS answer to %s: %s", client[0], exc)
