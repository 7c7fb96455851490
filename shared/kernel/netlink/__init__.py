"""A small netlink client: one socket, many requests in one system call.

Exists because the general client libraries cost more than the kernel itself: loading pyroute2 takes 27 MB and 0.4 s,
and a pod attached through it 17 ms, of which the kernel needs one or two. Only the standard library is used, so that
the keeper can import it as well.
"""

from shared.kernel.netlink.connection import NetlinkError, NetlinkSocket
from shared.kernel.netlink.wire import Message

__all__ = ["Message", "NetlinkError", "NetlinkSocket"]
