"""One thread that does kernel work in one network namespace, for callers in an event loop.

Exists because netlink requests block (removing a link for 20 ms) and because namespaces belong to threads: a thread
that stays in the namespace needs no entering and leaving, and requests that it runs one after the other cannot overlap.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared.kernel import syscalls
from shared.kernel.netlink.connection import ROUTE, NetlinkSocket

Result = TypeVar("Result")


class Worker:
    """`namespace` is the path of a network namespace, None for the one the process is in."""

    def __init__(self, name: str, namespace: str | None = None) -> None:
        self._namespace = namespace
        self._entered = namespace is None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._sockets: dict[int, NetlinkSocket] = {}

    async def run(self, function: Callable[[], Result]) -> Result:
        """Run a function in the thread; raises what it raises, OSError if there is no such namespace."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._call, function)

    def socket(self, protocol: int = ROUTE) -> NetlinkSocket:
        """The thread's socket of a protocol; only for functions that run in the thread."""
        if protocol not in self._sockets:
            self._sockets[protocol] = NetlinkSocket(protocol)
        return self._sockets[protocol]

    async def close(self) -> None:
        """Close the sockets and end the thread; idempotent."""
        while self._sockets:
            self._sockets.popitem()[1].close()
        self._executor.shutdown()

    def _call(self, function: Callable[[], Result]) -> Result:
        if not self._entered and self._namespace is not None:
            with open(self._namespace, "rb") as namespace:
                syscalls.setns(namespace.fileno(), syscalls.CLONE_NEWNET)
            self._entered = True
        return function()
