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
from pathlib import Path
from typing import Any

from shared.bus.jetstream import JetStream
from shared.bus.port import Bus
from shared.errors import StateError
from shared.state.cache import Cache
from shared.state.streams import STATE

log = logging.getLogger(__name__)

NOTE_S = 2.0
"""How often it is noted: what was written in the last seconds before a loss is not known to be lost."""


NAME = "state-log.json"


def watermark_path(data: Path) -> Path:
    """The note's place in a cluster's data directory."""
    return data / NAME


class Watermark:
    """The highest revision that this machine has seen, as JSON {"revision", "lost"} in a file.

    `lost` is the end of a log that was found to be shorter, 0 if none was. It stays until the file is removed: barriers
    and bindings of other services would otherwise soon make such a log look long enough.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def check(self, bus: Bus) -> None:
        """Compare with the log as it is. StateError if it is, or once was found, shorter than it had been."""
        noted = self._read()
        if noted is None:
            return
        revision, lost = int(noted.get("revision", 0)), int(noted.get("lost", 0))
        last = int((await JetStream(bus).stream_info(STATE))["state"]["last_seq"])
        if not lost and last >= revision:
            return
        lost = lost or max(last, 1)
        self._write({"revision": revision, "lost": lost})
        raise StateError(
            f"the state log lost its end: it ended at revision {lost}, but revision {revision} had been written. A "
            "file of the bus is damaged. Restore a backup with `wherry restore FILE --force`; or remove "
            f"{self._path} to accept that the newest changes are gone, and nodes will end what they know nothing of"
        )

    async def follow(self, cache: Cache) -> None:
        """Note how far the cache has come, for ever."""
        while True:
            noted = self._read() or {}
            if cache.revision > int(noted.get("revision", 0)) and not noted.get("lost"):
                try:
                    self._write({"revision": cache.revision})
                except OSError as exc:
                    log.warning("%s cannot be written: %s", self._path, exc.strerror)
            await asyncio.sleep(NOTE_S)

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self, note: dict[str, Any]) -> None:
        # several API servers write it; each has a partial file of its own
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(note))
        partial.replace(self._path)
