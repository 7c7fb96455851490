from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from services.nodeagent.dns import DnsServer, cache
from shared.errors import NetworkError
from tests.integration.network.harness import Cluster, wait_until

pytestmark = pytest.mark.root

Objects = dict[tuple[str, str], dict[str, Any]]
SERVICES: Objects = {
    ("default", "web"): {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80}]},
    },
    ("default", "db"): {
        "metadata": {"namespace": "default", "name": "db"},
        "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]},
    },
    ("default", "outside"): {
        "metadata": {"namespace": "default", "name": "outside"},
        "spec": {"type": "ExternalName", "externalName": "www.example.test"},
    },
}
SLICES: Objects = {
    ("default", "db-1"): {
        "metadata": {
            "namespace": "default",
            "name": "db-1",
            "labels": {"kubernetes.io/service-name": "db"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [{"addresses": [f"10.244.1.{number}"], "hostname": f"db-{number}"} for number in range(2, 102)],
    }
}


class Upstream:
    """A resolver on the host that knows *.example.test and counts its questions."""

    def __init__(self, address: str, port: int) -> None:
        self.questions: list[str] = []
        self.silent = False
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind((address, port))
        self.stream = socket.create_server((address, port))
        self.threads = [threading.Thread(target=self._datagrams), threading.Thread(target=self._streams)]
        for thread in self.threads:
            thread.start()

    def _answer(self, data: bytes, *, stream: bool) -> bytes:
        query = dns.message.from_wire(data)
        name, kind = query.question[0].name, query.question[0].rdtype
        self.questions.append(f"{name} {dns.rdatatype.to_text(kind)}")
        answer = dns.message.make_response(query)
        if str(name).startswith("big."):
            if stream:
                addresses = " ".join(f"192.0.2.{number}" for number in range(1, 200)).split()
                answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", addresses))
            else:
                answer.flags |= dns.flags.TC
        elif str(name).endswith("example.test."):
            if kind == dns.rdatatype.A:
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.80"))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire(max_size=65535)

    def _datagrams(self) -> None:
        while True:
            data, client = self.datagrams.recvfrom(4096)
            if not data:
                return
            if not self.silent:
                self.datagrams.sendto(self._answer(data, stream=False), client)

    def _streams(self) -> None:
        while True:
            connection, _ = self.stream.accept()
            with connection:
                head = connection.recv(2)
                if not head:
                    return
                message = self._answer(connection.recv(4096), stream=True)
                connection.sendall(len(message).to_bytes(2, "big") + message)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.datagrams.getsockname())
        socket.create_connection(self.stream.getsockname()).close()
        for thread in self.threads:
            thread.join()
        self.datagrams.close()
        self.stream.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    found = Upstream("127.0.0.1", 15353)
    yield found
    found.close()


@pytest.fixture
async def server(upstream: Upstream) -> AsyncIterator[DnsServer]:
    """A server on the host's loopback, for tests that need no pods."""
    server = DnsServer("127.0.0.9", port=15053, upstream_port=15353, upstreams=lambda: ["127.0.0.1"])
    server.apply(SERVICES, SLICES)
    task = asyncio.create_task(server.run(), name="dns")
    await server.wait_serving()
    yield server
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def ask(name: str, kind: str = "A", *, tcp: bool = False, edns: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=0 if edns else -1)
    function = dns.query.tcp if tcp else dns.query.udp
    return await asyncio.to_thread(function, query, "127.0.0.9", 5, 15053)


def addresses(message: dns.message.Message) -> list[str]:
    return [item.to_text() for records in message.answer if records.rdtype == 1 for item in records]


async def test_a_pod_resolves_with_an_ordinary_client(cluster: Cluster) -> None:
    address = cluster.service_ip(10)
    await cluster.networks["node-1"].add_local_address(address)
    server = DnsServer(
        address, namespace=cluster.namespace("node-1"), networks=[cluster.pods, cluster.services], upstreams=list
    )
    server.apply(SERVICES, SLICES)
    task = asyncio.create_task(server.run(), name="dns")
    await server.wait_serving()
    pod = await cluster.pod("node-1")
    for arguments, expected in (
        (["web.default.svc.cluster.local"], "10.96.0.20"),
        (["-type=srv", "_http._tcp.web.default.svc.cluster.local"], "100 80 web.default.svc.cluster.local"),
        (["10-244-1-9.default.pod.cluster.local"], "10.244.1.9"),
        (["-type=txt", "dns-version.cluster.local"], "1.1.0"),
    ):
        output = await asyncio.to_thread(cluster.run, pod.namespace, "busybox", "nslookup", *arguments, address)
        assert expected in output
    missing = await asyncio.to_thread(
        lambda: cluster.run(
            pod.namespace, "busybox", "nslookup", "nobody.default.svc.cluster.local", address, check=False
        )
    )
    assert "NXDOMAIN" in missing
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_an_upstream_is_reached_from_the_nodes_namespace(cluster: Cluster) -> None:
    upstream = Upstream(cluster.underlay.gateway, 15353)
    try:
        address = cluster.service_ip(10)
        await cluster.networks["node-1"].add_local_address(address)
        server = DnsServer(
            address,
            namespace=cluster.namespace("node-1"),
            upstreams=lambda: [cluster.underlay.gateway],
            upstream_port=15353,
        )
        task = asyncio.create_task(server.run(), name="dns")
        await server.wait_serving()
        pod = await cluster.pod("node-1")
        output = await asyncio.to_thread(cluster.run, pod.namespace, "busybox", "nslookup", "www.example.test", address)
        assert "192.0.2.80" in output
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    finally:
        upstream.close()


async def test_an_answer_that_does_not_fit_is_cut_and_complete_over_tcp(server: DnsServer) -> None:
    cut = await ask("db.default.svc.cluster.local")
    assert cut.flags & dns.flags.TC
    assert 20 < len(addresses(cut)) < 100
    assert len(addresses(await ask("db.default.svc.cluster.local", tcp=True))) == 100
    larger = await ask("db.default.svc.cluster.local", edns=True)
    assert len(addresses(cut)) < len(addresses(larger)) < 100


async def test_other_names_are_forwarded_and_kept(server: DnsServer, upstream: Upstream) -> None:
    for _ in range(3):
        answer = await ask("www.example.test")
        assert addresses(answer) == ["192.0.2.80"]
        assert 0 < answer.answer[0].ttl <= 30
        assert not answer.flags & dns.flags.AA
    assert upstream.questions.count("www.example.test. A") == 1
    assert (await ask("no.such.name")).rcode() == dns.rcode.NXDOMAIN


async def test_equal_questions_at_the_same_time_are_asked_once(server: DnsServer, upstream: Upstream) -> None:
    answers = await asyncio.gather(*(ask("many.example.test") for _ in range(8)))
    assert all(addresses(answer) == ["192.0.2.80"] for answer in answers)
    assert upstream.questions.count("many.example.test. A") == 1


async def test_a_truncated_upstream_answer_is_asked_again_over_tcp(server: DnsServer) -> None:
    assert len(addresses(await ask("big.example.test", tcp=True))) == 199
    cut = await ask("big.example.test")
    assert cut.flags & dns.flags.TC
    assert 20 < len(addresses(cut)) < 40


async def test_an_external_name_answers_alias_and_address(server: DnsServer) -> None:
    answer = await ask("outside.default.svc.cluster.local")
    assert answer.answer[0].to_text().endswith("CNAME www.example.test.")
    assert addresses(answer) == ["192.0.2.80"]


async def test_what_was_known_is_used_when_no_upstream_answers(server: DnsServer, upstream: Upstream) -> None:
    assert addresses(await ask("www.example.test")) == ["192.0.2.80"]
    upstream.silent = True
    entries = server._forwarder._cache._entries
    key = cache.Key(b"\x03www\x07example\x04test\0", 1)
    stored, response = entries[key]
    entries[key] = (stored - 60, response)
    stale = await ask("www.example.test")
    assert addresses(stale) == ["192.0.2.80"]
    assert stale.answer[0].ttl == 0
    assert (await ask("unknown.example.test")).rcode() == dns.rcode.SERVFAIL


async def test_an_upstream_that_leads_back_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    server = DnsServer("127.0.0.9", port=15053, upstream_port=15353, upstreams=lambda: ["127.0.0.1"])
    mirror = DnsServer("127.0.0.1", port=15353, upstream_port=15053, upstreams=lambda: ["127.0.0.9"])
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(item.run(), name="dns") for item in (mirror, server)]
        await mirror.wait_serving()
        await server.wait_serving()
        await wait_until(lambda: "forwards to this DNS server" in caplog.text)
        assert (await ask("www.example.test")).rcode() == dns.rcode.SERVFAIL
        for task in tasks:
            task.cancel()


async def test_an_address_that_is_not_the_nodes_is_named() -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.77:15053"):
        await DnsServer("192.0.2.77", port=15053).run()


async def test_several_questions_on_one_connection_are_answered(server: DnsServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.9", 15053)
    for _ in range(3):
        query = dns.message.make_query("web.default.svc.cluster.local", "A").to_wire()
        writer.write(len(query).to_bytes(2, "big") + query)
    for _ in range(3):
        size = int.from_bytes(await reader.readexactly(2), "big")
        assert addresses(dns.message.from_wire(await reader.readexactly(size))) == ["10.96.0.20"]
    writer.close()
    await writer.wait_closed()
