"""One atomic change of one nf_tables table.

Exists because the kernel takes a batch of changes as a whole or not at all (NFNL_MSG_BATCH_BEGIN .. END): packets see
either the old rules or the new ones.
"""

import errno
import socket
import struct
from collections.abc import Iterable

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkError, NetlinkSocket, error_of
from shared.kernel.netlink.wire import Message
from shared.kernel.nftables import expressions, model
from shared.kernel.nftables.model import Chain, Element, Set, Verdict

SUBSYSTEM = 10
NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NEWSET, GETSET, DELSET = 9, 10, 11
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SET_MAP = 0x8
_SET_INTERVAL = 0x4
_SET_TIMEOUT = 0x10
_SET_EVAL = 0x20
_ELEMENTS_SIZE = 60000
_GENERIC = struct.Struct("!BBH")


def header(family: int, resource: int = 0) -> bytes:
    """struct nfgenmsg."""
    return _GENERIC.pack(family, 0, resource)


def kind(message: int) -> int:
    """nlmsg_type of an nf_tables message."""
    return SUBSYSTEM << 8 | message


def comment_data(text: str) -> bytes:
    """User data that nft shows as a comment: one type-length-value with type 0; cut to what its length byte can
    hold.
    """
    raw = text.encode()[:120] + b"\0"
    return bytes((0, len(raw))) + raw


def comment_of(data: bytes) -> str:
    """The comment in user data, "" if there is none."""
    if len(data) >= 2 and data[0] == 0:
        return wire.string(data[2 : 2 + data[1]])
    return ""


class Transaction:
    """Collects changes of the table `table`; nothing happens before `commit`. Order matters as in an nft script."""

    def __init__(self, table: str, family: int = model.FAMILY_IPV4) -> None:
        self.table = table
        self._family = family
        self._messages: list[Message] = []
        self._names: list[str] = []
        self._set_id = 0

    def __len__(self) -> int:
        return len(self._messages)

    def content(self) -> bytes:
        """All changes as bytes: equal for equal changes."""
        return b"".join(message.body for message in self._messages)

    def add_table(self, comment: str = "") -> None:
        """Create the table, or do nothing if there is one."""
        extra = wire.attribute(6, comment_data(comment)) if comment else b""
        self._append(NEWTABLE, wire.F_CREATE, f"add table {self.table}", wire.text(1, self.table), extra)

    def delete_table(self) -> None:
        """Remove the table and all in it; ENOENT fails the transaction, so add it first if that is not certain."""
        self._append(DELTABLE, 0, f"delete table {self.table}", wire.text(1, self.table))

    def add_chain(self, chain: Chain) -> None:
        """Create a chain, or do nothing if there is one."""
        children = [wire.text(1, self.table), wire.text(3, chain.name)]
        if chain.hook >= 0:
            hook = wire.nested(4, wire.be32(1, chain.hook), wire.be32(2, chain.priority & 0xFFFFFFFF))
            children += [hook, wire.be32(5, model.accept.code), wire.text(7, chain.kind)]
        self._append(NEWCHAIN, wire.F_CREATE, f"add chain {chain.name}", *children)

    def delete_chain(self, name: str) -> None:
        """Remove a chain with its rules; nothing may refer to it any more."""
        self.flush_chain(name)
        self._append(DELCHAIN, 0, f"delete chain {name}", wire.text(1, self.table), wire.text(3, name))

    def flush_chain(self, name: str) -> None:
        """Remove the rules of a chain."""
        self._append(DELRULE, 0, f"flush chain {name}", wire.text(1, self.table), wire.text(2, name))

    def add_rule(self, chain: str, *program: bytes, comment: str = "") -> None:
        """Append a rule to a chain; the program consists of expressions."""
        children = [wire.text(1, self.table), wire.text(2, chain), wire.nested(4, *program)]
        if comment:
            children.append(wire.attribute(7, comment_data(comment)))
        self._append(NEWRULE, wire.F_CREATE | wire.F_APPEND, f"add rule to chain {chain}", *children)

    def add_set(self, item: Set) -> None:
        """Create a set or map, or do nothing if there is one."""
        self._set_id += 1
        flags = _SET_INTERVAL * item.interval | (_SET_TIMEOUT | _SET_EVAL) * item.dynamic | _SET_MAP * bool(item.data)
        children = [
            wire.text(1, self.table),
            wire.text(2, item.name),
            wire.be32(3, flags),
            wire.be32(4, model.concatenated(item.key)),
            wire.be32(5, model.width(item.key)),
        ]
        if item.data == (model.VERDICT,):
            children += [wire.be32(6, model.VERDICT), wire.be32(7, 0)]
        elif item.data:
            children += [wire.be32(6, model.concatenated(item.data)), wire.be32(7, model.width(item.data))]
        if item.size:
            children.append(wire.nested(9, wire.be32(1, item.size)))
        children.append(wire.be32(10, self._set_id))
        self._append(NEWSET, wire.F_CREATE, f"add set {item.name}", *children)

    def add_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Put elements into a set or map; one with the same key and other data fails the transaction."""
        self._elements(NEWSETELEM, wire.F_CREATE, f"add elements to set {name}", name, map(_element, elements))

    def delete_elements(self, name: str, keys: Iterable[bytes]) -> None:
        """Take elements out of a set or map; an absent one fails the transaction."""
        encoded = (_element(Element(key)) for key in keys)
        self._elements(DELSETELEM, 0, f"delete elements from set {name}", name, encoded)

    def commit(self, connection: NetlinkSocket) -> None:
        """Apply everything at once; raises NetlinkError naming the change that the kernel refused."""
        if not self._messages:
            return
        begin = wire.encode(Message(_BATCH_BEGIN, 0, header(socket.AF_UNSPEC, SUBSYSTEM)), 0, 0)
        end = wire.encode(Message(_BATCH_END, 0, header(socket.AF_UNSPEC, SUBSYSTEM)), len(self._messages) + 1, 0)
        changes = [wire.encode(message, number, 0) for number, message in enumerate(self._messages, 1)]
        for reply in connection.send_datagram(b"".join((begin, *changes, end))):
            failure = error_of(reply) if reply.kind == wire.TYPE_ERROR else None
            if failure is not None:
                number = reply.sequence - 1
                name = self._names[number] if 0 <= number < len(self._names) else f"change table {self.table}"
                raise NetlinkError(failure.errno or errno.EINVAL, f"{name}: {failure.strerror}")

    def _append(self, message: int, flags: int, name: str, *children: bytes) -> None:
        self._messages.append(Message(kind(message), flags, header(self._family) + b"".join(children)))
        self._names.append(name)

    def _elements(self, message: int, flags: int, name: str, target: str, encoded: Iterable[bytes]) -> None:
        # the list of one message is an attribute, whose length has 16 bits
        chunk: list[bytes] = []
        size = 0
        for element in encoded:
            if chunk and size + len(element) > _ELEMENTS_SIZE:
                self._append(
                    message, flags, name, wire.text(1, self.table), wire.text(2, target), wire.nested(3, *chunk)
                )
                chunk, size = [], 0
            chunk.append(element)
            size += len(element)
        if chunk:
            self._append(message, flags, name, wire.text(1, self.table), wire.text(2, target), wire.nested(3, *chunk))


def _element(element: Element) -> bytes:
    children = [expressions.value(1, element.key)]
    if isinstance(element.data, Verdict):
        children.append(expressions.verdict_data(2, element.data))
    elif element.data is not None:
        children.append(expressions.value(2, element.data))
    if element.comment:
        children.append(wire.attribute(6, comment_data(element.comment)))
    return wire.nested(1, *children)
