"""Network links over rtnetlink(7): bridges, veth pairs, their ports.

Builders return messages, so that a caller batches what belongs together into one system call; readers take a socket.
"""

import errno
import time
from collections.abc import Iterator
from dataclasses import dataclass

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkError, NetlinkSocket
from shared.kernel.netlink.rtnetlink import Attribute, content, nested, request
from shared.kernel.netlink.wire import Message, Reply

# links that wait to be removed together
GROUP_DOOMED = 0x77686572

_UP = 0x1
_BRING_UP = (("flags", _UP), ("change", _UP))
_HAIRPIN = 1
_SKIP_STATISTICS = ("IFLA_EXT_MASK", 8)
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


def add_bridge(name: str, *, mac: str, mtu: int) -> Message:
    """Create a bridge that is up. Its address is given, as a bridge otherwise takes the lowest one of its ports."""
    return request(
        "RTM_NEWLINK",
        wire.F_CREATE | wire.F_EXCLUSIVE,
        _BRING_UP,
        ("IFLA_IFNAME", name),
        ("IFLA_MTU", mtu),
        ("IFLA_ADDRESS", mac),
        ("IFLA_LINKINFO", nested(("IFLA_INFO_KIND", "bridge"))),
    )


def add_veth(
    name: str, peer: str, *, peer_namespace: int, master: int, mtu: int, mac: str = "", peer_mac: str = ""
) -> Message:
    """Create a veth pair: `name` here, up, on bridge `master`; `peer`, down, in the namespace of a descriptor.

    The peer has to be brought up afterwards: the kernel configures it before the two are joined (veth_open, ENOTCONN).
    """
    other_end = nested(
        ("IFLA_IFNAME", peer), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", peer_namespace), *_address(peer_mac)
    )
    return request(
        "RTM_NEWLINK",
        wire.F_CREATE | wire.F_EXCLUSIVE,
        _BRING_UP,
        ("IFLA_IFNAME", name),
        ("IFLA_MTU", mtu),
        ("IFLA_MASTER", master),
        *_address(mac),
        (
            "IFLA_LINKINFO",
            nested(("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", nested(("VETH_INFO_PEER", other_end)))),
        ),
    )


def _address(mac: str) -> list[Attribute]:
    return [("IFLA_ADDRESS", mac)] if mac else []


def reflect(name: str) -> Message:
    """Let this bridge port send a frame back where it came from (hairpin mode)."""
    mode = nested(("IFLA_BRPORT_MODE", _HAIRPIN))
    port = nested(("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", mode))
    return request("RTM_NEWLINK", 0, (), ("IFLA_IFNAME", name), ("IFLA_LINKINFO", port))


def set_up(index: int, *, mtu: int = 0) -> Message:
    """Bring a link up and, unless it is 0, set its MTU in bytes."""
    attributes: list[Attribute] = [("IFLA_MTU", mtu)] if mtu else []
    return request("RTM_NEWLINK", 0, (("index", index), *_BRING_UP), *attributes)


def delete(name: str) -> Message:
    """Remove a link; of a veth pair both ends."""
    return request("RTM_DELLINK", 0, (), ("IFLA_IFNAME", name))


def set_group(name: str, group: int) -> Message:
    """Put a link into a group, so that `delete_group` takes it."""
    return request("RTM_NEWLINK", 0, (), ("IFLA_IFNAME", name), ("IFLA_GROUP", group))


def delete_group(group: int) -> Message:
    """Remove all links of a group at once; ENODEV if it is empty."""
    return request("RTM_DELLINK", 0, (), ("IFLA_GROUP", group))


def find(connection: NetlinkSocket, name: str) -> Link | None:
    """The link of that name, None if there is none."""
    try:
        replies = connection.request(request("RTM_GETLINK", 0, (), ("IFLA_IFNAME", name), _SKIP_STATISTICS))
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
    selection: list[Attribute] = [("IFLA_MASTER", master)] if master else []
    return map(_link, connection.snapshot(request("RTM_GETLINK", 0, (), *selection, _SKIP_STATISTICS)))


def _link(reply: Reply) -> Link:
    message = content(reply)
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        up=bool(message["flags"] & _UP),
        running=message.get_attr("IFLA_OPERSTATE", "UNKNOWN") in ("UP", "UNKNOWN"),
        mtu=message.get_attr("IFLA_MTU", 0),
        # pyroute2 takes every address for six bytes
        mac=message.get_attr("IFLA_ADDRESS", "") if message["ifi_type"] in _WITH_MAC else "",
        master=message.get_attr("IFLA_MASTER", 0),
    )
