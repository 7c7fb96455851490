"""A control plane of real processes (broker, API server, controllers) and nodes that are played by the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from shared.bus.api import ApiClient
from shared.bus.connection import connect
from shared.bus.port import Bus
from shared.errors import ApiError, BusError, NotFound
from shared.identity.kubeconfig import admin_kubeconfig
from shared.identity.pki import ensure_pki
from shared.objects import meta, times
from shared.state.leases import Leases
from tests.fakes.nats import NatsServer, free_port
from tests.slowness import LIMIT_S

Object = dict[str, Any]
NODE_GRACE = 3
LEASE_TTL = 2
TOLERATION = 1


class ControlPlane:
    """Processes by name; their output is in `directory`/<name>.log."""

    def __init__(self, broker: NatsServer, directory: Path) -> None:
        self.broker = broker
        self.directory = directory
        self.port = free_port()
        self.pki = ensure_pki(directory, addresses=["127.0.0.1"], names=["localhost"])
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of the administrator."""
        path = self.directory / "kubeconfig"
        path.write_text(yaml.safe_dump(admin_kubeconfig(self.pki, f"https://127.0.0.1:{self.port}")))
        return path

    def start(self, service: str) -> None:
        """Start a service process."""
        env = {
            **os.environ,
            **self.broker.environment(service),
            "WHERRY_DATA": str(self.directory),
            "WHERRY_API_ADDRESSES": f"127.0.0.1:{self.port}",
            # the API server refuses to announce a loopback address
            "WHERRY_API_ADVERTISE": "10.89.0.1:6443",
            "WHERRY_NODE_GRACE_SECONDS": str(NODE_GRACE),
            "WHERRY_NOT_READY_TOLERATION_SECONDS": str(TOLERATION),
        }
        with (self.directory / f"{service}.log").open("ab") as output:
            self._processes[service] = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"], env=env, stdout=output, stderr=output
            )

    def kill(self, service: str) -> None:
        """kill -9."""
        process = self._processes.pop(service)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def log(self, service: str) -> str:
        """What a service wrote so far."""
        return (self.directory / f"{service}.log").read_text()

    def close(self) -> None:
        """Stop what still runs."""
        for service in list(self._processes):
            self.kill(service)


class Nodes:
    """Plays the nodes: keeps leases alive, binds pods, reports them running and confirms their end."""

    def __init__(self, bus: Bus, api: ApiClient) -> None:
        self._api = api
        self._leases = Leases(bus)
        self.alive: set[str] = set()
        self.starts = True

    async def add(self, name: str) -> None:
        """Register a node that is ready."""
        self.alive.add(name)
        await self._leases.renew_node(name, LEASE_TTL)
        await self._api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        await self.report(name)

    async def report(self, name: str) -> None:
        """Report a node ready."""
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": times.now()}
        await self._api.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}}, "strategic")

    async def renew(self) -> None:
        """Keep the leases of live nodes."""
        while True:
            for name in self.alive:
                with contextlib.suppress(BusError):
                    await self._leases.renew_node(name, LEASE_TTL)
            await asyncio.sleep(0.3)

    async def run(self) -> None:
        """Bind, start and end pods, again and again."""
        while True:
            with contextlib.suppress(ApiError):
                await self._round()
            await asyncio.sleep(0.05)

    async def _round(self) -> None:
        for name in sorted(self.alive):
            if not meta.condition_true(await self._api.get(f"/api/v1/nodes/{name}"), "Ready"):
                await self.report(name)
        for pod in (await self._api.list("/api/v1/pods"))["items"]:
            # what changed meanwhile is seen by the next round
            with contextlib.suppress(ApiError):
                await self._serve(pod)

    async def _serve(self, pod: Object) -> None:
        namespace, name = meta.key(pod)
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        node = pod["spec"].get("nodeName")
        if not node:
            if self.alive and not meta.is_deleting(pod):
                target = {"apiVersion": "v1", "kind": "Node", "name": self._choose(pod)}
                body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
                await self._api.create(f"{path}/binding", body)
        elif node not in self.alive:
            return
        elif meta.is_deleting(pod):
            await self._api.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta.uid(pod)}})
        elif self.starts and not meta.pod_ready(pod) and not meta.pod_finished(pod):
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": times.now()}
            number = int(pod["metadata"]["resourceVersion"]) % 60000
            address = f"10.244.{number // 250}.{number % 250 + 1}"
            status = {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [condition],
            }
            await self._api.patch(f"{path}/status", {"status": status}, "strategic")

    def _choose(self, pod: Object) -> str:
        affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
        terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms") or ()
        pinned = [field["values"][0] for term in terms for field in term.get("matchFields") or ()]
        names = sorted(self.alive)
        return pinned[0] if pinned else names[hash(meta.uid(pod)) % len(names)]


class Cluster:
    """What a test holds in its hands."""

    def __init__(self, plane: ControlPlane, api: ApiClient, nodes: Nodes) -> None:
        self.plane = plane
        self.api = api
        self.nodes = nodes

    async def get(self, path: str) -> Object | None:
        """An object, or None."""
        try:
            return await self.api.get(path)
        except NotFound:
            return None

    async def items(self, path: str) -> list[Object]:
        """All objects of a collection."""
        return list((await self.api.list(path))["items"])

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str, limit: float = LIMIT_S) -> Any:
        """Poll a condition until it gives something true; that is returned."""
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            found = await condition()
            if found:
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not reached: {what}\n{self.plane.log('controllers')[-4000:]}")
            await asyncio.sleep(0.05)

    async def remains(self, condition: Callable[[], Awaitable[Any]], what: str) -> None:
        """Watch that a condition holds for longer than a wrong eviction would take to show."""
        deadline = asyncio.get_running_loop().time() + NODE_GRACE + TOLERATION + 2
        while asyncio.get_running_loop().time() < deadline:
            assert await condition(), f"{what}\n{self.plane.log('controllers')[-4000:]}"
            await asyncio.sleep(0.2)


@asynccontextmanager
async def cluster(broker: NatsServer, directory: Path, *node_names: str) -> AsyncIterator[Cluster]:
    """A control plane with live nodes."""
    directory.mkdir()
    plane = ControlPlane(broker, directory)
    try:
        plane.start("apiserver")
        plane.start("controllers")
        async with (
            connect(broker.settings("admin"), "nodes") as bus,
            # the API server answers only to inboxes of the user who asks
            connect(broker.settings("scheduler"), "test") as service_bus,
        ):
            api = ApiClient(service_bus, "service.scheduler")
            found = Cluster(plane, api, Nodes(bus, api))

            async def answers() -> bool:
                try:
                    return bool(await api.get("/api/v1/namespaces/default"))
                except ApiError:
                    return False

            deadline = asyncio.get_running_loop().time() + LIMIT_S
            while not await answers():
                assert asyncio.get_running_loop().time() < deadline, plane.log("apiserver")[-4000:]
                await asyncio.sleep(0.1)
            for name in node_names:
                await found.nodes.add(name)
            tasks = [
                asyncio.create_task(found.nodes.renew(), name="leases"),
                asyncio.create_task(found.nodes.run(), name="nodes"),
            ]
            try:
                yield found
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        plane.close()
