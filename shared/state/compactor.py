"""Removes the part of the history that is older than its retention, as a duty of one leader.

The floor is published first and names the oldest revision at which the state can still be told. Then every revision
that was superseded at the floor goes, and every tombstone below it; the last revision of an object that exists stays,
however old it is. A run looks only at what the floor has passed since the last one, so its cost is that of the changes
in between. A leader that dies in the middle leaves a floor whose `purged` says where the next one goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping

from shared.bus.consumer import Delivery
from shared.bus.jetstream import OPERATION, JetStream
from shared.bus.port import Bus
from shared.bus.scan import scan
from shared.errors import BusError, RevisionConflict, StorageFull
from shared.events.envelope import DELETE
from shared.events.subjects import BARRIERS, FLOOR, OBJECTS
from shared.state import floors
from shared.state.floors import Floor
from shared.state.history import revision_at
from shared.state.leases import Leases
from shared.state.record import predecessor_of
from shared.state.streams import LOGS, STATE

log = logging.getLogger(__name__)

LEASE = "compactor"
SHORTEST_INTERVAL_S = 1.0
LONGEST_INTERVAL_S = 300.0
# purges under way at the same time: few, for each holds the stream for a moment and writers wait behind it
_AT_ONCE = 4
# messages looked at before their superseded predecessors are removed
_PORTION = 20_000


class Compactor:
    """Keeps superseded revisions of STATE for `retention_s` seconds. `now` tells unix seconds."""

    def __init__(self, bus: Bus, retention_s: float, now: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._jetstream = JetStream(bus)
        self._retention_s = retention_s
        self._now = now
        self.interval_s = min(max(retention_s / 20, SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S)

    async def run(self) -> None:
        """Compact whenever this process leads, for ever."""
        leases = Leases(self._bus)
        while True:
            async with leases.leadership(LEASE, self._bus.id) as lost:
                while not lost.is_set():
                    try:
                        await self.compact()
                    except* StorageFull as group:
                        log.warning("the history was not compacted: %s", group.exceptions[0])
                        await self._make_room()
                    except* (BusError, RevisionConflict) as group:
                        log.warning("the history was not compacted: %s", group.exceptions[0])
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self.interval_s):
                            await lost.wait()

    async def compact(self) -> Floor:
        """Move the floor to what the retention says now, and remove what is below; the floor.

        RevisionConflict if another compacts at the same time.
        """
        floor = await floors.read(self._jetstream)
        horizon = await revision_at(self._bus, self._now() - self._retention_s)
        if horizon > floor.revision:
            floor = await floors.write(self._jetstream, floor._replace(revision=horizon))
        if floor.purged < floor.revision:
            removed = await self._purge(floor.purged + 1, floor.revision)
            floor = await floors.write(self._jetstream, floor._replace(purged=floor.revision))
            log.info("history begins at revision %d, %d older revisions were removed", floor.revision, removed)
        return floor

    async def _make_room(self) -> None:
        """Free the store of what nobody will miss, so that the floor can be published and the history make way."""
        try:
            barriers = await self._jetstream.purge(STATE, BARRIERS)
            state = (await self._jetstream.stream_info(LOGS))["state"]
            tenth = int(state["first_seq"]) + int(state["messages"]) // 10
            lines = await self._jetstream.purge(LOGS, before=tenth)
        except BusError as exc:
            log.warning("no room was made: %s", exc)
        else:
            log.warning("made room: %d barriers and the oldest %d messages of logs are gone", barriers, lines)

    async def _purge(self, first: int, last: int) -> int:
        """Remove what the messages from `first` to `last` superseded, and their tombstones; how many messages went."""
        removed = 0
        newest: dict[str, Delivery] = {}
        # the floor's own message is behind all of them
        async with contextlib.aclosing(scan(self._bus, STATE, [OBJECTS, FLOOR], first, headers_only=True)) as found:
            async for batch in found:
                newest.update((one.subject, one) for one in batch if one.sequence <= last)
                is_end = batch[-1].sequence > last
                if is_end or len(newest) >= _PORTION:
                    removed += await self._remove(newest)
                    newest.clear()
                if is_end:
                    break
        return removed

    async def _remove(self, newest: Mapping[str, Delivery]) -> int:
        work = iter(newest.values())
        removed = 0

        async def purge() -> None:
            nonlocal removed
            for delivery in work:
                is_tombstone = (delivery.headers or {}).get(OPERATION) == DELETE
                if is_tombstone or predecessor_of(delivery.headers) != 0:
                    before = delivery.sequence + 1 if is_tombstone else delivery.sequence
                    removed += await self._jetstream.purge(STATE, delivery.subject, before)

        async with asyncio.TaskGroup() as group:
            for number in range(_AT_ONCE):
                group.create_task(purge(), name=f"purge {number}")
        return removed
