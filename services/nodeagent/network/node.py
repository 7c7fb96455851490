"""`NodeNetwork`: what the agent asks of the pod network, as coroutines.

Exists so that kernel work, which blocks for a millisecond or two and happens in the node's namespace, runs in one
thread of its own: requests of the same kind cannot overlap there, and the event loop never waits.
"""

import asyncio
import errno
import ipaddress
import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.nodeagent.network import links as pods
from services.nodeagent.network import rules
from services.nodeagent.network.leases import HostPort, Lease, Leases
from services.nodeagent.network.links import Bandwidth
from shared.errors import NetworkError
from shared.kernel.netlink import NetlinkError, links, routes
from shared.kernel.netlink.connection import NETFILTER
from shared.kernel.netlink.links import Link
from shared.kernel.netlink.routes import Route
from shared.kernel.netlink.worker import Worker

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PodAddress:
    """How a pod is attached: its address, the length of the node's pod prefix in bits, its gateway and its MAC."""

    ip: str
    prefix: int
    gateway: str
    mac: str


@dataclass(slots=True)
class _Node:
    network: ipaddress.IPv4Network
    bridge: Link
    uplink: Link


class NodeNetwork:
    """The pod network of one node. `directory` keeps the addresses; `namespace` is the path of the node's network
    namespace, None if the process is in it already. Every coroutine raises NetworkError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bridge: str = "wherry0",
        cluster_cidr: str = "10.244.0.0/16",
        namespace: str | None = None,
    ) -> None:
        self._bridge = bridge
        self._cluster = ipaddress.IPv4Network(cluster_cidr)
        self._leases = Leases(directory)
        self._worker = Worker("network", namespace)
        self._node: _Node | None = None
        self._doomed: dict[str, Lease] = {}
        self._sweeping = asyncio.Lock()

    async def setup(self, pod_cidr: str, node_ip: str) -> None:
        """Create what the node needs: bridge with the gateway address, forwarding, nf_tables; idempotent."""
        await self._run(lambda: self._setup(pod_cidr, node_ip))

    async def set_routes(self, pod_routes: Mapping[str, str]) -> None:
        """Route the pod CIDRs of other nodes to their addresses; routes that are not given are removed."""
        await self._run(lambda: self._set_routes(dict(pod_routes)))

    async def add_local_address(self, address: str) -> None:
        """Put an address such as the cluster's DNS address on the node's `lo`."""
        await self._run(lambda: self._worker.socket().execute([routes.add_address(1, address, 32)]))

    async def attach(
        self,
        sandbox_id: str,
        netns_path: str,
        *,
        ip: str | None = None,
        bandwidth: Bandwidth | None = None,
        host_ports: Sequence[HostPort] = (),
    ) -> PodAddress:
        """Connect a pod's namespace; repeating it for the same sandbox completes it and returns the same address."""
        return await self._run(lambda: self._attach(sandbox_id, netns_path, ip, bandwidth, tuple(host_ports)))

    async def detach(self, sandbox_id: str) -> None:
        """Disconnect a pod and free its address; idempotent. Concurrent calls share the kernel's waiting time."""
        lease = self._leases.get(sandbox_id)
        if lease is None:
            return
        self._doomed[sandbox_id] = lease
        async with self._sweeping:
            if sandbox_id in self._doomed:
                leases = list(self._doomed.values())
                self._doomed.clear()
                await self._run(lambda: self._detach(leases, []))

    async def reconcile(self, live_sandbox_ids: Collection[str]) -> set[str]:
        """Free what belongs to other sandboxes; returns those of `live_sandbox_ids` whose connection is gone."""
        return await self._run(lambda: self._reconcile(set(live_sandbox_ids)))

    def addresses(self) -> dict[str, PodAddress]:
        """The address of every attached sandbox."""
        node = self._node
        return {} if node is None else {lease.sandbox: _address(node, lease) for lease in self._leases.all()}

    async def close(self) -> None:
        """Give up threads and sockets; the network stays as it is."""
        await self._worker.close()

    async def _run(self, function: Callable[[], Result]) -> Result:
        try:
            return await self._worker.run(function)
        except OSError as exc:
            raise NetworkError(f"pod network: {exc}") from exc

    def _ready(self) -> _Node:
        if self._node is None:
            raise NetworkError("the pod network has not been set up")
        return self._node

    def _setup(self, pod_cidr: str, node_ip: str) -> None:
        try:
            network = ipaddress.IPv4Network(pod_cidr)
        except ValueError as exc:
            raise NetworkError(f"pod CIDR {pod_cidr!r}: {exc}") from exc
        connection = self._worker.socket()
        self._leases.load()
        strangers = {lease.address for lease in self._leases.all()}
        uplink = pods.uplink(connection, node_ip)
        in_use = {
            item.address
            for item in routes.addresses(connection)
            if any(
                ipaddress.IPv4Address(address) in ipaddress.IPv4Network((item.address, item.prefix), strict=False)
                for address in strangers
            )
        }
        bridge = pods.ensure_bridge(connection, self._bridge, network, uplink.mtu, in_use)
        pods.allow_forwarding(bridge, uplink)
        rules.install(
            self._worker.socket(NETFILTER),
            pod_cidr=str(network),
            cluster_cidr=str(self._cluster),
            leases=self._leases.all(),
        )
        self._node = _Node(network, bridge, uplink)

    def _set_routes(self, pod_routes: dict[str, str]) -> None:
        node = self._ready()
        connection = self._worker.socket()
        wanted = {
            destination: Route(destination, gateway, node.uplink.index, routes.PROTOCOL_WHERRY)
            for destination, gateway in pod_routes.items()
            if destination != str(node.network)
        }
        present = {
            route.destination: route
            for route in routes.routes(connection, protocol=routes.PROTOCOL_WHERRY)
            if ipaddress.IPv4Network(route.destination).subnet_of(self._cluster)
        }
        stale = [route for destination, route in present.items() if destination not in wanted]
        connection.execute([routes.delete_route(route) for route in stale], ignore=(errno.ESRCH,))
        changed = [route for destination, route in wanted.items() if present.get(destination) != route]
        results = connection.submit([routes.replace_route(route) for route in changed])
        failed = [
            f"{route.destination} via {route.gateway}: {failure.strerror}"
            for route, failure in zip(changed, results, strict=True)
            if failure is not None
        ]
        if failed:
            raise NetworkError("route to pods " + "; ".join(failed))

    def _attach(
        self,
        sandbox: str,
        netns_path: str,
        ip: str | None,
        bandwidth: Bandwidth | None,
        host_ports: tuple[HostPort, ...],
    ) -> PodAddress:
        node = self._ready()
        lease = self._leases.get(sandbox)
        fresh = lease is None
        if lease is None:
            link = f"veth{secrets.token_hex(4)}"
            lease = self._leases.claim(sandbox, node.network, link, address=ip, host_ports=host_ports)
        try:
            self._connect(node, lease, netns_path, bandwidth, fresh=fresh)
            if fresh and lease.host_ports:
                self._open_host_ports(lease)
        except BaseException:
            if fresh:
                pods.disconnect(self._worker.socket(), node.bridge, [lease], [])
                self._leases.release(sandbox)
            raise
        return _address(node, lease)

    def _connect(self, node: _Node, lease: Lease, netns_path: str, bandwidth: Bandwidth | None, *, fresh: bool) -> None:
        connection = self._worker.socket()
        try:
            pods.connect(connection, node.bridge, lease, node.network, netns_path, bandwidth, fresh=fresh)
        except NetlinkError as exc:
            if not fresh or exc.errno != errno.EEXIST:
                raise
            # the lease is new, but the namespace is not: somebody has removed the former lease
            pods.connect(connection, node.bridge, lease, node.network, netns_path, bandwidth)

    def _open_host_ports(self, lease: Lease) -> None:
        try:
            rules.change_host_ports(self._worker.socket(NETFILTER), add=lease)
        except NetlinkError as exc:
            if exc.errno == errno.EEXIST:
                ports = ", ".join(f"{port.host_port}/{port.protocol}" for port in lease.host_ports)
                raise NetworkError(f"host port {ports} of {lease.address} is in use by another pod") from exc
            raise

    def _detach(self, leases: list[Lease], strays: list[str]) -> None:
        node = self._ready()
        for lease in leases:
            if lease.host_ports:
                self._close_host_ports(lease)
        pods.disconnect(self._worker.socket(), node.bridge, leases, strays)
        for lease in leases:
            self._leases.release(lease.sandbox)

    def _close_host_ports(self, lease: Lease) -> None:
        try:
            rules.change_host_ports(self._worker.socket(NETFILTER), remove=lease)
        except NetlinkError as exc:
            # they were never opened, or somebody emptied the table
            if exc.errno != errno.ENOENT:
                raise

    def _reconcile(self, live: set[str]) -> set[str]:
        node = self._ready()
        ports = {link.name for link in links.every(self._worker.socket(), master=node.bridge.index)}
        orphans = [lease for lease in self._leases.all() if lease.sandbox not in live]
        strays = sorted(ports - {lease.link for lease in self._leases.all()})
        if orphans or strays:
            log.info("freeing %d pod addresses and %d stray links", len(orphans), len(strays))
            self._detach(orphans, strays)
        return {sandbox for sandbox in live if (lease := self._leases.get(sandbox)) is None or lease.link not in ports}


def _address(node: _Node, lease: Lease) -> PodAddress:
    return PodAddress(lease.address, node.network.prefixlen, str(node.network[1]), pods.mac_of(lease.address))
