"""Network links over rtnetlink(7): bridges, veth pairs, their ports.

Their messages are packed here and not by pyroute2: to make and to read those that a pod needs took it 1.7 ms, more than
twice as long as the kernel takes to carry them out.

Builders return messages, so that a caller batches what belongs together into one system call; readers take a socket.
"""

import errno
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkError, NetlinkSocket
from shared.kernel.netlink.wire import Message, Reply

# links that wait to be removed together
GROUP_DOOMED = 0x77686572

# linux/rtnetlink.h, if_link.h: struct ifinfomsg (family, type, index, flags, change), messages and attributes
_INFORMATION = struct.Struct("=BxHiII")
_NEW, _DELETE, _GET = 16, 17, 18
_ADDRESS, _IFNAME, _MTU, _MASTER, _OPERSTATE, _LINKINFO, _GROUP, _NET_NS_FD, _EXT_MASK = 1, 3, 4, 10, 16, 18, 27, 28, 29
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_BRPORT_MODE = 4
_UP = 0x1
_STATE_UNKNOWN, _STATE_UP = b"\x00", b"\x06"
_HAIRPIN = 1
_SKIP_STATISTICS = wire.u32(_EXT_MASK, 8)
_WITH_MAC = (1, 772)
_POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface; `mac` as in aa:bb:cc:dd:ee:ff, "" if it has another kind of address; `master` the index
    of its bridge or 0; `mtu` in bytes.

    `running` is whether it passes packets (RFC 2863 ifOperStatus up, or unknown as for loopback).
    """

    index: int
    name: str
    up: bool
    running: bool
    mtu: int
    mac: str
    master: int


def _request(kind: int, flags: int, *attributes: bytes, index: int = 0, up: bool = False) -> Message:
    """`up` brings the link up."""
    change = _UP if up else 0
    return Message(kind, flags, b"".join((_INFORMATION.pack(0, 0, index, change, change), *attributes)))


def _name(name: str) -> bytes:
    return wire.text(_IFNAME, name)


def _mac(mac: str) -> bytes:
    return wire.attribute(_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""


def _kind(kind: str, *more: bytes) -> bytes:
    return wire.nested(_LINKINFO, wire.text(_INFO_KIND, kind), *more)


def add_bridge(name: str, *, mac: str, mtu: int) -> Message:
    """Create a bridge that is up. Its address is given, as a bridge otherwise takes the lowest one of its ports."""
    attributes = (_name(name), wire.u32(_MTU, mtu), _mac(mac), _kind("bridge"))
    return _request(_NEW, wire.F_CREATE | wire.F_EXCLUSIVE, *attributes, up=True)


def add_veth(
    name: str, peer: str, *, peer_namespace: int, master: int, mtu: int, mac: str = "", peer_mac: str = ""
) -> Message:
    """Create a veth pair: `name` here, up, on bridge `master`; `peer`, down, in the namespace of a descriptor.

    The peer has to be brought up afterwards: the kernel configures it before the two are joined (veth_open, ENOTCONN).
    """
    other_end = (_name(peer), wire.u32(_MTU, mtu), wire.u32(_NET_NS_FD, peer_namespace), _mac(peer_mac))
    pair = wire.nested(_INFO_DATA, wire.nested(_VETH_PEER, _INFORMATION.pack(0, 0, 0, 0, 0), *other_end))
    return _request(
        _NEW,
        wire.F_CREATE | wire.F_EXCLUSIVE,
        _name(name),
        wire.u32(_MTU, mtu),
        wire.u32(_MASTER, master),
        _mac(mac),
        _kind("veth", pair),
        up=True,
    )


def reflect(name: str) -> Message:
    """Let this bridge port send a frame back where it came from (hairpin mode)."""
    mode = wire.nested(_INFO_SLAVE_DATA, wire.u8(_BRPORT_MODE, _HAIRPIN))
    return _request(_NEW, 0, _name(name), wire.nested(_LINKINFO, wire.text(_INFO_SLAVE_KIND, "bridge"), mode))


def set_up(index: int, *, mtu: int = 0) -> Message:
    """Bring a link up and, unless it is 0, set its MTU in bytes."""
    return _request(_NEW, 0, *((wire.u32(_MTU, mtu),) if mtu else ()), index=index, up=True)


def delete(name: str) -> Message:
    """Remove a link; of a veth pair both ends."""
    return _request(_DELETE, 0, _name(name))


def set_group(name: str, group: int) -> Message:
    """Put a link into a group, so that `delete_group` takes it."""
    return _request(_NEW, 0, _name(name), wire.u32(_GROUP, group))


def delete_group(group: int) -> Message:
    """Remove all links of a group at once; ENODEV if it is empty."""
    return _request(_DELETE, 0, wire.u32(_GROUP, group))


def find(connection: NetlinkSocket, name: str) -> Link | None:
    """The link of that name, None if there is none."""
    try:
        replies = connection.request(_request(_GET, 0, _name(name), _SKIP_STATISTICS))
    except NetlinkError as exc:
        if exc.errno == errno.ENODEV:
            return None
        raise
    return _link(replies[0])


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
    selection = (wire.u32(_MASTER, master),) if master else ()
    return map(_link, connection.snapshot(_request(_GET, 0, *selection, _SKIP_STATISTICS)))


def _link(reply: Reply) -> Link:
    body = reply.body
    _family, hardware, index, flags, _change = _INFORMATION.unpack_from(body)
    values = wire.table(body, _INFORMATION.size)
    return Link(
        index=index,
        name=wire.string(values[_IFNAME]),
        up=bool(flags & _UP),
        running=values.get(_OPERSTATE, _STATE_UNKNOWN) in (_STATE_UNKNOWN, _STATE_UP),
        mtu=_number(values, _MTU),
        mac=values.get(_ADDRESS, b"").hex(":") if hardware in _WITH_MAC else "",
        master=_number(values, _MASTER),
    )


def _number(values: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(values.get(kind, b""), sys.byteorder)
