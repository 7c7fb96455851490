"""Read back what the kernel holds of a table, so that a restarted process changes only what differs."""

import errno
from collections.abc import Iterator

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkError, NetlinkSocket
from shared.kernel.netlink.wire import Message, Reply
from shared.kernel.nftables import model, transaction
from shared.kernel.nftables.model import Element, Verdict

_GENERIC_SIZE = 4
_ATTEMPTS = 10


def _stable_dump(connection: NetlinkSocket, request: Message) -> list[Reply]:
    for _ in range(_ATTEMPTS):
        try:
            return list(connection.dump(request))
        except NetlinkError as exc:
            if exc.errno != errno.EINTR:
                raise
    raise NetlinkError(errno.EINTR, f"nf_tables changed during each of {_ATTEMPTS} dumps")


def table_comment(connection: NetlinkSocket, table: str, family: int = model.FAMILY_IPV4) -> str | None:
    """The comment of a table, None if there is no such table."""
    request = Message(transaction.kind(transaction.GETTABLE), 0, transaction.header(family) + wire.text(1, table))
    try:
        replies = connection.request(request)
    except NetlinkError as exc:
        if exc.errno == errno.ENOENT:
            return None
        raise
    return transaction.comment_of(wire.table(replies[0].body, _GENERIC_SIZE).get(6, b""))


def chains(connection: NetlinkSocket, table: str, family: int = model.FAMILY_IPV4) -> list[str]:
    """The names of the chains of a table."""
    return _names(connection, transaction.GETCHAIN, table, family, 3)


def sets(connection: NetlinkSocket, table: str, family: int = model.FAMILY_IPV4) -> list[str]:
    """The names of the sets and maps of a table."""
    return _names(connection, transaction.GETSET, table, family, 2)


def _names(connection: NetlinkSocket, message: int, table: str, family: int, attribute: int) -> list[str]:
    # chains and sets of other tables come too: older kernels do not filter a dump by table
    request = Message(transaction.kind(message), 0, transaction.header(family) + wire.text(1, table))
    names = []
    for reply in _stable_dump(connection, request):
        values = wire.table(reply.body, _GENERIC_SIZE)
        if wire.string(values.get(1, b"")) == table:
            names.append(wire.string(values[attribute]))
    return names


def elements(connection: NetlinkSocket, table: str, name: str, family: int = model.FAMILY_IPV4) -> list[Element]:
    """The elements of a set or map; raises NetlinkError ENOENT if there is none of that name."""
    body = transaction.header(family) + wire.text(1, table) + wire.text(2, name)
    found: list[Element] = []
    for reply in _stable_dump(connection, Message(transaction.kind(transaction.GETSETELEM), 0, body)):
        values = wire.table(reply.body, _GENERIC_SIZE)
        found.extend(_element(raw) for _, raw in wire.attributes(values.get(3, b"")))
    return found


def _element(raw: bytes) -> Element:
    values = wire.table(raw)
    data = values.get(2)
    return Element(
        key=wire.table(values[1])[1],
        data=None if data is None else _data(data),
        comment=transaction.comment_of(values.get(6, b"")),
    )


def _data(raw: bytes) -> bytes | Verdict:
    values = wire.table(raw)
    if 1 in values:
        return values[1]
    decision = wire.table(values[2])
    return Verdict(int.from_bytes(decision[1], "big", signed=True), wire.string(decision.get(2, b"")))


def rules(connection: NetlinkSocket, table: str, family: int = model.FAMILY_IPV4) -> Iterator[str]:
    """The comments of a table's rules, in order."""
    request = Message(transaction.kind(transaction.GETRULE), 0, transaction.header(family) + wire.text(1, table))
    for reply in _stable_dump(connection, request):
        values = wire.table(reply.body, _GENERIC_SIZE)
        if wire.string(values.get(1, b"")) == table:
            yield transaction.comment_of(values.get(7, b""))


def tables(connection: NetlinkSocket, family: int = model.FAMILY_IPV4) -> list[str]:
    """The names of all tables of the family."""
    request = Message(transaction.kind(transaction.GETTABLE), 0, transaction.header(family))
    return [wire.string(wire.table(reply.body, _GENERIC_SIZE)[1]) for reply in _stable_dump(connection, request)]
