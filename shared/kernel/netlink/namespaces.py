"""Work in another network namespace without starting a process.

Exists because setns(2) changes one thread only: a thread enters the namespace, does the work there (usually it just
opens a socket, which stays bound to that namespace), and the caller never leaves its own.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from shared.kernel import netns
from shared.kernel.netlink.connection import ROUTE, NetlinkSocket

Result = TypeVar("Result")


def in_thread(function: Callable[[], Result]) -> Result:
    """Run a function in a thread of its own and return its result or raise its exception."""
    results: list[Result] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=body, name="network-namespace", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def call_inside(path: str | Path, function: Callable[[], Result]) -> Result:
    """Run a function in the network namespace at `path`, in a thread that ends afterwards; OSError if there is none."""

    def body() -> Result:
        with netns.enter(str(path)):
            return function()

    return in_thread(body)


def open_inside(path: str | Path, protocol: int = ROUTE) -> NetlinkSocket:
    """A netlink socket that works on the namespace at `path`."""
    return call_inside(path, lambda: NetlinkSocket(protocol))
