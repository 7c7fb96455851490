"""Telling the API the status of pods: only what changed, only the newest, one request per pod at a time.

While the API is away the newest status of each pod waits; nothing is queued up.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.nodeagent.link import Api, is_offline
from services.nodeagent.pods.static import is_static
from services.nodeagent.pods.status import status_patch
from shared.errors import ApiError, BusError, Conflict, NotFound

log = logging.getLogger(__name__)

RETRY_S = 1.0
LONGEST_RETRY_S = 15.0
AT_ONCE = 16


@dataclass(slots=True)
class _Entry:
    namespace: str
    name: str
    known: Mapping[str, Any]
    wanted: Mapping[str, Any]
    revision: int = 0
    target: str = ""
    """uid of the object that shows the status, the pod itself or the mirror of a static one; "" while there is none."""
    is_static: bool = False
    gone: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class StatusPublisher:
    """Publish with `run` as a task."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._entries: dict[str, _Entry] = {}
        self._dirty: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    def observe(self, pod: Mapping[str, Any]) -> None:
        """Take over what the API holds now; a status that somebody else changed is corrected."""
        metadata = pod["metadata"]
        uid, revision = metadata["uid"], int(metadata.get("resourceVersion") or 0)
        status = pod.get("status") or {}
        entry = self._entries.get(uid)
        if entry is None:
            idle = asyncio.Event()
            idle.set()
            place = (metadata["namespace"], metadata["name"])
            target = "" if is_static(pod) else uid
            self._entries[uid] = _Entry(*place, status, status, revision, target, not target, idle=idle)
        elif revision > entry.revision:
            entry.known, entry.revision = status, revision
            if status_patch(entry.known, entry.wanted):
                self._enqueue(uid, entry)

    def show_at(self, uid: str, mirror: Mapping[str, Any] | None) -> None:
        """The status of a static pod is shown by this object of the API from now on, by none if it is None."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        if mirror is None:
            entry.target, entry.known, entry.revision = "", {}, 0
            return
        revision = int(mirror["metadata"].get("resourceVersion") or 0)
        if revision <= entry.revision:
            return
        entry.target, entry.known, entry.revision = mirror["metadata"]["uid"], mirror.get("status") or {}, revision
        if status_patch(entry.known, entry.wanted):
            self._enqueue(uid, entry)

    def known(self, uid: str) -> Mapping[str, Any]:
        """The status that was published or read last."""
        entry = self._entries.get(uid)
        return entry.wanted if entry is not None else {}

    def publish(self, uid: str, status: Mapping[str, Any]) -> None:
        """Make `status` the one that the API should hold. The pod must have been observed."""
        entry = self._entries[uid]
        if entry.wanted == status:
            return
        entry.wanted = status
        self._enqueue(uid, entry)

    async def wait_published(self, uid: str) -> bool:
        """Wait until the newest status was accepted; False if the pod is gone from the API."""
        entry = self._entries.get(uid)
        if entry is None:
            return False
        await entry.idle.wait()
        return not entry.gone

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        entry = self._entries.pop(uid, None)
        if entry is not None:
            entry.gone = True
            entry.idle.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for index in range(AT_ONCE):
                group.create_task(self._work(), name=f"pod status {index}")

    def _enqueue(self, uid: str, entry: _Entry) -> None:
        if entry.gone:
            return
        entry.idle.clear()
        if uid not in self._queued:
            self._queued.add(uid)
            self._dirty.put_nowait(uid)

    async def _work(self) -> None:
        while True:
            uid = await self._dirty.get()
            pause = RETRY_S
            sent: dict[str, Any] = {}
            while (entry := self._entries.get(uid)) is not None and entry.target and not entry.gone:
                patch = status_patch(entry.known, entry.wanted)
                if not patch or patch == sent:
                    # The second is a server that accepts the patch and keeps something else: asking on would not help.
                    break
                try:
                    await self._send(entry, patch)
                    sent = patch
                except (BusError, ApiError) as exc:
                    if not is_offline(exc):
                        # Among them Forbidden: a node may not touch a pod that is no longer its own.
                        log.warning("status of pod %s/%s was refused: %s", entry.namespace, entry.name, exc)
                        break
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_RETRY_S)
            self._queued.discard(uid)
            if entry is not None:
                entry.idle.set()

    async def _send(self, entry: _Entry, patch: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{entry.namespace}/pods/{entry.name}/status"
        try:
            # the uid makes the patch fail if the name belongs to another pod by now
            answer = await self._api.patch(path, {"metadata": {"uid": entry.target}, "status": patch}, "strategic")
        except (NotFound, Conflict) as exc:
            log.debug("pod %s/%s is gone: %s", entry.namespace, entry.name, exc)
            if entry.is_static:
                entry.target = ""
            else:
                entry.gone = True
            return
        revision = int((answer.get("metadata") or {}).get("resourceVersion") or 0)
        if revision >= entry.revision:
            entry.known, entry.revision = answer.get("status") or {}, revision
