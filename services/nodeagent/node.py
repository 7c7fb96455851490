"""The Node object: registered, described and kept true, with a patch only when something has changed.

That the node lives is told by its lease, a message that expires, and not by writing the object again and again.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from services.nodeagent import machine
from services.nodeagent.configuration import KUBELET_VERSION, METRICS_PORT, RUNTIME_VERSION, Configuration
from services.nodeagent.images.model import Image
from services.nodeagent.link import Api, is_offline
from shared.errors import AlreadyExists, ApiError, BusError, NotFound
from shared.objects import times
from shared.objects.volumebinding import DIRECTORY

log = logging.getLogger(__name__)

CHECK_S = 10.0
RETRY_S = 1.0
MOST_IMAGES = 50


@dataclass(frozen=True, slots=True)
class Health:
    """Why the node is not ready ("" if it is), and the conditions MemoryPressure and so on that hold."""

    trouble: str
    pressures: frozenset[str] = frozenset()


class LeaseRenewer(Protocol):
    """What publishes the node's lease."""

    async def renew_node(self, node: str, ttl_s: int, payload: dict[str, Any] | None = None) -> None: ...


def node_object(
    configuration: Configuration,
    capacity: Mapping[str, str],
    volumes: Path,
    handlers: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A new Node without its conditions. `volumes` is where the directories of local volumes lie."""
    name = configuration.node
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": node_labels(configuration),
            "annotations": {DIRECTORY: str(volumes)},
        },
        "spec": {},
        "status": node_status(configuration, capacity, handlers),
    }


def node_labels(configuration: Configuration) -> dict[str, str]:
    """The labels that a node gives itself."""
    architecture = machine.architecture()
    return {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": configuration.node,
        "kubernetes.io/os": "linux",
        **configuration.labels,
    }


def node_status(
    configuration: Configuration, capacity: Mapping[str, str], handlers: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The part of the status that changes only with the machine; `handlers` are those of its runtimes."""
    return {
        "addresses": [
            {"type": "InternalIP", "address": configuration.address},
            {"type": "Hostname", "address": configuration.node},
        ],
        "capacity": dict(capacity),
        "allocatable": machine.allocatable(dict(capacity)),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": METRICS_PORT}},
        "nodeInfo": machine.node_info(KUBELET_VERSION, RUNTIME_VERSION),
        "runtimeHandlers": list(handlers),
        "features": {"supplementalGroupsPolicy": True},
    }


def conditions(health: Health, previous: Sequence[Mapping[str, Any]], now: str) -> list[dict[str, Any]]:
    """The node's conditions; times move only when something else does."""
    memory, disk, pids = (kind in health.pressures for kind in ("MemoryPressure", "DiskPressure", "PIDPressure"))
    fresh: list[dict[str, Any]] = [
        _pressure("MemoryPressure", memory, ("SufficientMemory", "sufficient memory available"), "InsufficientMemory"),
        _pressure("DiskPressure", disk, ("NoDiskPressure", "no disk pressure"), "DiskPressure"),
        _pressure("PIDPressure", pids, ("SufficientPID", "sufficient PID available"), "InsufficientPID"),
        {
            "type": "Ready",
            "status": "False" if health.trouble else "True",
            "reason": "KubeletNotReady" if health.trouble else "KubeletReady",
            "message": health.trouble or "kubelet is posting ready status",
        },
    ]
    before = {condition.get("type"): condition for condition in previous}
    for condition in fresh:
        old = before.get(condition["type"]) or {}
        same = old.get("status") == condition["status"]
        condition["lastTransitionTime"] = old.get("lastTransitionTime", now) if same else now
        unchanged = all(old.get(key) == value for key, value in condition.items())
        condition["lastHeartbeatTime"] = old.get("lastHeartbeatTime", now) if unchanged else now
    return fresh


def _pressure(kind: str, pressed: bool, good: tuple[str, str], bad_reason: str) -> dict[str, Any]:
    reason, text = good
    if pressed:
        reason, text = bad_reason, text.replace("sufficient", "insufficient").removeprefix("no ")
    return {
        "type": kind,
        "status": "True" if pressed else "False",
        "reason": f"KubeletHas{reason}",
        "message": f"kubelet has {text}",
    }


def image_list(images: Sequence[Image]) -> list[dict[str, Any]]:
    """status.images: the largest first."""
    ordered = sorted(images, key=lambda image: image.size, reverse=True)[:MOST_IMAGES]
    return [{"names": list(image.references or [image.reference]), "sizeBytes": image.size} for image in ordered]


class NodeStatus:
    """Registers the node and keeps its status. `health` and `images` are asked; `poke` makes it look at once."""

    def __init__(
        self,
        api: Api,
        configuration: Configuration,
        capacity: Mapping[str, str],
        volumes: Path,
        handlers: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._handlers = handlers
        self._api = api
        self._configuration = configuration
        self._capacity = capacity
        self._volumes = volumes
        self._poked = asyncio.Event()
        self._known: dict[str, Any] = {}

    def poke(self) -> None:
        """Something that the status shows may have changed."""
        self._poked.set()

    def observe(self, node: Mapping[str, Any] | None) -> None:
        """The object as the API has it; None if it was deleted, which makes the node register again."""
        self._known = dict((node or {}).get("status") or {})
        if node is None:
            self._poked.set()

    async def register(self) -> dict[str, Any]:
        """Create or complete the Node object; returns it. Tries until the API answers."""
        path = f"/api/v1/nodes/{self._configuration.node}"
        while True:
            try:
                try:
                    node = await self._api.get(path)
                except NotFound:
                    node = await self._api.create("/api/v1/nodes", self._new())
                own: dict[str, dict[str, str | None]] = {
                    "labels": {**node_labels(self._configuration)},
                    "annotations": {DIRECTORY: str(self._volumes)},
                }
                if any(
                    not wanted.items() <= (node["metadata"].get(kind) or {}).items() for kind, wanted in own.items()
                ):
                    node = await self._api.patch(path, {"metadata": own}, "merge")
            except AlreadyExists:
                continue
            except (ApiError, BusError) as exc:
                level = logging.INFO if is_offline(exc) else logging.ERROR
                log.log(level, "node is not registered yet: %s", exc)
                await asyncio.sleep(RETRY_S)
            else:
                self._known = dict(node.get("status") or {})
                return node

    def _new(self) -> dict[str, Any]:
        return node_object(self._configuration, self._capacity, self._volumes, self._handlers)

    async def annotate(self, key: str, value: str) -> None:
        """Set an annotation of the node; tries until the API answers."""
        path = f"/api/v1/nodes/{self._configuration.node}"
        while True:
            try:
                await self._api.patch(path, {"metadata": {"annotations": {key: value}}})
            except (ApiError, BusError) as exc:
                log.log(
                    logging.INFO if is_offline(exc) else logging.ERROR, "annotation %s is not set yet: %s", key, exc
                )
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def publish(self, health: Health, images: Sequence[Image]) -> bool:
        """Patch what differs from the API's view; whether the API has it now."""
        status = node_status(self._configuration, self._capacity, self._handlers)
        status["images"] = image_list(images)
        patch = {key: value for key, value in status.items() if self._known.get(key) != value}
        if "addresses" in patch:
            patch["addresses"] = [{"$patch": "replace"}, *patch["addresses"]]
        previous = self._known.get("conditions") or []
        fresh = conditions(health, previous, times.now())
        changed = [c for c in fresh if c not in previous]
        if changed:
            patch["conditions"] = changed
        if not patch:
            return True
        path = f"/api/v1/nodes/{self._configuration.node}/status"
        try:
            answer = await self._api.patch(path, {"status": patch}, "strategic")
        except NotFound:
            await self.register()
            self._poked.set()
            return False
        except (ApiError, BusError) as exc:
            level = logging.INFO if is_offline(exc) else logging.ERROR
            log.log(level, "node status is not published: %s", exc)
            return False
        self._known = dict(answer.get("status") or {})
        return True

    async def wait_poked(self, delay: float) -> None:
        """Wait for a poke, at most `delay` seconds."""
        try:
            async with asyncio.timeout(delay):
                await self._poked.wait()
        except TimeoutError:
            return
        finally:
            self._poked.clear()


async def renew_lease(leases: LeaseRenewer, configuration: Configuration) -> None:
    """Say that the node lives, for ever; silence while the bus is away needs no care, the next one will do."""
    while True:
        try:
            await leases.renew_node(configuration.node, configuration.lease_ttl)
        except BusError as exc:
            log.debug("lease not renewed: %s", exc)
        await asyncio.sleep(configuration.lease_renew)
