"""Network links over rtnetlink(7): bridges, veth pairs, their ports.

Builders return messages, so that a caller batches what belongs together into one system call; readers take a socket.
"""

import errno
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkError, NetlinkSocket
from shared.kernel.netlink.wire import Message

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18

IFF_UP = 0x1
# links that wait to be removed together
GROUP_DOOMED = 0x77686572

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_OPERSTATE = 16
_IFLA_LINKINFO = 18
_IFLA_GROUP = 27
_IFLA_NET_NS_FD = 28
_IFLA_EXT_MASK = 29
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INFO_SLAVE_KIND = 4
_IFLA_INFO_SLAVE_DATA = 5
_VETH_INFO_PEER = 1
_IFLA_BRPORT_MODE = 4
_SKIP_STATISTICS = 8
_RUNNING = (0, 6)
_POLL_S = 0.001

_INTERFACE = struct.Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface; `mac` as in aa:bb:cc:dd:ee:ff, `master` the index of its bridge or 0.

    `running` is whether it passes packets (RFC 2863 ifOperStatus up, or unknown as for loopback).
    """

    index: int
    name: str
    up: bool
    running: bool
    mtu: int
    mac: str
    master: int
    kind: str


def _body(index: int, flags: int, change: int, *children: bytes) -> bytes:
    return _INTERFACE.pack(socket.AF_UNSPEC, 0, index, flags, change) + b"".join(children)


def _mac(value: str) -> bytes:
    return wire.attribute(_IFLA_ADDRESS, bytes.fromhex(value.replace(":", "")))


def add_bridge(name: str, *, mac: str, mtu: int) -> Message:
    """Create a bridge that is up. Its address is given, as a bridge otherwise takes the lowest one of its ports."""
    body = _body(
        0,
        IFF_UP,
        IFF_UP,
        wire.text(_IFLA_IFNAME, name),
        wire.u32(_IFLA_MTU, mtu),
        _mac(mac),
        wire.nested(_IFLA_LINKINFO, wire.text(_IFLA_INFO_KIND, "bridge")),
    )
    return Message(RTM_NEWLINK, wire.F_CREATE | wire.F_EXCLUSIVE, body)


def add_veth(
    name: str, peer: str, *, peer_namespace: int, master: int, mtu: int, mac: str = "", peer_mac: str = ""
) -> Message:
    """Create a veth pair: `name` here, up, on bridge `master`; `peer`, down, in the namespace of a descriptor.

    The peer has to be brought up afterwards: the kernel configures it before the two are joined (veth_open, ENOTCONN).
    """
    inner = _body(
        0,
        0,
        0,
        wire.text(_IFLA_IFNAME, peer),
        wire.u32(_IFLA_MTU, mtu),
        wire.u32(_IFLA_NET_NS_FD, peer_namespace),
        _mac(peer_mac) if peer_mac else b"",
    )
    body = _body(
        0,
        IFF_UP,
        IFF_UP,
        wire.text(_IFLA_IFNAME, name),
        wire.u32(_IFLA_MTU, mtu),
        wire.u32(_IFLA_MASTER, master),
        _mac(mac) if mac else b"",
        wire.nested(
            _IFLA_LINKINFO,
            wire.text(_IFLA_INFO_KIND, "veth"),
            wire.nested(_IFLA_INFO_DATA, wire.attribute(_VETH_INFO_PEER, inner)),
        ),
    )
    return Message(RTM_NEWLINK, wire.F_CREATE | wire.F_EXCLUSIVE, body)


def reflect(name: str) -> Message:
    """Let this bridge port send a frame back where it came from (hairpin mode)."""
    data = wire.nested(_IFLA_INFO_SLAVE_DATA, wire.u8(_IFLA_BRPORT_MODE, 1))
    info = wire.nested(_IFLA_LINKINFO, wire.text(_IFLA_INFO_SLAVE_KIND, "bridge"), data)
    return Message(RTM_NEWLINK, 0, _body(0, 0, 0, wire.text(_IFLA_IFNAME, name), info))


def set_up(index: int, *, mtu: int = 0) -> Message:
    """Bring a link up and, unless it is 0, set its MTU in bytes."""
    extra = wire.u32(_IFLA_MTU, mtu) if mtu else b""
    return Message(RTM_NEWLINK, 0, _body(index, IFF_UP, IFF_UP, extra))


def delete(name: str) -> Message:
    """Remove a link; of a veth pair both ends."""
    return Message(RTM_DELLINK, 0, _body(0, 0, 0, wire.text(_IFLA_IFNAME, name)))


def set_group(name: str, group: int) -> Message:
    """Put a link into a group, so that `delete_group` takes it."""
    return Message(RTM_NEWLINK, 0, _body(0, 0, 0, wire.text(_IFLA_IFNAME, name), wire.u32(_IFLA_GROUP, group)))


def delete_group(group: int) -> Message:
    """Remove all links of a group at once; ENODEV if it is empty."""
    return Message(RTM_DELLINK, 0, _body(0, 0, 0, wire.u32(_IFLA_GROUP, group)))


def find(connection: NetlinkSocket, name: str) -> Link | None:
    """The link of that name, None if there is none."""
    request = _body(0, 0, 0, wire.text(_IFLA_IFNAME, name), wire.u32(_IFLA_EXT_MASK, _SKIP_STATISTICS))
    try:
        replies = connection.request(Message(RTM_GETLINK, 0, request))
    except NetlinkError as exc:
        if exc.errno == errno.ENODEV:
            return None
        raise
    return _link(replies[0].body)


def wait_running(connection: NetlinkSocket, name: str, limit_s: float = 2.0) -> Link:
    """The link once it passes packets; NetlinkError ENODEV if there is none, ETIMEDOUT if it does not.

    When the other end of a veth pair comes up, the kernel gives this end its queue and its bridge port a little later,
    in a work queue, and drops packets until then. Since Linux 6.8 asking for the link completes that work.
    """
    deadline = time.monotonic() + limit_s
    while True:
        link = find(connection, name)
        if link is None:
            raise NetlinkError(errno.ENODEV, f"link {name} vanished")
        if link.running:
            return link
        if time.monotonic() > deadline:
            raise NetlinkError(errno.ETIMEDOUT, f"link {name} does not come up")
        time.sleep(_POLL_S)


def every(connection: NetlinkSocket, *, master: int = 0) -> Iterator[Link]:
    """All links, or those on the bridge with index `master`."""
    selection = wire.u32(_IFLA_MASTER, master) if master else b""
    request = _body(0, 0, 0, selection, wire.u32(_IFLA_EXT_MASK, _SKIP_STATISTICS))
    for reply in connection.dump(Message(RTM_GETLINK, 0, request)):
        if reply.kind == RTM_NEWLINK:
            yield _link(reply.body)


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _INTERFACE.unpack_from(body)
    values = wire.table(body, _INTERFACE.size)
    information = wire.table(values.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=wire.string(values[_IFLA_IFNAME]),
        up=bool(flags & IFF_UP),
        running=wire.number(values.get(_IFLA_OPERSTATE, b"")) in _RUNNING,
        mtu=wire.number(values.get(_IFLA_MTU, b"")),
        mac=values.get(_IFLA_ADDRESS, b"").hex(":"),
        master=wire.number(values.get(_IFLA_MASTER, b"")),
        kind=wire.string(information.get(_IFLA_INFO_KIND, b"")),
    )
