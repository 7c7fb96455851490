"""Recording Events: what a component did to an object, or why it could not, as `kubectl describe` shows it.

Recording never waits and never fails its caller: events are told in the background, and a flood is cut, not queued
without end. A repeated event raises the count of the one that is there (core/v1 Event: count, lastTimestamp).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.bus.api import ApiClient
from shared.errors import ApiError, BusError, NotFound
from shared.objects import times

MOST_WAITING = 2000
MOST_REMEMBERED = 4096
RETRY_PAUSE_S = 1.0

EventKey = tuple[str, str, str, str, str]


@dataclass(slots=True)
class _Told:
    namespace: str
    name: str
    count: int


class EventRecorder:
    """Tells Events in the name of one component; `run` does the writing."""

    def __init__(self, api: ApiClient, component: str, host: str = "") -> None:
        self.api = api
        self.component = component
        self.host = host
        self.dropped = 0
        self._waiting: deque[tuple[EventKey, dict[str, Any]]] = deque()
        self._told: OrderedDict[EventKey, _Told] = OrderedDict()
        self._wake = asyncio.Event()

    def record(
        self, obj: Mapping[str, Any], kind: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None:
        """Tell an event about an object. `kind` is Normal or Warning; `field_path` names a part such as
        `spec.containers{web}`."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        metadata = obj["metadata"]
        now = times.now()
        involved = {
            "apiVersion": obj.get("apiVersion", "v1"),
            "kind": obj["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
            "fieldPath": field_path,
        }
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name']}.{time.time_ns():x}",
                "namespace": metadata.get("namespace") or "default",
            },
            "involvedObject": {name: value for name, value in involved.items() if value},
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self.component} | ({"host": self.host} if self.host else {}),
            "reportingComponent": self.component,
            "reportingInstance": self.host,
        }
        if action:
            event["action"] = action
        self._waiting.append(((metadata.get("uid", metadata["name"]), kind, reason, message, field_path), event))
        self._wake.set()

    async def run(self) -> None:
        """Write what was recorded; while the API server is away the events wait for it."""
        while True:
            while self._waiting:
                key, event = self._waiting[0]
                try:
                    await self._tell(key, event)
                except (BusError, ApiError) as exc:
                    if not isinstance(exc, ApiError) or exc.code >= 500:
                        await asyncio.sleep(RETRY_PAUSE_S)
                        continue
                    # Refused for good, for example because the namespace is going away.
                self._waiting.popleft()
            self._wake.clear()
            await self._wake.wait()

    async def _tell(self, key: EventKey, event: dict[str, Any]) -> None:
        told = self._told.get(key)
        if told is not None:
            path = f"/api/v1/namespaces/{told.namespace}/events/{told.name}"
            change = {"count": told.count + 1, "lastTimestamp": event["lastTimestamp"]}
            try:
                await self.api.patch(path, change, kind="merge")
            except NotFound:
                del self._told[key]
            else:
                told.count += 1
                self._told.move_to_end(key)
                return
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        await self.api.create(f"/api/v1/namespaces/{namespace}/events", event)
        self._told[key] = _Told(namespace, name, 1)
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
