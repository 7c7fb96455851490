"""What a node answers at /api/v1/nodes/NAME/proxy/PATH: kubelet's pages, over the bus and not over a port of their own.

Some of them (the specs of pods, logs) are nobody's business but the caller's whom the API server has let in, so they
must not be on the node's open metrics address. Channel 3 tells status and type as JSON, then channel 1 has the body.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from services.nodeagent import cadvisor, machine, resource_metrics
from services.nodeagent.configuration import Configuration
from services.nodeagent.eviction.thresholds import Quantity
from services.nodeagent.layout import NodeLayout
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.streams import CHUNK, SUCCESS, Handler, relay_to
from services.nodeagent.summary import StatsSource, Summaries
from shared.bus.streams import BusStream

BODY, HEAD = 1, 3
JSON = "application/json"
HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer; a `file` is sent after the body, as far as it goes now."""

    body: bytes
    content_type: str
    status: int = 200
    file: Path | None = None


MISSING = Page(b"404 page not found\n", PLAIN, 404)
NOT_ALLOWED = Page(b"405 method not allowed\n", PLAIN, 405)


class Pages:
    """The pages of one node, and the way to its other ports."""

    def __init__(
        self, configuration: Configuration, layout: NodeLayout, manager: PodManager, source: StatsSource
    ) -> None:
        self._configuration = configuration
        self._logs = layout.logs
        self._manager = manager
        self._source = source
        self._summaries = Summaries(configuration.node, layout, manager, source)
        self._served: dict[str, Callable[[], Awaitable[Page]]] = {
            "/healthz": self._health,
            "/metrics": self._metrics,
            "/metrics/cadvisor": self._containers,
            "/metrics/resource": self._resources,
            "/stats/summary": self._summary,
            "/pods": self._pods,
            "/configz": self._settings,
        }

    def handlers(self) -> dict[str, Handler]:
        return {"page": self.page, "nodeport": self.port}

    async def page(self, params: dict[str, Any], stream: BusStream) -> None:
        """Answer a page: `method`, and the `path` as it stands behind the proxy, decoded."""
        page = await self.find(str(params.get("method", "GET")), str(params["path"]))
        await stream.send(HEAD, json.dumps({"status": page.status, "contentType": page.content_type}).encode())
        if page.body:
            await stream.send(BODY, page.body)
        if page.file is not None:
            with await asyncio.to_thread(page.file.open, "rb") as file:
                while data := await asyncio.to_thread(_read, file):
                    await stream.send(BODY, data)
        await stream.close(SUCCESS)

    async def port(self, params: dict[str, Any], stream: BusStream) -> None:
        """Connect to another port of the node's own address: what others on its network can reach, and no more."""
        await relay_to(self._configuration.address, int(params["port"]), "", "of the node", stream)

    async def find(self, method: str, path: str) -> Page:
        """The page at a path."""
        if path == "/logs" or path.startswith("/logs/"):
            return await asyncio.to_thread(self._log_files, path) if method == "GET" else NOT_ALLOWED
        serve = self._served.get(path.rstrip("/") or "/")
        if serve is None:
            return MISSING
        return await serve() if method == "GET" else NOT_ALLOWED

    async def _health(self) -> Page:
        return Page(b"ok", PLAIN)

    async def _metrics(self) -> Page:
        return Page(await asyncio.to_thread(generate_latest, REGISTRY), CONTENT_TYPE_LATEST)

    async def _containers(self) -> Page:
        samples = await cadvisor.collect(self._manager, self._source)
        return Page(cadvisor.render(samples, os.cpu_count() or 1, machine.memory_bytes()), cadvisor.CONTENT_TYPE)

    async def _resources(self) -> Page:
        samples = await cadvisor.collect(self._manager, self._source)
        node = await asyncio.to_thread(self._summaries.machine)
        return Page(resource_metrics.render(node, samples), cadvisor.CONTENT_TYPE)

    async def _summary(self) -> Page:
        return _json(await self._summaries.make())

    async def _pods(self) -> Page:
        pods = [worker.pod for worker in self._manager.workers.values()]
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})

    async def _settings(self) -> Page:
        return _json({"kubeletconfig": settings_of(self._configuration)})

    def _log_files(self, path: str) -> Page:
        root = self._logs.resolve()
        found = (root / path.removeprefix("/logs").lstrip("/")).resolve()
        if not found.is_relative_to(root) or not found.exists():
            return MISSING
        if found.is_dir():
            names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in found.iterdir())
            lines = "".join(f'<a href="{quote(name)}">{escape(name)}</a>\n' for name in names)
            return Page(f"<pre>\n{lines}</pre>\n".encode(), HTML)
        return Page(b"", PLAIN, file=found)


def settings_of(configuration: Configuration) -> dict[str, Any]:
    """The node's settings in the words of kubelet.config.k8s.io/v1beta1 KubeletConfiguration, as far as it has any."""
    host, port = configuration.metrics_address
    hard = {one.signal: _threshold(one.quantity) for one in configuration.eviction.thresholds if not one.grace}
    soft = {one.signal: one for one in configuration.eviction.thresholds if one.grace}
    settings: dict[str, Any] = {
        "address": host,
        "port": port,
        "clusterDomain": configuration.domain,
        "clusterDNS": [configuration.dns_address],
        "maxPods": configuration.max_pods,
        "podCIDR": configuration.pod_cidr,
        "allowedUnsafeSysctls": list(configuration.unsafe_sysctls),
        "nodeLeaseDurationSeconds": configuration.lease_ttl,
        "evictionHard": hard,
        "evictionPressureTransitionPeriod": f"{configuration.eviction.transition:g}s",
        "evictionMaxPodGracePeriod": int(configuration.eviction.most_grace),
        "shutdownGracePeriodByPodPriority": [
            {"priority": priority, "shutdownGracePeriodSeconds": int(seconds)}
            for priority, seconds in configuration.shutdown.periods
        ],
    }
    if soft:
        settings["evictionSoft"] = {name: _threshold(one.quantity) for name, one in soft.items()}
        settings["evictionSoftGracePeriod"] = {name: f"{one.grace:g}s" for name, one in soft.items()}
    if configuration.static_pods is not None:
        settings["staticPodPath"] = str(configuration.static_pods)
    return settings


def _threshold(quantity: Quantity) -> str:
    return str(quantity.amount) if quantity.share is None else f"{quantity.share * 100:g}%"


def _json(obj: Mapping[str, Any]) -> Page:
    return Page(json.dumps(obj).encode(), JSON)


def _read(file: BinaryIO) -> bytes:
    return file.read(CHUNK)
