"""The kernel's part of the pod network: a bridge on the node, one veth pair per pod.

A pod's address has no prefix route; everything it sends goes to the gateway and is routed there. So replies from a pod
on the same node pass the node's conntrack like all others, which translated service addresses need. Where br_netfilter
is active, the kernel translates bridged frames and forwards them on the bridge, for a pod that reaches itself through
its own port: hence hairpin mode.
"""

import errno
import ipaddress
from dataclasses import dataclass

from services.nodeagent.network.leases import Lease
from shared.errors import NetworkError
from shared.kernel import netns
from shared.kernel.netlink import NetlinkSocket, links, queues, routes
from shared.kernel.netlink.links import Link
from shared.kernel.netlink.routes import Route
from shared.kernel.netlink.wire import Message

POD_LINK = "eth0"


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a pod may receive and send, in bits per second; 0 is unlimited."""

    ingress: int = 0
    egress: int = 0


def mac_of(address: str) -> str:
    """A locally administered MAC made from an IPv4 address, so that it is unique wherever the address is."""
    return "0a:58:" + ipaddress.IPv4Address(address).packed.hex(":")


def uplink(connection: NetlinkSocket, node_ip: str) -> Link:
    """The link that has the node's address; NetworkError if there is none."""
    owners = {item.index for item in routes.addresses(connection) if item.address == node_ip}
    for link in links.every(connection):
        if link.index in owners:
            return link
    raise NetworkError(f"node address {node_ip} belongs to no link")


def ensure_bridge(
    connection: NetlinkSocket, name: str, network: ipaddress.IPv4Network, mtu: int, keep: set[str]
) -> Link:
    """The bridge with the gateway address of the pod network, up; older gateways stay as long as they are in `keep`."""
    gateway = str(network[1])
    connection.execute([links.add_bridge(name, mac=mac_of(gateway), mtu=mtu)], ignore=(errno.EEXIST,))
    bridge = _existing(connection, name)
    requests = [links.set_up(bridge.index, mtu=mtu), routes.add_address(bridge.index, gateway, network.prefixlen)]
    for present in list(routes.addresses(connection, index=bridge.index)):
        if present.address != gateway and present.address not in keep:
            requests.append(routes.delete_address(bridge.index, present.address, present.prefix))
    connection.execute(requests)
    return _existing(connection, name)


def allow_forwarding(bridge: Link, outside: Link) -> None:
    """Set the sysctls of the calling thread's network namespace that a router for pods needs."""
    settings = {
        "net.ipv4.ip_forward": "1",
        # node ports and host ports on 127.0.0.1; the table `wherry-network` keeps others out
        "net.ipv4.conf.all.route_localnet": "1",
    }
    # pods reach each other through their gateway, and the host all nodes through one: that is intended, and complaints
    # about it would use up the rate limit of the ICMP messages that refuse a connection
    for name in ("all", bridge.name, outside.name):
        settings[f"net.ipv4.conf.{name.replace('.', '/')}.send_redirects"] = "0"
    for name, value in settings.items():
        netns.write_sysctl(name, value)


def _existing(connection: NetlinkSocket, name: str) -> Link:
    link = links.find(connection, name)
    if link is None:
        raise NetworkError(f"link {name}: it vanished")
    return link


def connect(
    connection: NetlinkSocket,
    bridge: Link,
    lease: Lease,
    network: ipaddress.IPv4Network,
    netns_path: str,
    bandwidth: Bandwidth | None,
    *,
    fresh: bool = False,
) -> None:
    """Join the namespace to the bridge with the leased address; completes what an earlier attempt left half done.

    For a `fresh` lease there was none, and nothing is looked for.
    """
    mac = mac_of(lease.address)
    gateway = str(network[1])
    with open(netns_path, "rb") as namespace:
        with netns.enter(netns_path):
            inside = NetlinkSocket()
        with inside:
            eth0 = None if fresh else links.find(inside, POD_LINK)
            if eth0 is None:
                requests: list[Message] = [
                    links.add_veth(
                        lease.link,
                        POD_LINK,
                        peer_namespace=namespace.fileno(),
                        master=bridge.index,
                        mtu=bridge.mtu,
                        peer_mac=mac,
                    ),
                    links.reflect(lease.link),
                    routes.add_neighbour(bridge.index, lease.address, mac),
                ]
                if not fresh and links.find(connection, lease.link) is not None:
                    connection.execute([links.delete(lease.link)])
                connection.execute(requests)
                eth0 = _existing(inside, POD_LINK)
            inside.execute(
                [
                    links.set_up(1),
                    links.set_up(eth0.index),
                    routes.add_address(eth0.index, lease.address, network.prefixlen, no_prefix_route=True),
                    routes.add_neighbour(eth0.index, gateway, bridge.mac),
                    routes.replace_route(Route(f"{gateway}/32", "", eth0.index, routes.PROTOCOL_BOOT)),
                    routes.replace_route(Route("0.0.0.0/0", gateway, eth0.index, routes.PROTOCOL_BOOT)),
                ]
            )
            outer = links.wait_running(connection, lease.link)
            if bandwidth is not None and bandwidth.egress:
                inside.execute([queues.limit(eth0.index, bandwidth.egress)])
            if bandwidth is not None and bandwidth.ingress:
                connection.execute([queues.limit(outer.index, bandwidth.ingress)])


def disconnect(connection: NetlinkSocket, bridge: Link, leases: list[Lease], strays: list[str]) -> None:
    """Remove the veth pairs of these leases and these links.

    All of them in one request, through a group: the kernel waits about 20 ms for its readers per request, not per link.
    """
    names = [lease.link for lease in leases] + strays
    connection.submit([links.set_group(name, links.GROUP_DOOMED) for name in names])
    connection.execute([links.delete_group(links.GROUP_DOOMED)], ignore=(errno.ENODEV,))
    connection.execute(
        [routes.delete_neighbour(bridge.index, lease.address) for lease in leases], ignore=(errno.ENOENT,)
    )
