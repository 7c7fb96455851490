"""Three nodes joined by an underlay, with pods, in network namespaces that are gone after the test."""

from __future__ import annotations

import asyncio
import random
import selectors
import socket
import string
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.nodeagent.network import HostPort, NodeNetwork
from shared.kernel import netns
from shared.kernel.netlink import namespaces
from shared.kernel.underlay import Underlay
from tests.slowness import LIMIT_S

TIMEOUT_S = 3.0


class Answerer:
    """A server that answers TCP and UDP clients with its name and the address it sees them come from."""

    def __init__(self, namespace: str, name: str, port: int, address: str = "0.0.0.0") -> None:
        self.name = name
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self.stream, self.datagram = namespaces.call_inside(namespace, lambda: _sockets(address, port))
        for item in (self.stream, self.datagram, self._woken):
            self._selector.register(item, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name=f"answerer-{name}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self.stream:
                    connection, (client, _) = self.stream.accept()
                    with connection:
                        connection.sendall(f"{self.name} {client}".encode())
                else:
                    _, address = self.datagram.recvfrom(1500)
                    self.datagram.sendto(f"{self.name} {address[0]}".encode(), address)

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for item in (self.stream, self.datagram, self._wake, self._woken):
            item.close()
        self._selector.close()


def _sockets(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    stream = socket.create_server((address, port), backlog=64)
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind((address, port))
    return stream, datagram


@dataclass
class Pod:
    """A pod's namespace: `ask` connects from inside it."""

    name: str
    namespace: str
    node: str
    ip: str
    sandbox: str

    def ask(self, address: str, port: int) -> tuple[str, str]:
        return ask(self.namespace, address, port)

    def ask_udp(self, address: str, port: int) -> tuple[str, str]:
        return ask_udp(self.namespace, address, port)


def ask(namespace: str, address: str, port: int) -> tuple[str, str]:
    """The name of the server that answers over TCP, and the client address it saw."""
    with namespaces.call_inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as client:
        client.settimeout(TIMEOUT_S)
        client.connect((address, port))
        answer = b""
        while chunk := client.recv(1500):
            answer += chunk
    name, seen = answer.decode().split()
    return name, seen


def ask_udp(namespace: str, address: str, port: int, *, timeout_s: float = TIMEOUT_S) -> tuple[str, str]:
    """The name of the server that answers over UDP, and the client address it saw."""
    with namespaces.call_inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(timeout_s)
        client.connect((address, port))
        client.send(b"who")
        name, seen = client.recv(1500).decode().split()
    return name, seen


async def wait_until(condition: Callable[[], bool], deadline_s: float = LIMIT_S) -> None:
    """Return when the condition holds; TimeoutError if it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        await asyncio.sleep(0.02)


@dataclass
class Cluster:
    """Nodes by name, each with its pod network."""

    name: str
    underlay: Underlay
    pods: str
    services: str
    directory: Path
    nodes: dict[str, str] = field(default_factory=dict)
    networks: dict[str, NodeNetwork] = field(default_factory=dict)
    answerers: list[Answerer] = field(default_factory=list)
    _count: int = 0

    def namespace(self, node: str) -> str:
        return self.underlay.namespace(node)

    def pod_cidr(self, node: str) -> str:
        return self.pods.replace(".0.0/16", f".{node.rpartition('-')[2]}.0/24")

    def service_ip(self, number: int) -> str:
        return self.services.replace(".0.0/16", f".0.{number}")

    async def start_network(self, node: str) -> NodeNetwork:
        network = NodeNetwork(self.directory / node, cluster_cidr=self.pods, namespace=self.namespace(node))
        self.networks[node] = network
        await network.setup(self.pod_cidr(node), self.nodes[node])
        await network.set_routes({self.pod_cidr(other): address for other, address in self.nodes.items()})
        return network

    def pod_namespace(self, node: str) -> tuple[str, str]:
        self._count += 1
        sandbox = f"{self._count:012x}" + "0" * 52
        return sandbox, netns.create(f"{self.name}-{node}-{sandbox[:12]}")

    async def pod(self, node: str, *, host_ports: tuple[HostPort, ...] = (), ip: str | None = None) -> Pod:
        sandbox, path = self.pod_namespace(node)
        address = await self.networks[node].attach(sandbox, path, host_ports=host_ports, ip=ip)
        return Pod(f"pod-{self._count}", path, node, address.ip, sandbox)

    def answer(self, pod: Pod, port: int = 8080) -> Answerer:
        answerer = Answerer(pod.namespace, pod.name, port)
        self.answerers.append(answerer)
        return answerer

    def answer_on_node(self, node: str, name: str, port: int, address: str = "0.0.0.0") -> Answerer:
        answerer = Answerer(self.namespace(node), name, port, address)
        self.answerers.append(answerer)
        return answerer

    def run(self, namespace: str, *command: str, check: bool = True) -> str:
        """The output of a program that runs in a namespace."""
        argv = ["nsenter", f"--net={namespace}", *command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def _claim(claim: socket.socket) -> int:
    """A number that no other test on this machine has as long as the socket is open."""
    for number in range(40):
        with suppress(OSError):
            claim.bind(f"\0wherry-test-network-{number}")
            return number
    raise RuntimeError("forty tests have networks already")


@contextmanager
def underlay_of(directory: Path, nodes: int) -> Iterator[Cluster]:
    # tests that run at the same time share the host's routing table
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        number = _claim(claim)
        name = "t" + "".join(random.choices(string.ascii_lowercase + string.digits, k=6))
        pods, services = f"10.{150 + number}.0.0/16", f"10.{200 + number}.0.0/16"
        underlay = Underlay(
            name, f"10.88.{1 + number}.0/24", pod_cidr=pods, service_cidr=services, remember=directory / "forwarding"
        )
        cluster = Cluster(name, underlay, pods, services, directory)
        try:
            cluster.nodes = underlay.up([f"node-{number}" for number in range(1, nodes + 1)])
            yield cluster
        finally:
            for answerer in cluster.answerers:
                answerer.close()
            underlay.down()
        assert underlay.leftovers() == []
