"""IPv4 addresses, routes and neighbours over rtnetlink(7).

Builders return messages, so that a caller batches what belongs together into one system call; readers take a socket.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkSocket
from shared.kernel.netlink.rtnetlink import Attribute, content, request
from shared.kernel.netlink.wire import Message, Reply

# marks the routes of Wherry (rt_protos numbers below 192 are free for administrators and daemons)
PROTOCOL_WHERRY = 157
PROTOCOL_BOOT = 3

_SCOPE_GLOBAL = 0
_SCOPE_LINK = 253
_TABLE_MAIN = 254
_TYPE_UNICAST = 1
_NUD_PERMANENT = 0x80

# what differs from pod to pod is packed here and not by pyroute2, see links.py; if_addr.h and neighbour.h: structs
# ifaddrmsg (family, prefix, flags, scope, index) and ndmsg (family, index, state, flags, type), messages, attributes
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_NEWADDR, _DELADDR, _NEWNEIGH, _DELNEIGH = 20, 21, 28, 29
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_NDA_DST, _NDA_LLADDR = 1, 2
_NO_PREFIX_ROUTE = wire.u32(_IFA_FLAGS, 0x200)


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address of a link."""

    index: int
    address: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv4 route of the main table; `destination` as in 10.0.0.0/8 (default: 0.0.0.0/0), `gateway` "" if on link."""

    destination: str
    gateway: str
    index: int
    protocol: int
    metric: int = 0


def _address(kind: int, flags: int, index: int, address: str, prefix: int, *attributes: bytes) -> Message:
    fields = _ADDRESS.pack(socket.AF_INET, prefix, 0, 0, index)
    raw = socket.inet_aton(address)
    ends = (wire.attribute(_IFA_ADDRESS, raw), wire.attribute(_IFA_LOCAL, raw))
    return Message(kind, flags, b"".join((fields, *ends, *attributes)))


def add_address(index: int, address: str, prefix: int, *, no_prefix_route: bool = False) -> Message:
    """Give a link an address; without its prefix route nothing but what routes say is reachable directly."""
    attributes = []
    if no_prefix_route:
        attributes.append(_NO_PREFIX_ROUTE)
    elif prefix < 31:
        network = ipaddress.IPv4Network((address, prefix), strict=False)
        attributes.append(wire.attribute(_IFA_BROADCAST, network.broadcast_address.packed))
    return _address(_NEWADDR, wire.F_CREATE | wire.F_REPLACE, index, address, prefix, *attributes)


def delete_address(index: int, address: str, prefix: int) -> Message:
    """Take an address from a link."""
    return _address(_DELADDR, 0, index, address, prefix)


def addresses(connection: NetlinkSocket, *, index: int = 0) -> Iterator[Address]:
    """The IPv4 addresses of all links, or of one."""
    return map(
        _read_address, connection.snapshot(request("RTM_GETADDR", 0, (("family", socket.AF_INET), ("index", index))))
    )


def _read_address(reply: Reply) -> Address:
    message = content(reply)
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return Address(message["index"], address, message["prefixlen"])


def _route(kind: str, flags: int, route: Route) -> Message:
    network, _, prefix = route.destination.partition("/")
    fields = (
        ("family", socket.AF_INET),
        ("dst_len", int(prefix)),
        ("table", _TABLE_MAIN),
        ("proto", route.protocol),
        ("scope", _SCOPE_GLOBAL if route.gateway else _SCOPE_LINK),
        ("type", _TYPE_UNICAST),
    )
    attributes: list[Attribute] = [("RTA_DST", network)]
    if route.gateway:
        attributes.append(("RTA_GATEWAY", route.gateway))
    if route.index:
        attributes.append(("RTA_OIF", route.index))
    if route.metric:
        attributes.append(("RTA_PRIORITY", route.metric))
    return request(kind, flags, fields, *attributes)


def add_route(route: Route) -> Message:
    """Add a route; EEXIST if the destination has one already."""
    return _route("RTM_NEWROUTE", wire.F_CREATE | wire.F_EXCLUSIVE, route)


def replace_route(route: Route) -> Message:
    """Add a route or change the one to the same destination."""
    return _route("RTM_NEWROUTE", wire.F_CREATE | wire.F_REPLACE, route)


def delete_route(route: Route) -> Message:
    """Remove a route; ESRCH if it is gone."""
    return _route("RTM_DELROUTE", 0, route)


def routes(connection: NetlinkSocket, *, protocol: int = 0) -> Iterator[Route]:
    """The unicast IPv4 routes of the main table, or those of one routing protocol."""
    fields = (("family", socket.AF_INET), ("proto", protocol), ("type", _TYPE_UNICAST))
    return map(_read_route, connection.snapshot(request("RTM_GETROUTE", 0, fields, ("RTA_TABLE", _TABLE_MAIN))))


def _read_route(reply: Reply) -> Route:
    message = content(reply)
    return Route(
        destination=f"{message.get_attr('RTA_DST', '0.0.0.0')}/{message['dst_len']}",
        gateway=message.get_attr("RTA_GATEWAY", ""),
        index=message.get_attr("RTA_OIF", 0),
        protocol=message["proto"],
        metric=message.get_attr("RTA_PRIORITY", 0),
    )


def _neighbour(kind: int, flags: int, index: int, address: str, *attributes: bytes) -> Message:
    fields = _NEIGHBOUR.pack(socket.AF_INET, index, _NUD_PERMANENT, 0, 0)
    destination = wire.attribute(_NDA_DST, socket.inet_aton(address))
    return Message(kind, flags, b"".join((fields, destination, *attributes)))


def add_neighbour(index: int, address: str, mac: str) -> Message:
    """A permanent neighbour, so that the first packet does not wait for ARP."""
    link_address = wire.attribute(_NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    return _neighbour(_NEWNEIGH, wire.F_CREATE | wire.F_REPLACE, index, address, link_address)


def delete_neighbour(index: int, address: str) -> Message:
    """Forget a neighbour; ENOENT if it is unknown."""
    return _neighbour(_DELNEIGH, 0, index, address)
