"""A small netlink client: one socket, many requests in one system call.

The messages for links, addresses, routes, neighbours and queues are pyroute2's; sockets and batches are not, because
those of pyroute2 that send batches belong to an event loop each and do not tell which of many requests failed.
"""

from shared.kernel.netlink.connection import NetlinkError, NetlinkSocket
from shared.kernel.netlink.wire import Message

__all__ = ["Message", "NetlinkError", "NetlinkSocket"]
