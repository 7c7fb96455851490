"""Namespaces made in advance: a pod's sandbox then needs none of the millisecond that the kernel takes for a network.

They are nothing but descriptors of this process: whatever way it ends, the kernel takes them away with it, and no name
of theirs is ever seen. Few are kept, and they are made while nothing else is to be done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.nodeagent.keeper import births
from services.nodeagent.keeper.loop import Loop
from shared.kernel import syscalls

KINDS = syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
"""What nearly every pod has of its own."""

KEPT = 4
QUIET_S = 0.05  # how long nothing has to have been taken before the next one is made


class Spares:
    """Up to KEPT sets of namespaces, each `furnish`ed from inside once; the first is made after the first is wanted."""

    def __init__(self, loop: Loop, furnish: Callable[[], None]) -> None:
        self._loop = loop
        self._furnish = furnish
        self._ready: list[dict[int, int]] = []
        self._wanted = 0  # how often one was wanted
        self._armed = False

    @contextmanager
    def new(self) -> Iterator[None]:
        """Be in new, furnished namespaces of KINDS for a while, of this thread only; OSError if they cannot be made."""
        self._wanted += 1
        self._arm()
        if not self._ready:
            with syscalls.unshared(KINDS):
                self._furnish()
                yield
            return
        spare = self._ready.pop()
        try:
            with syscalls.inside(spare):
                yield
        finally:
            _close(spare)

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            wanted = self._wanted
            self._loop.after(QUIET_S, lambda: self._refill(wanted))

    def _refill(self, wanted: int) -> None:
        """Make one, unless there is other work; then look again."""
        self._armed = False
        if len(self._ready) >= KEPT:
            return
        if wanted == self._wanted and not births.under_way():
            with syscalls.unshared(KINDS):
                self._furnish()
                self._ready.append(syscalls.namespace_files(KINDS))
        self._arm()


def _close(spare: dict[int, int]) -> None:
    for fd in spare.values():
        os.close(fd)
