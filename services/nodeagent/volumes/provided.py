"""The directories that this node keeps for the built-in provisioner, removed once their volumes are being deleted.

A volume's finalizer holds its object until the directory is gone, so a node that was away catches up.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.nodeagent import trees
from services.nodeagent.events import Events
from services.nodeagent.link import Api, Informer, is_offline
from shared.errors import ApiError, BusError, Conflict, NotFound
from shared.objects import meta
from shared.objects.volumebinding import LOCAL_PATH

log = logging.getLogger(__name__)

RETRY_S = 2.0


class ProvidedVolumes:
    """`in_use` tells whether a pod of this node still has a path mounted."""

    def __init__(
        self, api: Api, informer: Informer, directory: Path, events: Events, in_use: Callable[[Path], bool]
    ) -> None:
        self._api = api
        self._informer = informer
        self._directory = directory
        self._events = events
        self._in_use = in_use
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the volumes until cancelled."""
        self._informer.on_change = lambda kind, obj, old: self._changed.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run(), name="volumes")
            while True:
                self._changed.clear()
                waiting = await self._remove_some()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S if waiting else None):
                        await self._changed.wait()

    async def _remove_some(self) -> bool:
        """Remove what may go now; whether something is left for later."""
        waiting = False
        for volume in list(self._informer.items.values()):
            if LOCAL_PATH not in (volume["metadata"].get("finalizers") or ()) or not meta.is_deleting(volume):
                continue
            path = Path((volume["spec"].get("local") or {}).get("path") or "/")
            if path.parent != self._directory:
                continue
            done = not self._in_use(path) and await self._remove(volume, path)
            waiting = waiting or not done
        return waiting

    async def _remove(self, volume: Mapping[str, Any], path: Path) -> bool:
        name = meta.name(volume)
        try:
            await trees.remove_all(path)
        except OSError as exc:
            text = f"directory {path} cannot be removed: {exc}"
            self._events.about(volume, "Warning", "VolumeFailedDelete", text)
            return False
        kept = [one for one in volume["metadata"]["finalizers"] if one != LOCAL_PATH]
        metadata = {"resourceVersion": volume["metadata"]["resourceVersion"], "finalizers": kept}
        try:
            await self._api.patch(f"/api/v1/persistentvolumes/{name}", {"metadata": metadata})
        except NotFound:
            return True
        except (Conflict, ApiError, BusError) as exc:
            level = logging.DEBUG if is_offline(exc) or isinstance(exc, Conflict) else logging.ERROR
            log.log(level, "volume %s is not let go yet: %s", name, exc)
            return False
        log.info("directory of volume %s removed", name)
        return True
