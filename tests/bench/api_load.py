"""The load of `make bench-api`: many TLS connections driven from one epoll loop, in a process of its own.

A client library would cost more than the server it measures. Here a request is bytes made beforehand, an answer is
looked at no further than its length, and OpenSSL is called directly, so that one core can drive two servers. Run as
`python -m tests.bench.api_load`: a `Load` as JSON on standard input, the result as JSON on standard output.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

READ_BYTES = 1 << 18
LIMIT_S = 120.0
REVISION = re.compile(rb'"resourceVersion":"(\d+)"')
SENT = re.compile(rb'"sent":"(\d+)"')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)

# as a deployment makes it; STEP is what updates and patches change
POD = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "NAME",
            "labels": {"app": "bench", "pod-template-hash": "5d59d67564"},
            "annotations": {"sent": "SENT", "step": "0", "note": "one of many pods"},
        },
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web:1.27",
                    "args": ["--listen", ":8080", "--log-level", "info"],
                    "env": [{"name": "MODE", "value": "production"}, {"name": "WORKERS", "value": "4"}],
                    "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
                }
            ],
            "terminationGracePeriodSeconds": 30,
        },
    },
    separators=(",", ":"),
).encode()
NODE = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "NAME", "labels": {"kubernetes.io/hostname": "NAME", "kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
        "status": {
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"},
            "allocatable": {"cpu": "8", "memory": "15Gi", "pods": "110", "ephemeral-storage": "90Gi"},
            "conditions": [
                {"type": kind, "status": "False", "reason": "Known", "message": "the kubelet knows"}
                for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
            ],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "NAME"}],
            "nodeInfo": dict.fromkeys(
                ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion",
                 "kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"), "value"),
        },
    }
).encode()  # fmt: skip


@dataclass
class Load:
    """What to do, against the collection `path`.

    `op` is create, nodes, get, any (get at any revision), update (GET, then PUT of what came), patch, delete, list (the
    whole collection `count` times) or watch; objects are numbered from `first` to `first + count`. A watch waits for
    `events` events on each of its `count` connections, or stays open until its standard input ends if there are none
    to wait for.
    """

    port: int
    ca: str
    token: str
    op: str
    path: str
    count: int
    connections: int = 32
    first: int = 0
    accept: str = "application/json"
    events: int = 0

    def request(self, method: str, path: str, body: bytes = b"", media: str = "application/json") -> bytes:
        """An HTTP request as bytes."""
        head = [
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "User-Agent: bench/1.0",
            f"Accept: {self.accept}",
            f"Authorization: Bearer {self.token}",
        ]
        if body:
            head += [f"Content-Type: {media}", f"Content-Length: {len(body)}"]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body


# requests go out by yield, the body of each answer comes back
Work = Generator[bytes, bytes, None]


def work(load: Load, numbers: Iterator[int]) -> Work:
    """The requests of one connection; the connections share the numbers."""
    for number in numbers:
        name = f"p-{number:06d}"
        path = f"{load.path}/{name}"
        match load.op:
            case "create" | "nodes":
                body = (POD if load.op == "create" else NODE).replace(b"NAME", name.encode())
                yield load.request("POST", load.path, body.replace(b"SENT", str(time.time_ns()).encode()))
            case "get":
                yield load.request("GET", path)
            case "any":
                yield load.request("GET", f"{path}?resourceVersion=0")
            case "update":
                body = yield load.request("GET", path)
                yield load.request("PUT", path, body.replace(b'"step":"0"', b'"step":"1"'))
            case "patch":
                patch = b'{"metadata":{"annotations":{"step":"patched"}}}'
                yield load.request("PATCH", path, patch, "application/merge-patch+json")
            case "delete":
                yield load.request("DELETE", path)
            case "list":
                yield load.request("GET", load.path)


class Connection:
    """One TLS connection and what has arrived on it."""

    def __init__(self, load: Load, context: ssl.SSLContext) -> None:
        raw = socket.create_connection(("127.0.0.1", load.port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname="127.0.0.1")
        self.socket.setblocking(False)
        self.received = bytearray()
        self.began = 0.0
        self._head = 0
        self._length = -1

    def send(self, data: bytes) -> None:
        """Requests are smaller than the buffer of a socket, which is empty when the last answer has come."""
        self.began = time.perf_counter()
        self.socket.sendall(data)

    def read(self) -> None:
        """Take in what is there. ConnectionError if the server closed."""
        while True:
            try:
                data = self.socket.recv(READ_BYTES)
            except ssl.SSLWantReadError:
                return
            if not data:
                raise ConnectionError(f"the server closed the connection: {bytes(self.received[:300])!r}")
            self.received += data
            if not self.socket.pending():
                return

    def answer(self) -> tuple[int, bytes] | None:
        """Status and body, once they are complete."""
        if self._length < 0:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return None
            found = LENGTH.search(self.received, 0, end + 2)
            assert found is not None, bytes(self.received[:end])
            self._head, self._length = end + 4, int(found.group(1))
        end = self._head + self._length
        if len(self.received) < end:
            return None
        status, body = int(self.received[9:12]), bytes(self.received[self._head : end])
        del self.received[:end]
        self._length = -1
        return status, body


def drive(load: Load, context: ssl.SSLContext) -> dict[str, Any]:
    """Send everything, and tell how long it took."""
    selector = selectors.EpollSelector()
    numbers = iter(range(load.first, load.first + load.count))
    connections = [(Connection(load, context), work(load, numbers)) for _ in range(load.connections)]
    latencies: list[float] = []
    started = time.perf_counter()
    busy = 0
    for connection, requests in connections:
        if (first := next(requests, None)) is not None:
            selector.register(connection.socket, selectors.EVENT_READ, (connection, requests))
            connection.send(first)
            busy += 1
    while busy:
        ready = selector.select(LIMIT_S)
        if not ready:
            raise TimeoutError(f"{load.op}: no answer within {LIMIT_S:g} s")
        for key, _ in ready:
            connection, requests = key.data
            connection.read()
            if (answer := connection.answer()) is None:
                continue
            latencies.append(time.perf_counter() - connection.began)
            status, body = answer
            if status >= 300:
                raise RuntimeError(f"{load.op}: {status} {body[:400]!r}")
            try:
                connection.send(requests.send(body))
            except StopIteration:
                busy -= 1
    seconds = time.perf_counter() - started
    for connection, _ in connections:
        connection.socket.close()
    return {"seconds": seconds, "latencies": latencies}


def once(load: Load, context: ssl.SSLContext, path: str) -> bytes:
    """The body of one answer."""
    connection = Connection(load, context)
    connection.send(load.request("GET", path))
    connection.socket.settimeout(LIMIT_S)
    while (answer := connection.answer()) is None:
        connection.received += connection.socket.recv(READ_BYTES)
    connection.socket.close()
    return answer[1]


def watch(load: Load, context: ssl.SSLContext) -> dict[str, Any]:
    """Hold watches open; says `ready` when all are, and measures how late their events are (seconds)."""
    selector = selectors.EpollSelector()
    connections = []
    # from now on: what is there already would otherwise come first
    revision = REVISION.search(once(load, context, f"{load.path}?limit=1"))
    assert revision is not None
    for _ in range(load.count):
        connection = Connection(load, context)
        path = f"{load.path}?watch=1&resourceVersion={revision.group(1).decode()}&timeoutSeconds=600"
        connection.send(load.request("GET", path))
        connection.socket.settimeout(LIMIT_S)
        while b"\r\n\r\n" not in connection.received:
            connection.received += connection.socket.recv(READ_BYTES)
        if not connection.received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(bytes(connection.received[:300]).decode())
        connection.socket.setblocking(False)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connections.append(connection)
    print("ready", flush=True)
    if not load.events:
        sys.stdin.read()
        return {}
    lags: list[float] = []
    first, last = 0, 0
    while len(lags) < load.events * load.count:
        ready = selector.select(LIMIT_S)
        if not ready:
            raise TimeoutError(f"{len(lags)} of {load.events * load.count} events arrived")
        for key, _ in ready:
            connection = key.data
            connection.read()
            end = connection.received.rfind(b"\n") + 1
            last = time.time_ns()
            for text in SENT.findall(connection.received, 0, end):
                sent = int(text)
                first = min(first or sent, sent)
                lags.append((last - sent) / 1e9)
            del connection.received[:end]
    return {"seconds": (last - first) / 1e9, "latencies": lags}


def main() -> None:
    load = Load(**json.loads(sys.stdin.readline()))
    context = ssl.create_default_context(cafile=load.ca)
    result = watch(load, context) if load.op == "watch" else drive(load, context)
    json.dump(result | {"cpu": time.process_time()}, sys.stdout)


if __name__ == "__main__":
    main()
