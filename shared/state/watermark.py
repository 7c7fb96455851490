"""How far the state log had come, noted outside of it, so that a log that lost its end is noticed.

nats-server drops what it cannot read of a damaged file and goes on with the rest, without a word; a stream whose files
are beyond that is gone, and would be declared anew, empty. An API server that served what is left would take objects
for deleted that nobody deleted, and nodes would end their containers. So it does not start: containers run on
meanwhile, and the operator decides.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from shared.bus.jetstream import JetStream
from shared.bus.port import Bus
from shared.errors import StateError
from shared.events.subjects import subject_of
from shared.state.cache import Cache, Change
from shared.state.streams import STATE, TOMBSTONE_S

log = logging.getLogger(__name__)

NEWEST = 32
NOTE_S = 2.0
"""How often it is noted: what was written in the last seconds before a loss is not known to be lost."""


NAME = "state-log.json"


def watermark_path(data: Path) -> Path:
    """The note's place in a cluster's data directory."""
    return data / NAME


class Watermark:
    """What this machine knows to be in the log, as JSON in a file: the highest `revision` it has seen, the `newest`
    objects by subject with theirs, and when that was noted.

    `lost` is the revision before the first one that was found missing, 0 if none was. It stays until the file is
    removed: barriers and bindings of other services would otherwise soon make a log look long enough.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest: OrderedDict[str, int] = OrderedDict()

    async def check(self, bus: Bus) -> None:
        """Compare with the log as it is. StateError if something is, or once was found, missing at its end."""
        noted = self._read()
        if noted is None:
            return
        if not noted.get("lost"):
            lost = await self._lost(JetStream(bus), noted)
            if lost is None:
                return
            self._write({**noted, "lost": max(lost, 1)})
        raise StateError(self.complaint())

    def complaint(self) -> str:
        """What was found to be wrong with the log, and what to do about it; "" if nothing was."""
        noted = self._read() or {}
        if not noted.get("lost"):
            return ""
        return (
            f"the state log lost its end: it is whole up to revision {noted['lost']}, but revision {noted['revision']} "
            "had been written. A file of the bus is damaged. Restore a backup with `wherry restore FILE --force`; or "
            f"remove {self._path} to accept that the newest changes are gone, and that nodes end what they then know "
            "nothing of"
        )

    async def follow(self, cache: Cache) -> None:
        """Note how far the cache has come, for ever."""
        following = False

        def take(change: Change) -> None:
            # what is there already is told at once, in no order of time
            if following:
                self._take(change)

        remove = cache.on_change(take)
        following = True
        try:
            while True:
                noted = self._read() or {}
                if cache.revision > int(noted.get("revision", 0)) and not noted.get("lost"):
                    try:
                        self._write({"revision": cache.revision, "at": time.time(), "newest": self._newest})
                    except OSError as exc:
                        log.warning("%s cannot be written: %s", self._path, exc.strerror)
                await asyncio.sleep(NOTE_S)
        finally:
            remove()

    def _take(self, change: Change) -> None:
        subject = subject_of(change.record.ref)
        self._newest.pop(subject, None)
        if change.type == "DELETED":
            # nothing stays of it for ever
            return
        self._newest[subject] = change.revision
        if len(self._newest) > NEWEST:
            self._newest.popitem(last=False)

    async def _lost(self, jetstream: JetStream, noted: dict[str, Any]) -> int | None:
        """The revision before the first one that is missing, None if none is."""
        last = int((await jetstream.stream_info(STATE))["state"]["last_seq"])
        if last < int(noted["revision"]):
            return last
        # an index of its own tells nats-server how far a log had come whose newest messages it cannot read
        is_recent = time.time() - float(noted.get("at", 0)) < TOMBSTONE_S / 2
        missing = []
        for subject, revision in (noted.get("newest") or {}).items():
            stored = await jetstream.last_message(STATE, subject)
            # of what was deleted right after it was noted, and long ago, nothing is left
            if stored.sequence < revision if stored is not None else is_recent:
                missing.append(int(revision))
        return min(missing) - 1 if missing else None

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) and "revision" in found else None

    def _write(self, note: dict[str, Any]) -> None:
        # several API servers write it; each has a partial file of its own
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(note))
        partial.replace(self._path)
