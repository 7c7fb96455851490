"""IPv4 addresses, routes and neighbours over rtnetlink(7).

Builders return messages, so that a caller batches what belongs together into one system call; readers take a socket.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkSocket
from shared.kernel.netlink.wire import Message

RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29

SCOPE_GLOBAL = 0
SCOPE_LINK = 253
# marks the routes of Wherry (rt_protos numbers below 192 are free for administrators and daemons)
PROTOCOL_WHERRY = 157
PROTOCOL_BOOT = 3

_TABLE_MAIN = 254
_TYPE_UNICAST = 1
_NUD_PERMANENT = 0x80
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_IFA_FLAGS = 8
_IFA_F_NOPREFIXROUTE = 0x200
_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6
_RTA_TABLE = 15
_NDA_DST = 1
_NDA_LLADDR = 2

_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


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


def _address_body(index: int, address: str, prefix: int, no_prefix_route: bool) -> bytes:
    packed = socket.inet_aton(address)
    body = _ADDRESS.pack(socket.AF_INET, prefix, 0, SCOPE_GLOBAL, index)
    body += wire.attribute(_IFA_LOCAL, packed) + wire.attribute(_IFA_ADDRESS, packed)
    if prefix < 31 and not no_prefix_route:
        host_bits = (1 << (32 - prefix)) - 1
        body += wire.attribute(_IFA_BROADCAST, (int.from_bytes(packed, "big") | host_bits).to_bytes(4, "big"))
    if no_prefix_route:
        body += wire.u32(_IFA_FLAGS, _IFA_F_NOPREFIXROUTE)
    return body


def add_address(index: int, address: str, prefix: int, *, no_prefix_route: bool = False) -> Message:
    """Give a link an address; without its prefix route nothing but what routes say is reachable directly."""
    body = _address_body(index, address, prefix, no_prefix_route)
    return Message(RTM_NEWADDR, wire.F_CREATE | wire.F_REPLACE, body)


def delete_address(index: int, address: str, prefix: int) -> Message:
    """Take an address from a link."""
    return Message(RTM_DELADDR, 0, _address_body(index, address, prefix, True))


def addresses(connection: NetlinkSocket, *, index: int = 0) -> Iterator[Address]:
    """The IPv4 addresses of all links, or of one."""
    request = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, index)
    for reply in connection.dump(Message(RTM_GETADDR, 0, request)):
        if reply.kind == RTM_NEWADDR:
            _, prefix, _, _, owner = _ADDRESS.unpack_from(reply.body)
            values = wire.table(reply.body, _ADDRESS.size)
            yield Address(owner, socket.inet_ntoa(values.get(_IFA_LOCAL, values[_IFA_ADDRESS])), prefix)


def _route_body(route: Route) -> bytes:
    network, _, prefix = route.destination.partition("/")
    scope = SCOPE_GLOBAL if route.gateway else SCOPE_LINK
    body = _ROUTE.pack(
        socket.AF_INET, int(prefix), 0, 0, _TABLE_MAIN, route.protocol, scope, _TYPE_UNICAST, 0
    ) + wire.attribute(_RTA_DST, socket.inet_aton(network))
    if route.gateway:
        body += wire.attribute(_RTA_GATEWAY, socket.inet_aton(route.gateway))
    if route.index:
        body += wire.u32(_RTA_OIF, route.index)
    if route.metric:
        body += wire.u32(_RTA_PRIORITY, route.metric)
    return body


def add_route(route: Route) -> Message:
    """Add a route; EEXIST if the destination has one already."""
    return Message(RTM_NEWROUTE, wire.F_CREATE | wire.F_EXCLUSIVE, _route_body(route))


def replace_route(route: Route) -> Message:
    """Add a route or change the one to the same destination."""
    return Message(RTM_NEWROUTE, wire.F_CREATE | wire.F_REPLACE, _route_body(route))


def delete_route(route: Route) -> Message:
    """Remove a route; ESRCH if it is gone."""
    return Message(RTM_DELROUTE, 0, _route_body(route))


def routes(connection: NetlinkSocket, *, protocol: int = 0) -> Iterator[Route]:
    """The unicast IPv4 routes of the main table, or those of one routing protocol."""
    request = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, protocol, 0, _TYPE_UNICAST, 0) + wire.u32(_RTA_TABLE, _TABLE_MAIN)
    for reply in connection.dump(Message(RTM_GETROUTE, 0, request)):
        if reply.kind != RTM_NEWROUTE:
            continue
        _, prefix, _, _, _, owner, _, _, _ = _ROUTE.unpack_from(reply.body)
        values = wire.table(reply.body, _ROUTE.size)
        gateway = values.get(_RTA_GATEWAY)
        yield Route(
            destination=f"{socket.inet_ntoa(values.get(_RTA_DST, bytes(4)))}/{prefix}",
            gateway=socket.inet_ntoa(gateway) if gateway else "",
            index=wire.number(values.get(_RTA_OIF, b"")),
            protocol=owner,
            metric=wire.number(values.get(_RTA_PRIORITY, b"")),
        )


def _neighbour_body(index: int, address: str, mac: str) -> bytes:
    body = _NEIGHBOUR.pack(socket.AF_INET, index, _NUD_PERMANENT, 0, 0)
    body += wire.attribute(_NDA_DST, socket.inet_aton(address))
    return body + (wire.attribute(_NDA_LLADDR, bytes.fromhex(mac.replace(":", ""))) if mac else b"")


def add_neighbour(index: int, address: str, mac: str) -> Message:
    """A permanent neighbour, so that the first packet does not wait for ARP."""
    return Message(RTM_NEWNEIGH, wire.F_CREATE | wire.F_REPLACE, _neighbour_body(index, address, mac))


def delete_neighbour(index: int, address: str) -> Message:
    """Forget a neighbour; ENOENT if it is unknown."""
    return Message(RTM_DELNEIGH, 0, _neighbour_body(index, address, ""))
