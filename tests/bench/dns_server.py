"""Queries per second of the DNS server for cluster names, and the time of one answer without the network.

Run as `python -m tests.bench.dns_server`. Client and server share the machine's processors.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from typing import Any

import uvloop

from services.nodeagent.dns import DnsServer, wire
from services.nodeagent.dns.zone import Zone

SERVICES = 5000
SECONDS = 3.0
WINDOW = 32
ADDRESS = ("127.0.0.9", 15054)

Objects = dict[tuple[str, str], dict[str, Any]]


def services() -> Objects:
    found: Objects = {}
    for number in range(SERVICES):
        name = f"service-{number}"
        spec = {"clusterIP": f"10.96.{number // 250}.{number % 250 + 1}", "ports": [{"name": "http", "port": 80}]}
        found["default", name] = {"metadata": {"namespace": "default", "name": name}, "spec": spec}
    return found


def query(number: int) -> bytes:
    name = wire.encode_name(f"service-{number % SERVICES}.default.svc.cluster.local")
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"


def client(results: multiprocessing.Queue[int]) -> None:
    """Keeps WINDOW questions on the way and counts the answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.connect(ADDRESS)
        connection.settimeout(1)
        queries = [query(number) for number in range(4096)]
        for number in range(WINDOW):
            connection.send(queries[number])
        count, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            for _ in range(64):
                connection.recv(512)
                count += 1
                connection.send(queries[count & 4095])
        results.put(count)


async def serve() -> None:
    server = DnsServer(ADDRESS[0], port=ADDRESS[1], upstreams=list)
    started = time.perf_counter()
    server.apply(services(), {})
    print(f"apply of {SERVICES} services: {(time.perf_counter() - started) * 1e3:.0f} ms")
    task = asyncio.create_task(server.run(), name="dns")
    await server.wait_serving()
    results: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=client, args=(results,))
    process.start()
    used = time.process_time()
    count = await asyncio.to_thread(results.get)
    used = time.process_time() - used
    process.join()
    print(f"over the loopback: {count / SECONDS:,.0f} queries/s, {used / count * 1e6:.1f} us of the server's time each")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def assemble() -> None:
    zone = Zone("cluster.local", "10.96.0.10")
    zone.apply(services(), {})
    queries = [query(number) for number in range(1000)]
    started = time.perf_counter()
    for _ in range(50):
        for data in queries:
            question = wire.parse_question(data)
            assert not isinstance(question, int)
            answer = zone.lookup(question.name, question.kind)
            assert answer is not None
            wire.reply(question, answer, 0, question.limit)
    print(f"without the network: {(time.perf_counter() - started) / 50000 * 1e6:.1f} us per answer")


if __name__ == "__main__":
    assemble()
    uvloop.run(serve())
