"""Connection tracking entries over ctnetlink: list and delete.

Exists because a UDP flow keeps its translated destination as long as packets flow: when that endpoint is gone, the flow
leads nowhere for ever unless its entry is deleted.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.kernel.netlink import wire
from shared.kernel.netlink.connection import NetlinkSocket
from shared.kernel.netlink.wire import Message

_SUBSYSTEM = 1 << 8
_NEW, _GET, _DELETE = 0, 1, 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _STATUS, _ID = 1, 2, 3, 12
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_SOURCE, _DESTINATION = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_GENERIC = struct.pack("!BBH", socket.AF_INET, 0, 0)


class Entry(NamedTuple):
    """One IPv4 connection: to where it was sent, and from where it is answered (the translated destination).

    Addresses are four bytes, ports two, in network order; `original` and `identity` name the entry when it is deleted.
    """

    protocol: int
    destination: bytes
    destination_port: bytes
    answering: bytes
    answering_port: bytes
    original: bytes
    identity: bytes


def entries(connection: NetlinkSocket, protocol: int) -> Iterator[Entry]:
    """The IPv4 entries of one protocol such as socket.IPPROTO_UDP."""
    for reply in connection.dump(Message(_SUBSYSTEM | _GET, 0, _GENERIC)):
        values = wire.table(reply.body, len(_GENERIC))
        original = values[_TUPLE_ORIGINAL]
        forward = wire.table(original)
        ports = wire.table(forward[_TUPLE_PROTOCOL])
        if ports[_NUMBER][0] != protocol or _DESTINATION_PORT not in ports:
            continue
        backward = wire.table(values[_TUPLE_REPLY])
        yield Entry(
            protocol,
            wire.table(forward[_TUPLE_IP])[_DESTINATION],
            ports[_DESTINATION_PORT],
            wire.table(backward[_TUPLE_IP])[_SOURCE],
            wire.table(backward[_TUPLE_PROTOCOL])[_SOURCE_PORT],
            original,
            values[_ID],
        )


def delete(connection: NetlinkSocket, doomed: Iterable[Entry]) -> int:
    """Delete entries; returns how many were still there."""
    requests = [
        Message(
            _SUBSYSTEM | _DELETE,
            0,
            _GENERIC + wire.nested(_TUPLE_ORIGINAL, entry.original) + wire.attribute(_ID, entry.identity),
        )
        for entry in doomed
    ]
    deleted = 0
    for failure in connection.submit(requests):
        if failure is None:
            deleted += 1
        elif failure.errno != errno.ENOENT:
            raise failure
    return deleted
