"""Recording Events: what a component did to an object, or why it could not, as `kubectl describe` shows it.

Recording never waits and never fails its caller: events are told in the background, and of a flood the oldest are
dropped. The name of an Event is a function of what it says about which object, so repeating it raises the count of the
one that is there, even after a restart (core/v1 Event: count, lastTimestamp).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from shared.errors import AlreadyExists, ApiError, BusError, NotFound, TooManyRequests
from shared.objects import times

log = logging.getLogger(__name__)

WAITING_LIMIT = 4096
KNOWN_LIMIT = 4096
# Kubernetes' limit of an Event's message, in characters.
MESSAGE_LIMIT = 1024
# An object's name may have 253 characters, and the digest needs its place.
NAME_LIMIT = 230
RETRY_PAUSE_S = 1.0

Object = dict[str, Any]
EventKey = tuple[str, str]


class EventApi(Protocol):
    """What the recorder needs of the API client."""

    async def get(self, path: str) -> Object: ...
    async def create(self, path: str, obj: Object) -> Object: ...
    async def patch(self, path: str, body: Any, kind: str = "merge") -> Object: ...


class EventRecorder:
    """Collects Events in the name of one component (or several, see `of`); `run` sends them one after the other."""

    def __init__(self, api: EventApi, component: str, host: str = "", clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._component = component
        self._host = host
        self._clock = clock
        self._waiting: OrderedDict[EventKey, Object] = OrderedDict()
        self._known: OrderedDict[EventKey, int] = OrderedDict()
        self._wake = asyncio.Event()

    def of(self, component: str) -> EventRecorder:
        """A recorder that speaks as another component and sends through the same queue."""
        other = EventRecorder(self._api, component, self._host, self._clock)
        other._waiting, other._known, other._wake = self._waiting, self._known, self._wake
        return other

    def record(
        self, obj: Mapping[str, Any], kind: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None:
        """Queue an event about an object. `kind` is Normal or Warning; `field_path` names a part of the object such as
        `spec.containers{web}`. One that waits already only counts up."""
        now = times.format_time(datetime.fromtimestamp(self._clock(), UTC))
        event = self._build(obj, kind, reason, message, now, action, field_path)
        key = (event["metadata"]["namespace"], event["metadata"]["name"])
        if (waiting := self._waiting.get(key)) is not None:
            waiting["count"] += 1
            waiting["lastTimestamp"] = now
            return
        if len(self._waiting) >= WAITING_LIMIT:
            self._waiting.popitem(last=False)
        self._waiting[key] = event
        self._wake.set()

    async def run(self) -> None:
        """Send what was recorded; while no API server answers, the events wait for it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                key, event = self._waiting.popitem(last=False)
                try:
                    await self._send(key, event)
                except (ApiError, BusError) as exc:
                    if isinstance(exc, ApiError) and exc.code < 500 and not isinstance(exc, TooManyRequests):
                        # Refused for good, for example because its namespace is going away.
                        log.info("event %s on %s not recorded: %s", event["reason"], event["involvedObject"], exc)
                        continue
                    self._put_back(key, event)
                    await asyncio.sleep(RETRY_PAUSE_S)

    def _put_back(self, key: EventKey, event: Object) -> None:
        # The same event may have been recorded again meanwhile.
        if (newer := self._waiting.get(key)) is not None:
            newer["count"] += event["count"]
            newer["firstTimestamp"] = event["firstTimestamp"]
        else:
            self._waiting[key] = event
        self._waiting.move_to_end(key, last=False)

    async def _send(self, key: EventKey, event: Object) -> None:
        namespace, name = key
        collection = f"/api/v1/namespaces/{namespace}/events"
        count = self._known.get(key, 0)
        if count and await self._raise(f"{collection}/{name}", count, event):
            self._remember(key, count + event["count"])
            return
        try:
            await self._api.create(collection, event)
            self._remember(key, event["count"])
        except AlreadyExists:
            found = await self._api.get(f"{collection}/{name}")
            before = int(found.get("count") or 1)
            if await self._raise(f"{collection}/{name}", before, event):
                self._remember(key, before + event["count"])

    async def _raise(self, path: str, count: int, event: Object) -> bool:
        body = {"count": count + event["count"], "lastTimestamp": event["lastTimestamp"]}
        try:
            await self._api.patch(path, body, kind="merge")
        except NotFound:
            return False
        return True

    def _remember(self, key: EventKey, count: int) -> None:
        self._known[key] = count
        self._known.move_to_end(key)
        if len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)

    def _build(
        self, obj: Mapping[str, Any], kind: str, reason: str, message: str, now: str, action: str, field_path: str
    ) -> Object:
        metadata = obj["metadata"]
        involved = {
            "apiVersion": obj.get("apiVersion", "v1"),
            "kind": obj["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
            "fieldPath": field_path,
        }
        said = (self._component, self._host, involved["kind"], involved["uid"], field_path, kind, reason, message)
        digest = hashlib.blake2b("\0".join(said).encode(), digest_size=8).hexdigest()
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name'][:NAME_LIMIT]}.{digest}",
                "namespace": metadata.get("namespace") or "default",
            },
            "involvedObject": {name: value for name, value in involved.items() if value},
            "type": kind,
            "reason": reason,
            "message": message[:MESSAGE_LIMIT],
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self._component} | ({"host": self._host} if self._host else {}),
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        return event | ({"action": action} if action else {})
