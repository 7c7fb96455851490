"""Netlink sockets that send many requests in one system call and stay bound to the namespace they were opened in.

Exists because the kernel handles netlink requests inside sendmsg(): every acknowledgement is queued when the call
returns, so a batch of any size costs one send and a few receives.
"""

import errno
import os
import socket
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import TracebackType

from shared.kernel.netlink import wire
from shared.kernel.netlink.wire import Message, Reply

ROUTE = 0
NETFILTER = 12

_SOL_NETLINK = 270
_CAP_ACK = 10
_EXT_ACK = 11
_STRICT_CHECK = 12
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_ACK_MESSAGE = 1
# one receive must hold the largest chunk the kernel sends: dumps use up to 32 KiB
_RECEIVE = 1 << 18
_BUFFER = 8 << 20
_ATTEMPTS = 10


class NetlinkError(OSError):
    """The kernel refused a request; `errno` as in netlink(7), `strerror` its extended message if it sent one."""


class NetlinkSocket:
    """One netlink socket. Not safe for several threads at once.

    It works on the network namespace in which the calling thread was when the socket was opened, from any thread.
    """

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        if protocol == ROUTE:
            self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        else:
            # an nf_tables transaction must arrive as one datagram
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)

    def __enter__(self) -> "NetlinkSocket":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()

    def submit(self, messages: Iterable[Message]) -> list[NetlinkError | None]:
        """Send all messages at once; one result per message, None for success. The kernel goes on after an error."""
        encoded = []
        first = self._sequence + 1
        for message in messages:
            self._sequence += 1
            encoded.append(wire.encode(message, self._sequence, wire.F_ACK))
        results: list[NetlinkError | None] = [None] * len(encoded)
        if not encoded:
            return results
        self._socket.send(b"".join(encoded))
        pending = len(encoded)
        while pending:
            for reply in wire.decode(self._socket.recv(_RECEIVE)):
                index = reply.sequence - first
                if reply.kind == wire.TYPE_ERROR and 0 <= index < len(results):
                    results[index] = error_of(reply)
                    pending -= 1
        return results

    def execute(self, messages: Sequence[Message], ignore: Collection[int] = ()) -> None:
        """Send all messages at once; raises the first error whose errno is not in `ignore`."""
        for failure in self.submit(messages):
            if failure is not None and failure.errno not in ignore:
                raise failure

    def request(self, message: Message) -> list[Reply]:
        """Send one request and return the replies that came before its acknowledgement; raises NetlinkError."""
        self._sequence += 1
        self._socket.send(wire.encode(message, self._sequence, wire.F_ACK))
        return list(self._replies())

    def dump(self, message: Message) -> Iterator[Reply]:
        """All objects that the request selects; raises NetlinkError, with EINTR when the objects changed meanwhile."""
        self._sequence += 1
        self._socket.send(wire.encode(message, self._sequence, wire.F_DUMP))
        return self._replies()

    def snapshot(self, message: Message) -> list[Reply]:
        """All objects that the request selects, asked for again when they changed meanwhile; raises NetlinkError."""
        for _ in range(_ATTEMPTS):
            try:
                return list(self.dump(message))
            except NetlinkError as exc:
                if exc.errno != errno.EINTR:
                    raise
        raise NetlinkError(errno.EINTR, f"objects changed during each of {_ATTEMPTS} dumps")

    def send_datagram(self, datagram: bytes) -> list[Reply]:
        """Send prepared bytes and return every reply that the kernel queued while it handled them."""
        self._socket.send(datagram)
        replies: list[Reply] = []
        while True:
            try:
                replies.extend(wire.decode(self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)))
            except BlockingIOError:
                return replies

    def _replies(self) -> Iterator[Reply]:
        interrupted = False
        while True:
            for reply in wire.decode(self._socket.recv(_RECEIVE)):
                if reply.sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(reply.flags & wire.F_DUMP_INTERRUPTED)
                if reply.kind == wire.TYPE_ERROR:
                    failure = error_of(reply)
                    if failure is not None:
                        raise failure
                    return
                if reply.kind == wire.TYPE_DONE:
                    if interrupted:
                        raise NetlinkError(errno.EINTR, "objects changed during the dump")
                    return
                yield reply


def error_of(reply: Reply) -> NetlinkError | None:
    """The error that an NLMSG_ERROR message carries, None for an acknowledgement."""
    code = -int.from_bytes(reply.body[:4], sys.byteorder, signed=True)
    if code == 0:
        return None
    message = os.strerror(code)
    if reply.flags & wire.F_ACK_ATTRIBUTES:
        # the echoed request is cut to its header by NETLINK_CAP_ACK
        extended = wire.table(reply.body, 4 + wire.HEADER_SIZE).get(_ACK_MESSAGE)
        if extended:
            message = wire.string(extended)
    return NetlinkError(code, message)
