"""The directory of static pods, followed while the agent runs, and their mirrors in the API.

What runs is decided by the files alone; the mirrors are kept in step whenever the API can be reached, and deleting one
only makes it come back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.events import Events
from services.nodeagent.inotify import FILES_CHANGED, DirectoryWatch
from services.nodeagent.link import Api, is_offline
from services.nodeagent.pods import static
from services.nodeagent.pods.manager import PodManager
from shared.errors import AlreadyExists, ApiError, BusError, Conflict, NotFound
from shared.objects import meta, times

log = logging.getLogger(__name__)

SETTLE_S = 0.1
"""Editors write a file in several steps; it is read once they have had a moment to finish."""
RETRY_S = 2.0

Pod = Mapping[str, Any]


class StaticPods:
    """`node_object` gives the Node as the API has it, None while it is not known."""

    def __init__(
        self,
        directory: Path,
        node: str,
        manager: PodManager,
        api: Api,
        events: Events,
        node_object: Callable[[], Pod | None],
    ) -> None:
        self._directory = directory
        self._node = node
        self._manager = manager
        self._api = api
        self._events = events
        self._node_object = node_object
        self._told: dict[Path, str] = {}
        self._seen: dict[str, str] = {}
        self._changed = asyncio.Event()
        manager.mirrors_changed = self._changed.set

    async def run(self) -> None:
        """Follow files until cancelled."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with DirectoryWatch(self._directory, FILES_CHANGED) as watch:
            while True:
                watch.changed.clear()
                self._manager.set_static(self.read())
                self._changed.set()
                await watch.changed.wait()
                await asyncio.sleep(SETTLE_S)

    async def run_mirrors(self) -> None:
        """Keep the mirrors in step until cancelled; to be begun once the pods of the API are known."""
        while True:
            self._changed.clear()
            done = await self._mirror()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if done else RETRY_S):
                    await self._changed.wait()

    def read(self) -> list[dict[str, Any]]:
        """The pods of all files that can be read; what is wrong with another is told once."""
        for worker in self._manager.workers.values():
            if static.is_static(worker.pod):
                self._seen.setdefault(worker.record.uid, worker.pod["metadata"]["annotations"][static.SEEN])
        found: dict[tuple[str, str], dict[str, Any]] = {}
        files = [path for path in sorted(self._directory.iterdir()) if path.suffix in static.SUFFIXES]
        for path in files:
            if path.name.startswith(".") or not path.is_file():
                continue
            try:
                pod = static.read(path, path.read_bytes(), self._node, times.now())
                other = found.setdefault(meta.key(pod), pod)
                if other is not pod:
                    raise ConfigurationError(f"{path}: another file has the pod {'/'.join(meta.key(pod))} already")
            except (ConfigurationError, OSError) as exc:
                self._tell(path, str(exc))
                continue
            self._told.pop(path, None)
            seen = self._seen.setdefault(pod["metadata"]["uid"], pod["metadata"]["creationTimestamp"])
            pod["metadata"]["creationTimestamp"] = pod["metadata"]["annotations"][static.SEEN] = seen
        for path in self._told.keys() - set(files):
            del self._told[path]
        return list(found.values())

    def _tell(self, path: Path, text: str) -> None:
        if self._told.get(path) != text:
            self._told[path] = text
            log.error("static pod: %s", text)
            self._events.node("Warning", "InvalidStaticPod", text)

    async def _mirror(self) -> bool:
        """Bring the mirrors in line; whether nothing is left to be tried again."""
        wanted = {meta.key(worker.pod): worker.pod for worker in self._manager.static_workers()}
        done = True
        for place, present in list(self._manager.mirrors.items()):
            pod = wanted.get(place)
            fits = pod is not None and static.mirror_hash(present) == pod["metadata"]["uid"]
            if not fits or meta.is_deleting(present):
                done = await self._delete(present) and done
        for place, pod in wanted.items():
            if place not in self._manager.mirrors:
                done = await self._create(pod) and done
        return done

    async def _create(self, pod: Pod) -> bool:
        namespace, name = meta.key(pod)
        try:
            await self._api.create(f"/api/v1/namespaces/{namespace}/pods", static.mirror(pod, self._node_object()))
        except AlreadyExists:
            # an older mirror that is about to go, or another pod of that name
            return False
        except (ApiError, BusError) as exc:
            log.log(
                logging.DEBUG if is_offline(exc) else logging.WARNING, "no mirror of %s/%s: %s", namespace, name, exc
            )
            return False
        return True

    async def _delete(self, present: Pod) -> bool:
        namespace, name = meta.key(present)
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        options["preconditions"] = {"uid": meta.uid(present)}
        try:
            await self._api.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", options)
        except (NotFound, Conflict):
            return True
        except (ApiError, BusError) as exc:
            log.log(
                logging.DEBUG if is_offline(exc) else logging.WARNING, "mirror %s/%s stays: %s", namespace, name, exc
            )
            return False
        return True
