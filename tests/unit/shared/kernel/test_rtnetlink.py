"""What becomes of our requests, taken apart again as the kernel does it."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.netlink import Message, links, queues, routes, wire
from shared.kernel.netlink.routes import Route
from shared.kernel.netlink.rtnetlink import Structure, content, request
from shared.kernel.netlink.wire import Reply

LINK, ADDRESS, ROUTE, NEIGHBOUR, QUEUE = 16, 8, 12, 12, 20

addresses = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))
indices = st.integers(1, 2**31 - 1)
macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """pyroute2 in memory, so that no example has to wait for it."""
    routes.delete_route(Route("0.0.0.0/0", "", 1, 3))


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def reply_to(message: Message) -> Reply:
    """The message as if the kernel had sent it."""
    return next(wire.decode(wire.encode(message, 1, 0)))


@given(indices, indices, st.integers(68, 65535), macs)
def test_a_veth_pair_has_one_end_here_and_one_in_the_namespace(
    descriptor: int, bridge: int, mtu: int, mac: str
) -> None:
    pair = links.add_veth("veth0", "eth0", peer_namespace=descriptor, master=bridge, mtu=mtu, peer_mac=mac)
    assert pair.flags == wire.F_CREATE | wire.F_EXCLUSIVE
    assert pair.body[8:LINK] == u32(1) + u32(1)
    near = wire.table(pair.body, LINK)
    information = near.pop(18)
    assert near == {3: b"veth0\0", 4: u32(mtu), 10: u32(bridge)}
    assert wire.table(information)[1] == b"veth\0"
    far = wire.table(wire.table(information)[2])[1]
    assert wire.table(far, LINK) == {3: b"eth0\0", 4: u32(mtu), 28: u32(descriptor), 1: packed(mac)}


@given(macs, st.integers(68, 65535))
def test_a_bridge_has_a_given_address(mac: str, mtu: int) -> None:
    values = wire.table(links.add_bridge("bridge0", mac=mac, mtu=mtu).body, LINK)
    assert values == {3: b"bridge0\0", 4: u32(mtu), 1: packed(mac), 18: wire.text(1, "bridge")}


def test_hairpin_mode_belongs_to_the_port() -> None:
    values = wire.table(links.reflect("veth0").body, LINK)
    port = wire.table(values.pop(18))
    assert values == {3: b"veth0\0"}
    assert port[4] == b"bridge\0"
    assert wire.table(port[5]) == {4: b"\x01"}


def test_links_are_named_by_index_name_or_group() -> None:
    assert links.set_up(7).body == struct.pack("=BxHiII", 0, 0, 7, 1, 1)
    assert wire.table(links.set_up(7, mtu=1400).body, LINK) == {4: u32(1400)}
    assert wire.table(links.delete("veth0").body, LINK) == {3: b"veth0\0"}
    assert wire.table(links.set_group("veth0", 5).body, LINK) == {3: b"veth0\0", 27: u32(5)}
    assert wire.table(links.delete_group(5).body, LINK) == {27: u32(5)}


@given(addresses, st.integers(0, 32), indices)
def test_an_address_broadcasts_to_its_network_unless_it_has_none(address: str, prefix: int, index: int) -> None:
    raw = socket.inet_aton(address)
    message = routes.add_address(index, address, prefix)
    assert message.body[:ADDRESS] == struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index)
    values = wire.table(message.body, ADDRESS)
    broadcast = values.pop(4, None)
    assert values == {1: raw, 2: raw}
    if prefix < 31:
        host = 2 ** (32 - prefix) - 1
        assert broadcast == (int.from_bytes(raw, "big") | host).to_bytes(4, "big")
    else:
        assert broadcast is None
    bare = wire.table(routes.add_address(index, address, prefix, no_prefix_route=True).body, ADDRESS)
    assert bare == {1: raw, 2: raw, 8: u32(0x200)}


@given(
    st.builds(
        lambda network, prefix, gateway, index, protocol, metric: Route(
            f"{network}/{prefix}", gateway, index, protocol, metric
        ),
        addresses,
        st.integers(0, 32),
        addresses | st.just(""),
        indices,
        st.integers(0, 255),
        st.integers(0, 2**32 - 1),
    )
)
def test_a_route_survives_the_way_to_the_kernel_and_back(route: Route) -> None:
    class Kernel:
        def snapshot(self, message: Message) -> list[Reply]:
            return [reply_to(routes.replace_route(route))]

    assert list(routes.routes(Kernel())) == [route]  # type: ignore[arg-type]


@given(addresses, macs, indices)
def test_a_neighbour_is_permanent(address: str, mac: str, index: int) -> None:
    message = routes.add_neighbour(index, address, mac)
    assert message.body[:NEIGHBOUR] == struct.pack("=BxxxiHBB", socket.AF_INET, index, 0x80, 0, 0)
    assert wire.table(message.body, NEIGHBOUR) == {1: socket.inet_aton(address), 2: packed(mac)}


@pytest.mark.parametrize(("bits", "rate64"), [(10_000_000, None), (40_000_000_000, 5_000_000_000)])
def test_a_limit_above_34_gigabits_has_a_rate_of_64_bits(bits: int, rate64: int | None) -> None:
    message = queues.limit(3, bits)
    assert message.body[:QUEUE] == struct.pack("=BxxxiIII", 0, 3, 1 << 16, 0xFFFFFFFF, 0)
    values = wire.table(message.body, QUEUE)
    assert values[1] == b"tbf\0"
    options = wire.table(values[2])
    rate, burst = bits // 8, max(65536, bits // 800)
    assert struct.unpack_from("=BBHhHI", options[1]) == (0, 1, 0, 0, 0, min(rate, 2**32 - 1))
    assert struct.unpack_from("=III", options[1], 24) == (int(rate * 0.025) + burst, 0, 0)
    assert options[6] == u32(burst)
    assert options.get(4) == (None if rate64 is None else struct.pack("=Q", rate64))


def test_a_link_without_a_mac_is_read_as_such() -> None:
    tunnel = (("ifi_type", 768), ("index", 9), ("flags", 1))
    message = request("RTM_NEWLINK", 0, tunnel, ("IFLA_IFNAME", "tunl0"), ("IFLA_MTU", 1480))
    address = Message(message.kind, 0, message.body + wire.attribute(1, bytes((192, 0, 2, 1))))

    class Kernel:
        def snapshot(self, message: Message) -> list[Reply]:
            return [reply_to(address)]

    (link,) = links.every(Kernel())  # type: ignore[arg-type]
    assert link == links.Link(9, "tunl0", up=True, running=True, mtu=1480, mac="", master=0)


def test_fields_and_attributes_come_back() -> None:
    message = request("RTM_NEWLINK", 0, (("index", 4),), ("IFLA_LINKINFO", Structure((("IFLA_INFO_KIND", "veth"),))))
    read = content(reply_to(message))
    assert read["index"] == 4
    assert read.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND") == "veth"
    assert read.get_attr("IFLA_MTU") is None


def test_pyroute2_is_not_loaded_before_the_first_message_and_then_only_its_messages() -> None:
    program = (
        "import sys\n"
        "import shared.kernel.underlay\n"
        "from shared.kernel.netlink import conntrack, links, queues, routes, worker\n"
        "assert 'pyroute2.netlink' not in sys.modules\n"
        "links.delete('eth0')\n"
        "assert 'pyroute2.netlink' not in sys.modules\n"
        "routes.delete_route(routes.Route('0.0.0.0/0', '', 1, 3))\n"
        "assert 'pyroute2.netlink.rtnl' in sys.modules\n"
        "assert 'pyroute2.iproute' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
