from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

import pytest

from shared.kernel import nftables
from shared.kernel.netlink import NetlinkError, NetlinkSocket, conntrack, namespaces
from shared.kernel.netlink.connection import NETFILTER
from shared.kernel.nftables import Chain, Element, Set, Transaction, expressions, goto, model
from tests.integration.network.harness import Cluster, ask_udp, wait_until

pytestmark = pytest.mark.root

Nft = Callable[..., str]
PORTS = Set("ports", (model.INET_PROTOCOL, model.INET_SERVICE), (model.IPV4_ADDRESS, model.INET_SERVICE))
TCP_80 = b"\x06\0\0\0" + b"\0\x50\0\0"
UDP_53 = b"\x11\0\0\0" + b"\0\x35\0\0"
TARGET = socket.inet_aton("10.0.0.1") + b"\x1f\x90\0\0"


@pytest.fixture
def connection(bare: Cluster) -> Iterator[NetlinkSocket]:
    with namespaces.open_inside(bare.namespace("node-1"), NETFILTER) as connection:
        yield connection


def table(*items: Set) -> Transaction:
    change = Transaction("t")
    change.add_table("a comment")
    for item in items:
        change.add_set(item)
    return change


def test_the_nft_program_reads_what_was_written(connection: NetlinkSocket, nft: Nft) -> None:
    change = table(PORTS, Set("hosts", (model.IPV4_ADDRESS,)))
    change.add_chain(Chain("in", "filter", model.HOOK_INPUT, model.PRIORITY_FILTER))
    change.add_chain(Chain("other"))
    change.add_elements("ports", [Element(TCP_80, TARGET, "web")])
    change.add_elements("hosts", [Element(socket.inet_aton("192.0.2.1"))])
    change.add_rule(
        "in",
        expressions.source_address(expressions.R0),
        expressions.lookup("hosts", expressions.R0, negate=True),
        expressions.counter(),
        expressions.verdict(goto("other")),
        comment="a rule",
    )
    change.add_rule("other", expressions.verdict(model.drop))
    change.commit(connection)
    listing = " ".join(nft("list", "table", "ip", "t").split())
    for expected in (
        'comment "a comment"',
        "type inet_proto . inet_service : ipv4_addr . inet_service",
        'tcp . 80 comment "web" : 10.0.0.1 . 8080',
        "elements = { 192.0.2.1 }",
        "type filter hook input priority filter; policy accept;",
        'ip saddr != @hosts counter packets 0 bytes 0 goto other comment "a rule"',
    ):
        assert expected in listing
    assert list(nftables.rules(connection, "t")) == ["a rule", ""]


def test_what_was_written_is_read_back(connection: NetlinkSocket) -> None:
    verdicts = Set("verdicts", (model.IPV4_ADDRESS,), (model.VERDICT,))
    change = table(PORTS, verdicts)
    change.add_chain(Chain("pick"))
    written = [Element(TCP_80, TARGET, "web"), Element(UDP_53, TARGET)]
    change.add_elements("ports", written)
    decisions = [Element(socket.inet_aton("10.0.0.9"), goto("pick")), Element(socket.inet_aton("10.0.0.8"), model.drop)]
    change.add_elements("verdicts", decisions)
    change.commit(connection)
    assert nftables.table_comment(connection, "t") == "a comment"
    assert nftables.table_comment(connection, "absent") is None
    assert nftables.tables(connection) == ["t"]
    assert sorted(nftables.elements(connection, "t", "ports")) == sorted(written)
    assert {item.key: item.data for item in nftables.elements(connection, "t", "verdicts")} == {
        item.key: item.data for item in decisions
    }
    assert nftables.chains(connection, "t") == ["pick"]
    assert sorted(nftables.sets(connection, "t")) == ["ports", "verdicts"]


def test_a_transaction_is_applied_whole_or_not_at_all(connection: NetlinkSocket) -> None:
    table(PORTS).commit(connection)
    change = Transaction("t")
    change.add_elements("ports", [Element(TCP_80, TARGET)])
    change.delete_elements("ports", [UDP_53])
    with pytest.raises(NetlinkError, match="delete elements from set ports") as caught:
        change.commit(connection)
    assert caught.value.errno == errno.ENOENT
    assert nftables.elements(connection, "t", "ports") == []


def test_an_element_is_replaced_within_one_transaction(connection: NetlinkSocket) -> None:
    change = table(PORTS)
    change.add_elements("ports", [Element(TCP_80, TARGET)])
    change.commit(connection)
    other = socket.inet_aton("10.0.0.2") + TARGET[4:]
    clash = Transaction("t")
    clash.add_elements("ports", [Element(TCP_80, other)])
    with pytest.raises(NetlinkError, match="add elements to set ports"):
        clash.commit(connection)
    change = Transaction("t")
    change.delete_elements("ports", [TCP_80])
    change.add_elements("ports", [Element(TCP_80, other)])
    change.commit(connection)
    assert nftables.elements(connection, "t", "ports") == [Element(TCP_80, other)]


async def test_tens_of_thousands_of_elements_fit_into_one_transaction(connection: NetlinkSocket) -> None:
    change = table(Set("many", (model.IPV4_ADDRESS,)))
    keys = {number.to_bytes(4, "big") for number in range(1, 50001)}
    change.add_elements("many", map(Element, sorted(keys)))
    change.commit(connection)
    # while the kernel still resizes its table, a dump may miss some
    await wait_until(lambda: {element.key for element in nftables.elements(connection, "t", "many")} == keys)


def test_a_missing_table_is_named(connection: NetlinkSocket) -> None:
    change = Transaction("absent")
    change.add_chain(Chain("in"))
    with pytest.raises(NetlinkError, match="add chain in"):
        change.commit(connection)


def test_the_kernel_has_what_the_network_needs() -> None:
    assert nftables.nf_tables_available()[0]


def test_udp_connections_are_listed_and_deleted(bare: Cluster, connection: NetlinkSocket) -> None:
    # any rule that looks at connections turns tracking on in a namespace
    change = table()
    change.add_chain(Chain("in", "filter", model.HOOK_INPUT, model.PRIORITY_FILTER))
    change.add_rule("in", expressions.conntrack(expressions.CT_STATE, expressions.R0))
    change.commit(connection)
    bare.answer_on_node("node-1", "first", 5353)
    ask_udp(bare.namespace("node-2"), bare.nodes["node-1"], 5353)
    port = (5353).to_bytes(2, "big")
    found = [entry for entry in conntrack.entries(connection, socket.IPPROTO_UDP) if entry.destination_port == port]
    assert [(entry.destination, entry.answering, entry.answering_port) for entry in found] == [
        (socket.inet_aton(bare.nodes["node-1"]), socket.inet_aton(bare.nodes["node-1"]), port)
    ]
    assert conntrack.delete(connection, found) == 1
    assert conntrack.delete(connection, found) == 0
