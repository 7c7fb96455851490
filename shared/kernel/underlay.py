"""The network under a cluster that lives on one machine: a bridge, and per node a network namespace on it.

Exists so that several nodes on one machine are as separate as several machines: each has its own addresses, routes,
nf_tables and conntrack. On a real cluster the node is simply the machine and nothing of this is used.
"""

import errno
import ipaddress
import json
import re
from pathlib import Path

from shared.errors import NetworkError
from shared.kernel import netns, nftables
from shared.kernel.netlink import NetlinkError, NetlinkSocket, links, namespaces, routes
from shared.kernel.netlink.connection import NETFILTER
from shared.kernel.netlink.links import Link
from shared.kernel.netlink.routes import Route
from shared.kernel.nftables import expressions, model

_FIRST_NODE = 10
_DEFAULT_MTU = 1500
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_TABLE_SUFFIX = "-host"


class Underlay:
    """Bridge `<cluster>-u`, namespaces `<cluster>-<node>`, routes and masquerading of one cluster on this machine.

    `cidr` is the network of the bridge: its first address belongs to the host, number 10+i to node i (a node's name
    ends in its number). `remember` is a file that keeps the machine's own ip_forward setting until `down` restores it.
    Pods and services are reached from the host through the first node, or directly after `set_pod_routes`.
    Every operation is idempotent and raises NetworkError.
    """

    def __init__(
        self,
        cluster: str,
        cidr: str = "10.89.0.0/24",
        *,
        pod_cidr: str = "10.244.0.0/16",
        service_cidr: str = "10.96.0.0/16",
        remember: Path | None = None,
    ) -> None:
        self._network = ipaddress.IPv4Network(cidr, strict=False)
        self._cluster = cluster
        self._bridge = f"{cluster}-u"
        self._table = f"{cluster}{_TABLE_SUFFIX}"
        self._pod_cidr = pod_cidr
        self._service_cidr = service_cidr
        self._remember = remember

    @property
    def gateway(self) -> str:
        """The host's address on the bridge."""
        return str(self._network[1])

    def namespace(self, node: str) -> str:
        """The path of a node's network namespace."""
        return netns.path_of(f"{self._cluster}-{node}")

    def address(self, node: str) -> str:
        """The address of a node; its name must end in a number from 1 on."""
        return str(self._network[_FIRST_NODE + self._number(node)])

    def up(self, nodes: list[str]) -> dict[str, str]:
        """Create what is missing for these nodes; returns the address of each."""
        addresses = {node: self.address(node) for node in nodes}
        try:
            with NetlinkSocket() as connection:
                bridge = self._ensure_bridge(connection)
                self._allow_forwarding()
                self._masquerade()
                for node, address in addresses.items():
                    self._ensure_node(connection, bridge, node, address)
                if addresses:
                    first = next(iter(addresses.values()))
                    for destination in (self._pod_cidr, self._service_cidr):
                        self._ensure_route(connection, bridge, destination, first)
        except OSError as exc:
            raise NetworkError(f"underlay {self._bridge}: {exc}") from exc
        return addresses

    def set_pod_routes(self, pod_routes: dict[str, str]) -> None:
        """Route each pod CIDR to the address of its node, and forget routes of earlier calls that are not given."""
        general = {self._pod_cidr, self._service_cidr}
        try:
            with NetlinkSocket() as connection:
                bridge = links.find(connection, self._bridge)
                if bridge is None:
                    raise NetworkError(f"underlay {self._bridge}: no such bridge")
                for route in list(routes.routes(connection, protocol=routes.PROTOCOL_WHERRY)):
                    stale = route.destination not in general and route.destination not in pod_routes
                    if stale and route.index == bridge.index:
                        connection.execute([routes.delete_route(route)], ignore=(errno.ESRCH,))
                wanted = [
                    Route(destination, gateway, bridge.index, routes.PROTOCOL_WHERRY)
                    for destination, gateway in pod_routes.items()
                ]
                connection.execute([routes.replace_route(route) for route in wanted])
        except OSError as exc:
            raise NetworkError(f"underlay {self._bridge}: {exc}") from exc

    def down(self) -> None:
        """Remove everything that belongs to the cluster, pods' namespaces included; goes on after errors."""
        failures: list[Exception] = []
        try:
            with NetlinkSocket() as connection:
                doomed = [link.name for link in self._ports(connection)]
                connection.execute([links.delete(name) for name in doomed], ignore=(errno.ENODEV,))
                connection.execute([links.delete(self._bridge)], ignore=(errno.ENODEV,))
        except OSError as exc:
            failures.append(exc)
        for name in self._namespaces():
            try:
                netns.delete(name)
            except OSError as exc:
                failures.append(exc)
        try:
            self._remove_table()
            self._restore_forwarding()
        except OSError as exc:
            failures.append(exc)
        if failures:
            raise NetworkError(f"underlay {self._bridge}: " + "; ".join(map(str, failures))) from failures[0]

    def leftovers(self) -> list[str]:
        """What `down` would remove, as readable names such as `link wherry-u`; [] when nothing is left."""
        with NetlinkSocket() as connection:
            found = [f"link {link.name}" for link in self._ports(connection)]
            if links.find(connection, self._bridge) is not None:
                found.append(f"link {self._bridge}")
        found += [f"namespace {name}" for name in self._namespaces()]
        with NetlinkSocket(NETFILTER) as connection:
            if nftables.table_comment(connection, self._table) is not None:
                found.append(f"nf_tables table ip {self._table}")
        return found

    def _number(self, node: str) -> int:
        found = re.search(r"[0-9]+$", node)
        number = int(found[0]) if found else 0
        if not 1 <= number < self._network.num_addresses - _FIRST_NODE - 1:
            raise NetworkError(f"node name {node!r} does not end in a number that {self._network} has an address for")
        return number

    def _port(self, node: str) -> str:
        return f"{self._cluster}-v{self._number(node)}"

    def _ports(self, connection: NetlinkSocket) -> list[Link]:
        pattern = re.compile(re.escape(self._cluster) + r"-v[0-9]+")
        return [link for link in links.every(connection) if pattern.fullmatch(link.name)]

    def _namespaces(self) -> list[str]:
        return [name for name in netns.names() if name.startswith(f"{self._cluster}-")]

    def _ensure_bridge(self, connection: NetlinkSocket) -> Link:
        mac = "0a:58:" + self._network[1].packed.hex(":")
        connection.execute(
            [links.add_bridge(self._bridge, mac=mac, mtu=_outside_mtu(connection))], ignore=(errno.EEXIST,)
        )
        bridge = links.find(connection, self._bridge)
        if bridge is None:
            raise NetworkError(f"underlay {self._bridge}: the bridge vanished")
        address = routes.add_address(bridge.index, self.gateway, self._network.prefixlen)
        connection.execute([links.set_up(bridge.index), address])
        return bridge

    def _ensure_node(self, connection: NetlinkSocket, bridge: Link, node: str, address: str) -> None:
        path = netns.create(f"{self._cluster}-{node}")
        port = self._port(node)
        with namespaces.open_inside(path) as inside:
            eth0 = links.find(inside, "eth0")
            if eth0 is None:
                connection.execute([links.delete(port)], ignore=(errno.ENODEV,))
                mac = "0a:58:" + ipaddress.IPv4Address(address).packed.hex(":")
                with open(path, "rb") as namespace:
                    pair = links.add_veth(
                        port,
                        "eth0",
                        peer_namespace=namespace.fileno(),
                        master=bridge.index,
                        mtu=bridge.mtu,
                        peer_mac=mac,
                    )
                    connection.execute([pair])
                eth0 = links.find(inside, "eth0")
                if eth0 is None:
                    raise NetworkError(f"node {node}: eth0 vanished")
            inside.execute(
                [
                    links.set_up(eth0.index),
                    routes.add_address(eth0.index, address, self._network.prefixlen),
                    routes.replace_route(Route("0.0.0.0/0", self.gateway, eth0.index, routes.PROTOCOL_WHERRY)),
                ]
            )
        links.wait_running(connection, port)
        namespaces.call_inside(path, lambda: netns.write_sysctl("net.ipv4.ip_forward", "1"))

    def _ensure_route(self, connection: NetlinkSocket, bridge: Link, destination: str, gateway: str) -> None:
        try:
            connection.execute([routes.add_route(Route(destination, gateway, bridge.index, routes.PROTOCOL_WHERRY))])
        except NetlinkError as exc:
            if exc.errno != errno.EEXIST:
                raise
            present = [route for route in routes.routes(connection) if route.destination == destination]
            if not any(route.index == bridge.index for route in present):
                text = "the machine has another one already; choose other networks with --pod-cidr and --service-cidr"
                raise NetworkError(f"route to {destination}: {text}") from exc

    def _masquerade(self) -> None:
        change = nftables.Transaction(self._table)
        change.add_table("traffic of the cluster to the outside")
        change.delete_table()
        change.add_table("traffic of the cluster to the outside")
        postrouting = nftables.Chain("postrouting", "nat", model.HOOK_POSTROUTING, model.PRIORITY_SRCNAT)
        change.add_chain(postrouting)
        for source in (str(self._network), self._pod_cidr):
            change.add_rule(
                postrouting.name,
                expressions.source_address(expressions.R0),
                expressions.within(expressions.R0, source),
                expressions.meta(expressions.META_OIFNAME, expressions.R4),
                expressions.interface(expressions.R4, self._bridge, negate=True),
                expressions.masquerade(),
            )
        with NetlinkSocket(NETFILTER) as connection:
            change.commit(connection)

    def _remove_table(self) -> None:
        change = nftables.Transaction(self._table)
        change.add_table()
        change.delete_table()
        with NetlinkSocket(NETFILTER) as connection:
            change.commit(connection)

    def _allow_forwarding(self) -> None:
        if self._remember is not None and not self._remember.exists():
            self._remember.write_text(json.dumps({"net.ipv4.ip_forward": _FORWARDING.read_text().strip()}))
        if _FORWARDING.read_text().strip() != "1":
            _FORWARDING.write_text("1")

    def _restore_forwarding(self) -> None:
        if self._remember is None or not self._remember.exists():
            return
        with NetlinkSocket(NETFILTER) as connection:
            others = [name for name in nftables.tables(connection) if name.endswith(_TABLE_SUFFIX)]
        # another cluster on this machine still needs it
        if not others:
            _FORWARDING.write_text(json.loads(self._remember.read_text())["net.ipv4.ip_forward"])
        self._remember.unlink()


def _outside_mtu(connection: NetlinkSocket) -> int:
    """The MTU in bytes of the link that leads out of this machine: larger packets of pods would be fragmented there."""
    outside = [route.index for route in routes.routes(connection) if route.destination == "0.0.0.0/0"]
    return next((link.mtu for link in links.every(connection) if link.index in outside), _DEFAULT_MTU)
