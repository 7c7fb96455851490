"""The present objects of one path, kept current: list, watch, list again when the watch expired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shared.bus.wire import Event
from shared.errors import ApiError, BusError, Gone, api_error_from_status

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

Key = tuple[str, str]
Object = dict[str, Any]
# type, object, the object before
ChangeHandler = Callable[[str, Object, Object | None], None]


class Api(Protocol):
    """The part of ApiClient that an informer uses."""

    async def list(self, path: str, query: Mapping[str, Any] | None = None) -> Object: ...

    def watch(self, path: str, query: Mapping[str, Any] | None = None) -> Any: ...


class Informer:
    """`items` maps (namespace, name) to the object; `on_change` is called, synchronously, after every change with
    ADDED, MODIFIED or DELETED. While the API server is away `items` stays as it was last seen.
    """

    def __init__(self, api: Api, path: str, query: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.items: dict[Key, Object] = {}
        self.on_change: ChangeHandler | None = None
        self.revision = ""
        self._api = api
        self._query = dict(query or {})
        self._synced = asyncio.Event()
        self._kind: tuple[str, str] = ("", "")

    @property
    def synced(self) -> bool:
        """Whether the first list was taken in."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for the first list."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the path for ever. Only errors that no waiting mends are waited for as well, and logged."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._list()
                pause = FIRST_PAUSE_S
                await self._follow()
            except Gone as exc:
                log.info("%s is listed again: %s", self.path, exc)
            except (ApiError, BusError) as exc:
                log.info("%s is tried again in %.1f s: %s", self.path, pause, exc)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _list(self) -> None:
        answer = await self._api.list(self.path, self._query)
        kind = str(answer.get("kind", "")).removesuffix("List")
        self._kind = (str(answer.get("apiVersion", "")), kind)
        present: set[Key] = set()
        for obj in answer.get("items") or ():
            present.add(_key(obj))
            self._put(obj)
        for key in [key for key in self.items if key not in present]:
            self._drop(key, self.items[key])
        self.revision = str(answer.get("metadata", {}).get("resourceVersion", ""))
        self._synced.set()

    async def _follow(self) -> None:
        query = {**self._query, "resourceVersion": self.revision, "allowWatchBookmarks": "true"}
        events: list[Event]
        async for events in self._api.watch(self.path, query):
            for event in events:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            raise api_error_from_status(obj)
        self.revision = str(obj.get("metadata", {}).get("resourceVersion") or self.revision)
        if kind in ("ADDED", "MODIFIED"):
            self._put(obj)
        elif kind == "DELETED":
            self._drop(_key(obj), obj)

    def _put(self, obj: Object) -> None:
        # members of a built-in List come without their own kind
        if self._kind[1]:
            obj.setdefault("apiVersion", self._kind[0])
            obj.setdefault("kind", self._kind[1])
        key = _key(obj)
        old = self.items.get(key)
        if old is not None and old["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion"):
            return
        self.items[key] = obj
        self._tell("MODIFIED" if old is not None else "ADDED", obj, old)

    def _drop(self, key: Key, obj: Object) -> None:
        old = self.items.pop(key, None)
        if old is not None:
            self._tell("DELETED", obj, old)

    def _tell(self, kind: str, obj: Object, old: Object | None) -> None:
        if self.on_change is None:
            return
        try:
            self.on_change(kind, obj, old)
        except Exception:
            log.exception("handler of %s failed for %s", self.path, _key(obj))


def _key(obj: Object) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
