"""Events: what controllers did and why, told to users in `kubectl describe` and `kubectl get events`.

The name of an Event is a function of what it says about which object, so repeating it raises the count of the one
that is there, even after a restart. Recording never holds up or fails a reconciliation: events wait in a bounded
queue and the oldest are dropped first.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from services.controllers import instants
from services.controllers.actions import Object
from shared.errors import AlreadyExists, ApiError, BusError, NotFound

log = logging.getLogger(__name__)

WAITING_LIMIT = 4096
KNOWN_LIMIT = 4096


class EventApi(Protocol):
    """What the recorder needs of the API client."""

    async def get(self, path: str, query: Any = None) -> Object: ...
    async def create(self, path: str, obj: Object, query: Any = None) -> Object: ...
    async def patch(self, path: str, body: Any, kind: str = "merge") -> Object: ...


class Recorder:
    """Collects events and sends them one after the other from `run`."""

    def __init__(self, api: EventApi, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._waiting: OrderedDict[tuple[str, str], Object] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._wakeup = asyncio.Event()

    def tell(self, component: str, regarding: Object, kind: str, reason: str, message: str) -> None:
        """Queue an event; one that waits already only counts up."""
        event = build(component, regarding, kind, reason, message, self._clock())
        key = (event["metadata"]["namespace"], event["metadata"]["name"])
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting["count"] += 1
            waiting["lastTimestamp"] = event["lastTimestamp"]
            return
        if len(self._waiting) >= WAITING_LIMIT:
            self._waiting.popitem(last=False)
        self._waiting[key] = event
        self._wakeup.set()

    async def run(self) -> None:
        """Send events for as long as the task lives; one that cannot be sent is dropped with a log line."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while self._waiting:
                key, event = self._waiting.popitem(last=False)
                try:
                    await self._send(key, event)
                except (ApiError, BusError) as error:
                    log.info("event %s on %s not recorded: %s", event["reason"], event["involvedObject"], error)

    async def _send(self, key: tuple[str, str], event: Object) -> None:
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

    def _remember(self, key: tuple[str, str], count: int) -> None:
        self._known[key] = count
        self._known.move_to_end(key)
        if len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)


def build(component: str, regarding: Object, kind: str, reason: str, message: str, now: float) -> Object:
    """A core/v1 Event about `regarding`; its name depends on everything but the time."""
    metadata = regarding["metadata"]
    namespace = metadata.get("namespace", "")
    involved = {
        "apiVersion": regarding["apiVersion"],
        "kind": regarding["kind"],
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        **({"namespace": namespace} if namespace else {}),
        **({"resourceVersion": metadata["resourceVersion"]} if "resourceVersion" in metadata else {}),
    }
    said = "\0".join((component, involved["kind"], involved["uid"], kind, reason, message))
    digest = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
    instant = instants.text(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name'][:230]}.{digest}", "namespace": namespace or "default"},
        "involvedObject": involved,
        "type": kind,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": instant,
        "lastTimestamp": instant,
        "count": 1,
    }


class ComponentRecorder:
    """A recorder that speaks as one controller."""

    def __init__(self, recorder: Recorder, component: str) -> None:
        self._recorder = recorder
        self._component = component

    def record(self, regarding: Object, kind: str, reason: str, message: str) -> None:
        """Queue an event of this controller."""
        self._recorder.tell(self._component, regarding, kind, reason, message)
