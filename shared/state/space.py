"""Room on the disk of the broker's store, watched by whoever writes on the same machine.

nats-server limits its own store, but others fill the same disk: images, containers, logs. A stream that meets a full
disk in the middle of a write takes no more until its server is restarted, so writes are refused while a reserve is left
for what must go on: barriers of consistent reads, leases, bindings, the compaction that makes room.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from shared.errors import StorageFull

RESERVE_BYTES = 256 << 20
RESERVE_SHARE = 0.05
# the answer of statvfs(2) is good for this long if it tells of so many times the reserve: a fast writer fills what is
# left of a small disk in less
FRESH_S = 0.5
AMPLE = 10


def reserve(total: int) -> int:
    """The bytes of a file system of `total` bytes that are not for objects."""
    return min(RESERVE_BYTES, int(total * RESERVE_SHARE))


class Space:
    """`check` before every write that adds an object. A directory that is not there is on another machine."""

    def __init__(self, store: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._measured = float("-inf")
        self._free = 0
        self._reserve = 0

    def check(self) -> None:
        """StorageFull if less than the reserve is free."""
        now = self._now()
        if now - self._measured >= FRESH_S or self._free < AMPLE * self._reserve:
            self._measured = now
            self._measure()
        if self._free < self._reserve:
            raise StorageFull(
                f"{self._store} has {self._free >> 20} MiB of free space, less than the reserve of "
                f"{self._reserve >> 20} MiB: objects can be read and deleted, not created or changed"
            )

    def _measure(self) -> None:
        try:
            status = os.statvfs(self._store)
        except FileNotFoundError:
            self._free = self._reserve = 0
            return
        self._free = status.f_bavail * status.f_frsize
        self._reserve = reserve(status.f_blocks * status.f_frsize)
