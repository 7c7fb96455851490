"""What the node makes of the cluster's services, slices and nodes: kernel maps, DNS, routes.

Each projection is brought up to date after its source changed, once for a burst of changes, and tries again when the
kernel refused. Last-known objects are kept on the tmpfs, for an agent that restarts while the control plane is away.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from services.nodeagent import stored
from services.nodeagent.link import Informer
from shared.errors import NetworkError

log = logging.getLogger(__name__)

Key = tuple[str, str]
Objects = Mapping[Key, Mapping[str, Any]]

RETRY_S = 1.0
REMEMBER_S = 5.0


class Projection:
    """Runs `action` after `trigger`, never twice at once; triggers during a run lead to one more."""

    def __init__(self, name: str, action: Callable[[], Awaitable[None]], settle_s: float = 0.0) -> None:
        self._name = name
        self._action = action
        self._settle = settle_s
        self._dirty = asyncio.Event()

    def trigger(self) -> None:
        self._dirty.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._dirty.wait()
            if self._settle:
                await asyncio.sleep(self._settle)
            self._dirty.clear()
            try:
                await self._action()
            except NetworkError as exc:
                log.warning("%s is tried again in %g s: %s", self._name, RETRY_S, exc)
                await asyncio.sleep(RETRY_S)
                self._dirty.set()


class Collection:
    """An informer's objects, or those of the last run while the API has not been read yet.

    `on_change` callbacks run after every change once the collection is synced.
    """

    def __init__(self, informer: Informer, path: Path) -> None:
        self._informer = informer
        self._path = path
        self._remembered = _load(path)
        self._listeners: list[Callable[[], None]] = []
        self._memory = Projection(f"memory {path.name}", self._remember, REMEMBER_S)
        informer.on_change = self._changed

    @property
    def known(self) -> bool:
        """Whether there is anything to go by."""
        return self._informer.synced or self._remembered is not None

    @property
    def items(self) -> Objects:
        return self._informer.items if self._informer.synced else self._remembered or {}

    @property
    def synced(self) -> bool:
        return self._informer.synced

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow the API until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run(), name=f"informer {self._path.stem}")
            group.create_task(self._memory.run(), name=f"memory {self._path.stem}")
            group.create_task(self._first(), name=f"first sync {self._path.stem}")

    async def _first(self) -> None:
        await self._informer.wait_synced()
        self._tell()

    def _changed(self, kind: str, obj: dict[str, Any], old: dict[str, Any] | None) -> None:
        # During the first list the collection is incomplete, and a projection of a part would tear down the rest.
        if self._informer.synced:
            self._tell()

    def _tell(self) -> None:
        self._memory.trigger()
        for listener in self._listeners:
            listener()

    async def _remember(self) -> None:
        objects = [_slim(obj) for obj in self._informer.items.values()]
        await asyncio.to_thread(stored.write, self._path, objects)


def _slim(obj: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def _load(path: Path) -> dict[Key, Mapping[str, Any]] | None:
    objects = stored.read(path)
    if not isinstance(objects, list):
        return None
    return {(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): obj for obj in objects}


def node_routes(nodes: Objects, own: str) -> dict[str, str]:
    """The pod networks of all other nodes, and the addresses that lead there."""
    routes = {}
    for node in nodes.values():
        cidr = (node.get("spec") or {}).get("podCIDR")
        addresses = (node.get("status") or {}).get("addresses") or ()
        address = next((a["address"] for a in addresses if a.get("type") == "InternalIP"), None)
        if node["metadata"]["name"] != own and cidr and address:
            routes[cidr] = address
    return routes
