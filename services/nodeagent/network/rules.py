"""The node's nf_tables table `wherry-network`: masquerading, host ports, and no way in to loopback from outside.

Exists apart from the service proxy because pods need it even on a node that runs no proxy. Packet marks are not used,
so nothing collides with anybody's policy routing.
"""

import socket
from collections.abc import Iterable

from services.nodeagent.network.leases import Lease
from shared.kernel.netlink import NetlinkSocket
from shared.kernel.nftables import Chain, Element, Set, Transaction, model
from shared.kernel.nftables import expressions as nft

TABLE = "wherry-network"
LOOPBACK = "127.0.0.0/8"
MULTICAST = "224.0.0.0/4"

_PROTOCOLS = {"TCP": socket.IPPROTO_TCP, "UDP": socket.IPPROTO_UDP, "SCTP": socket.IPPROTO_SCTP}
_TARGET = (model.IPV4_ADDRESS, model.INET_SERVICE)
_ANY = Set("host_ports", (model.INET_PROTOCOL, model.INET_SERVICE), _TARGET)
_BOUND = Set("host_ports_bound", (model.IPV4_ADDRESS, model.INET_PROTOCOL, model.INET_SERVICE), _TARGET)
_HAIRPINS = Set("hairpins", (model.IPV4_ADDRESS, model.IPV4_ADDRESS))
# before the service proxy's, so that a host port wins over a node port
_PRIORITY = model.PRIORITY_DSTNAT - 1


def host_port_elements(lease: Lease) -> dict[str, list[Element]]:
    """The elements by set that make the host ports of a lease work."""
    address = socket.inet_aton(lease.address)
    found: dict[str, list[Element]] = {}
    for port in lease.host_ports:
        protocol = bytes((_PROTOCOLS[port.protocol], 0, 0, 0))
        key = protocol + _port(port.host_port)
        data = address + _port(port.pod_port)
        if port.host_ip in ("", "0.0.0.0"):
            found.setdefault(_ANY.name, []).append(Element(key, data))
        else:
            found.setdefault(_BOUND.name, []).append(Element(socket.inet_aton(port.host_ip) + key, data))
    if found:
        found[_HAIRPINS.name] = [Element(address + address)]
    return found


def install(connection: NetlinkSocket, *, pod_cidr: str, cluster_cidr: str, leases: Iterable[Lease]) -> None:
    """Put the table in place, atomically replacing one that is there."""
    change = Transaction(TABLE)
    change.add_table()
    change.delete_table()
    change.add_table("pod network of this node")
    for item in (_ANY, _BOUND, _HAIRPINS):
        change.add_set(item)
    change.add_chain(Chain("raw", "filter", model.HOOK_PREROUTING, model.PRIORITY_RAW))
    change.add_chain(Chain("prerouting", "nat", model.HOOK_PREROUTING, _PRIORITY))
    change.add_chain(Chain("output", "nat", model.HOOK_OUTPUT, _PRIORITY))
    change.add_chain(Chain("postrouting", "nat", model.HOOK_POSTROUTING, model.PRIORITY_SRCNAT))
    change.add_rule(
        "raw",
        nft.meta(nft.META_IIFNAME, nft.R4),
        nft.interface(nft.R4, "lo", negate=True),
        nft.destination_address(nft.R0),
        nft.within(nft.R0, LOOPBACK),
        nft.verdict(model.drop),
        comment="route_localnet must not open loopback to others",
    )
    for chain in ("prerouting", "output"):
        _host_port_rules(change, chain)
    _masquerade_rules(change, pod_cidr, cluster_cidr)
    for lease in leases:
        for name, elements in host_port_elements(lease).items():
            change.add_elements(name, elements)
    change.commit(connection)


def change_host_ports(connection: NetlinkSocket, *, add: Lease | None = None, remove: Lease | None = None) -> None:
    """Add or remove the host ports of a lease; raises NetlinkError EEXIST if a port leads elsewhere."""
    change = Transaction(TABLE)
    if remove is not None:
        for name, elements in host_port_elements(remove).items():
            change.delete_elements(name, (element.key for element in elements))
    if add is not None:
        for name, elements in host_port_elements(add).items():
            change.add_elements(name, elements)
    change.commit(connection)


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0"


def _host_port_rules(change: Transaction, chain: str) -> None:
    local = (nft.fib_type(nft.R0), nft.is_type(nft.R0, nft.TYPE_LOCAL))
    protocol_and_port = (nft.meta(nft.META_L4PROTO, nft.R1), nft.destination_port(nft.R2))
    change.add_rule(
        chain,
        *local,
        nft.destination_address(nft.R0),
        *protocol_and_port,
        nft.lookup(_BOUND.name, nft.R0, target=nft.R4),
        nft.dnat(nft.R4, nft.R5),
    )
    change.add_rule(
        chain, *local, *protocol_and_port, nft.lookup(_ANY.name, nft.R1, target=nft.R4), nft.dnat(nft.R4, nft.R5)
    )


def _masquerade_rules(change: Transaction, pod_cidr: str, cluster_cidr: str) -> None:
    change.add_rule(
        "postrouting",
        nft.conntrack(nft.CT_STATUS, nft.R0),
        nft.any_set(nft.R0, nft.STATUS_DNAT),
        nft.source_address(nft.R0),
        nft.destination_address(nft.R1),
        nft.lookup(_HAIRPINS.name, nft.R0),
        nft.masquerade(),
        comment="a pod that reaches itself through a host port",
    )
    change.add_rule(
        "postrouting",
        nft.meta(nft.META_OIFNAME, nft.R4),
        nft.interface(nft.R4, "lo", negate=True),
        nft.source_address(nft.R0),
        nft.within(nft.R0, LOOPBACK),
        nft.masquerade(),
        comment="localhost that reaches a pod",
    )
    change.add_rule(
        "postrouting",
        nft.source_address(nft.R0),
        nft.within(nft.R0, pod_cidr),
        nft.destination_address(nft.R0),
        nft.within(nft.R0, cluster_cidr, negate=True),
        nft.destination_address(nft.R0),
        nft.within(nft.R0, MULTICAST, negate=True),
        nft.masquerade(),
        comment="pods that leave the cluster",
    )
