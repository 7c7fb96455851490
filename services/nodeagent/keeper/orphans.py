"""Processes that fall to the keeper because their parents have ended: they are reaped, nobody waits for them.

The keeper is a subreaper for the sake of other runtimes, whose commands end before their containers do. So it also gets
what a container in the node's PID namespace leaves behind.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable

from services.nodeagent.keeper import births, pidfds
from services.nodeagent.keeper.loop import Loop

INTERVAL_S = 5.0
REAPING_INTERVAL_MS = 5


class Orphans:
    """Looks from time to time, as long as `possible()`; `watch` begins it."""

    def __init__(self, loop: Loop, possible: Callable[[], bool]) -> None:
        self._loop = loop
        self._possible = possible
        self._armed = False

    def watch(self) -> None:
        if not self._armed and self._possible():
            self._armed = True
            self._loop.after(INTERVAL_S, self._look)

    def _look(self) -> None:
        self._armed = False
        if not births.under_way():  # a process that is just being handed over is not known yet
            reap()
        self.watch()


def wait_for(pidfd: int) -> None:
    """Wait for a killed first process of a PID namespace, which itself waits until all others in it are reaped
    (pid_namespaces(7)): those that have fallen to this process have to be by it."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    while not poller.poll(REAPING_INTERVAL_MS):
        reap()
    pidfds.wait(pidfd)


def reap() -> None:
    """Reap every ended child that nobody expects."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        children = {int(word) for word in file.read().split()}
    for pid in children - pidfds.expected:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
