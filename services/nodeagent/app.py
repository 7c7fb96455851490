"""Wiring of the node agent: what is made, in which order, and who hears whom. No decisions are made here."""

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from services.nodeagent import cadvisor, inhibitor, machine, memory, metrics, stored
from services.nodeagent.checkpoint.arrivals import Arrivals, FilledVolumes
from services.nodeagent.checkpoint.streams import CheckpointStreams
from services.nodeagent.configuration import Configuration
from services.nodeagent.dns import DnsServer
from services.nodeagent.environment import NodeFacts
from services.nodeagent.events import Events
from services.nodeagent.eviction import signals
from services.nodeagent.eviction.evictor import Evictor
from services.nodeagent.handlers import SETTINGS, discover
from services.nodeagent.images.collection import Plan, Thresholds
from services.nodeagent.images.model import Registries
from services.nodeagent.images.store import ImageStore
from services.nodeagent.inhibitor import ShutdownInhibitor
from services.nodeagent.layout import NodeLayout
from services.nodeagent.link import Informer as InformerLike
from services.nodeagent.link import Query
from services.nodeagent.measured import MeasuredKeeper
from services.nodeagent.network.node import NodeNetwork
from services.nodeagent.node import CHECK_S, Health, NodeStatus, renew_lease
from services.nodeagent.pages import Pages
from services.nodeagent.pods import grants, hooks, namespaces
from services.nodeagent.pods.admission import Rejection, admit, secure
from services.nodeagent.pods.checkpoint import Checkpoints
from services.nodeagent.pods.facilities import Facilities
from services.nodeagent.pods.files import parse_resolver
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.pods.publisher import StatusPublisher
from services.nodeagent.pods.staticpods import StaticPods
from services.nodeagent.probes.prober import Prober
from services.nodeagent.projections import Collection, Projection, node_routes
from services.nodeagent.proxy.proxy import ServiceProxy
from services.nodeagent.references import References
from services.nodeagent.runtime.client import KeeperClient
from services.nodeagent.shutdown import ANNOTATION as SHUTDOWN
from services.nodeagent.shutdown import TROUBLE, NodeShutdown
from services.nodeagent.streams import Streams
from services.nodeagent.volumes.hook import VolumesHook
from services.nodeagent.volumes.provided import ProvidedVolumes
from shared.bus.api import ApiClient, Informer
from shared.bus.connection import Connection
from shared.bus.recorder import EventRecorder
from shared.bus.streams import StreamServer
from shared.errors import NetworkError
from shared.kernel import apparmor, placement
from shared.metrics import MetricsServer
from shared.service import Service
from shared.settings import Settings
from shared.state.leases import Leases

log = logging.getLogger(__name__)

KEEPER_WAIT_S = 60.0
ROUTES_SETTLE_S = 0.05
RETRY_S = 1.0
# Often enough for what a pull needed not to stay, seldom enough not to be noticed (a few milliseconds each time).
GIVE_BACK_S = 60.0
# kubelet looks every five minutes as well
COLLECT_S = 300.0


class PatientInformer(Informer):
    """An informer that begins with the first connection instead of failing until then."""

    def __init__(self, bus: Connection, api: ApiClient, path: str, query: Query) -> None:
        super().__init__(api, path, query)
        self._bus = bus

    async def run(self) -> None:
        await self._bus.wait_connected()
        await super().run()


class Agent:
    """One node's agent."""

    def __init__(self, settings: Settings, configuration: Configuration, keeper: KeeperClient) -> None:
        self.settings = settings
        self.configuration = configuration
        self.layout = NodeLayout(settings.data, settings.run, settings.cluster, configuration.node)
        self.keeper = keeper
        self.target = settings.bus()
        self.bus = Connection(self.target.user)
        self.api = ApiClient(self.bus, f"node.{configuration.node}")
        self.recorder = EventRecorder(self.api, "kubelet", configuration.node)
        self.events = Events(self.recorder, configuration.node)
        self.network = NodeNetwork(self.layout.network, cluster_cidr=configuration.pod_cidr)
        self.proxy = ServiceProxy(
            configuration.node,
            cluster_cidr=configuration.pod_cidr,
            service_cidr=configuration.service_cidr,
            local_addresses=(configuration.dns_address,),
            zone=configuration.labels.get("topology.kubernetes.io/zone", ""),
        )
        self.dns = DnsServer(
            configuration.dns_address,
            domain=configuration.domain,
            networks=(configuration.pod_cidr, configuration.service_cidr),
        )
        self.images = ImageStore(self.layout.images, Registries(cluster=configuration.registry))
        self.capacity = machine.capacity(self.layout.root, configuration.max_pods)
        self.handlers = discover(self.layout.root / SETTINGS, self.layout.volatile / "oci")
        self.status = NodeStatus(self.api, configuration, self.capacity, self.layout.volumes, self.handlers.status())
        self.manager = PodManager(self.network)
        self.evictor = Evictor(
            configuration.eviction,
            self.manager,
            keeper,
            self,
            self.events,
            partial(signals.observe, self.layout.root, self.layout.images),
            time.time,
        )
        self.evictor.on_change = self.status.poke
        self.shutdown = NodeShutdown(
            configuration.shutdown, self.manager, self.events, partial(self.status.annotate, SHUTDOWN)
        )
        self.shutdown.on_change = self.status.poke
        self.publisher = StatusPublisher(self.api)
        self.pods = self.informer("/api/v1/pods", {"fieldSelector": f"spec.nodeName={configuration.node}"})
        self.services = self.collection("services", "/api/v1/services")
        self.slices = self.collection("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices")
        self.nodes = self.collection("nodes", "/api/v1/nodes")
        self.references = References(self.informer, self.layout.volatile / "references", self.manager.objects_changed)
        self.network_ready = asyncio.Event()
        self.pod_cidr = asyncio.Event()

    def informer(self, path: str, query: Query = None) -> InformerLike:
        return PatientInformer(self.bus, self.api, path, query)

    def collection(self, name: str, path: str) -> Collection:
        return Collection(self.informer(path), self.layout.volatile / "known" / f"{name}.json")

    def facilities(self) -> Facilities:
        """Everything that pod workers work with."""
        configuration, layout = self.configuration, self.layout
        node = NodeFacts(configuration.node, (configuration.address,), machine.allocatable(self.capacity))
        checkpoints, arrivals = Checkpoints(layout.pods), Arrivals(layout.pod_checkpoints)
        volumes = VolumesHook(self.references, self.api, node, self.images)
        host = parse_resolver(_read("/etc/resolv.conf"))
        etc = hooks.EtcHook(
            configuration.node, configuration.domain, configuration.dns_address, host, _read("/etc/hosts")
        )
        return Facilities(
            node=node,
            layout=layout,
            runtime=self.keeper,
            images=self.images,
            api=self.api,
            events=self.events,
            references=self.references,
            checkpoints=checkpoints,
            arrivals=arrivals,
            publisher=self.publisher,
            prober=Prober(self.keeper),
            services=self.known_services,
            volume_hooks=(hooks.DirectoriesHook(checkpoints, configuration.node), volumes, FilledVolumes(arrivals)),
            sandbox_hooks=(
                hooks.SandboxHook(self.keeper, self.network, configuration.node, configuration.domain),
                hooks.NetworkHook(self.network, (configuration.address,)),
                etc,
            ),
            volumes=volumes,
            domain=configuration.domain,
            memory_bytes=machine.memory_bytes(),
            clock=time.time,
            admit=self.admit,
            choose_range=self.choose_range,
            handlers=self.handlers,
        )

    def known_services(self) -> Sequence[Mapping[str, Any]] | None:
        return list(self.services.items.values()) if self.services.known else None

    def admit(self, pod: Mapping[str, Any]) -> Rejection | None:
        others = [
            grants.granted_pod(worker.pod, worker.record)
            for uid, worker in self.manager.workers.items()
            if uid != pod["metadata"]["uid"] and worker.record.started_at and not worker.record.cleaned
        ]
        return (
            secure(pod, self.configuration.unsafe_sysctls, has_apparmor=apparmor.enabled())
            or self.shutdown.admit(pod)
            or self.evictor.admit(pod)
            or admit(pod, others, machine.allocatable(self.capacity))
        )

    def choose_range(self) -> int:
        taken = {worker.record.user_range for worker in self.manager.workers.values()}
        return namespaces.choose_range(taken, f"{self.settings.cluster}/{self.configuration.node}")

    async def run(self, service: Service) -> None:
        """Start everything; returns only when cancelled."""
        tools = self.facilities()
        if apparmor.enabled() and (problem := await asyncio.to_thread(apparmor.load_default)):
            log.warning("containers run without an AppArmor profile of the node: %s", problem)
        self.keeper.on_exit = self.manager.container_exited
        self.keeper.on_reconnect = self._keeper_returned
        start = service.start
        start(self.bus.open(self.target, f"nodeagent {self.configuration.node}"), name="bus")
        start(self._network(), name="network")
        start(self.manager.run(tools), name="pods")
        start(self.references.run(), name="references")
        start(self.publisher.run(), name="pod status")
        start(self.recorder.run(), name="events")
        start(self._node_status(), name="node status")
        start(self._online(tools), name="online")
        for name, collection in (("services", self.services), ("slices", self.slices), ("nodes", self.nodes)):
            start(collection.run(), name=name)
        proxy = Projection("service proxy", self._apply_services)
        self._apply_names()
        self.services.on_change(self._apply_names)
        self.slices.on_change(self._apply_names)
        routes = Projection("routes", self._apply_routes, ROUTES_SETTLE_S)
        self.services.on_change(proxy.trigger)
        self.slices.on_change(proxy.trigger)
        self.nodes.on_change(routes.trigger)
        self.nodes.on_change(self._nodes_changed)
        await self.network_ready.wait()
        start(proxy.run(), name="service proxy")
        start(routes.run(), name="routes")
        start(self._serve_names(), name="dns")
        await self.manager.wait_started()
        static_pods = StaticPods(
            self.configuration.static_pods or self.layout.manifests,
            self.configuration.node,
            self.manager,
            self.api,
            self.events,
            lambda: self.nodes.items.get(("", self.configuration.node)),
        )
        start(static_pods.run(), name="static pods")
        self.pods.on_change = self.manager.pod_changed
        start(self.pods.run(), name="pod informer")
        start(self._orphans(static_pods), name="orphans")
        start(self._collect_images(), name="image collection")
        start(self._collect_checkpoints(), name="checkpoint collection")
        start(self.evictor.run(), name="eviction")
        start(self.shutdown.run(), name="shutdown")
        if inhibitor.SOCKET.exists():
            needed = self.configuration.shutdown.limit
            lock = ShutdownInhibitor(
                f"unix:path={inhibitor.SOCKET}", self.shutdown.end_and_tell, self.shutdown.resume, needed
            )
            start(lock.run(), name="shutdown inhibitor")
        service.on_drain(self.shutdown.drain, self.configuration.shutdown.limit)
        provided = ProvidedVolumes(
            self.api,
            self.informer("/api/v1/persistentvolumes"),
            self.layout.volumes,
            self.events,
            self.manager.mounts,
        )
        start(provided.run(), name="provided volumes")
        service.ready = True
        while True:
            memory.give_back()
            await asyncio.sleep(GIVE_BACK_S)

    async def _online(self, tools: Facilities) -> None:
        """What needs a connection before it can begin at all."""
        await self.bus.wait_connected()
        streams = Streams(self.manager, self.keeper, self.configuration.node)
        async with asyncio.TaskGroup() as group:
            pages = Pages(self.configuration, self.layout, self.manager, self.keeper)
            handlers = streams.handlers() | CheckpointStreams(self.manager, tools).handlers() | pages.handlers()
            server = StreamServer(self.bus, self.configuration.node, handlers)
            group.create_task(server.run(), name="streams")
            group.create_task(renew_lease(Leases(self.bus), self.configuration), name="lease")

    async def _network(self) -> None:
        """Set the pod network up as soon as the node's pod CIDR is known, from the last run or from the API."""
        path = self.layout.root / "node.json"
        known = stored.read(path) or {}
        if not known.get("podCIDR"):
            await self.pod_cidr.wait()
            known = {"podCIDR": self._own_cidr()}
            stored.write(path, known, durable=True)
        while True:
            try:
                await self.network.setup(known["podCIDR"], self.configuration.address)
                await self.network.add_local_address(self.configuration.dns_address)
                break
            except NetworkError as exc:
                log.error("pod network is not set up yet: %s", exc)
                await asyncio.sleep(RETRY_S)
        self.network_ready.set()
        self.status.poke()

    async def _node_status(self) -> None:
        await self.bus.wait_connected()
        await self.status.register()
        while True:
            published = await self.status.publish(self._health(), self.images.list())
            await self.status.wait_poked(CHECK_S if published else 1.0)

    def _health(self) -> Health:
        trouble = ""
        if not self.keeper.connected:
            trouble = "container runtime is down: the keeper does not answer"
        elif not self.network_ready.is_set():
            trouble = "container runtime network not ready: the node has no pod CIDR yet"
        elif self.shutdown.active:
            trouble = TROUBLE
        return Health(trouble, self.evictor.pressures)

    async def _collect_images(self) -> None:
        """Remove unused images when the disk is too full, and say which and why."""
        while True:
            await asyncio.sleep(COLLECT_S)
            plan = await self.images.collect()
            self._tell_removed(plan)
            if plan.missing:
                text = f"{plan.missing} bytes more should be free, but every other image is in use, pinned or new"
                self.events.node("Warning", "FreeDiskSpaceFailed", text)

    async def free(self) -> int:
        """See eviction.evictor.Images."""
        plan = await self.images.collect(Thresholds(high=0.0, low=0.0, age=0.0))
        self._tell_removed(plan)
        return sum(removal.freed for removal in plan.removals)

    def _tell_removed(self, plan: Plan) -> None:
        for removal in plan.removals:
            names = ", ".join(removal.references) or removal.id
            self.events.node("Normal", "ImageRemoved", f"removed {names} ({removal.freed} bytes): {removal.reason}")
        if plan.removals:
            self.status.poke()

    async def _collect_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_S)
            await self.manager.forget_checkpoints()

    async def _orphans(self, static_pods: StaticPods) -> None:
        await self.pods.wait_synced()
        await self.manager.pods_synced({pod["metadata"]["uid"] for pod in self.pods.items.values()})
        await static_pods.run_mirrors()

    async def _apply_services(self) -> None:
        if self.services.synced and self.slices.synced:
            await self.proxy.apply(self.services.items, self.slices.items)

    def _apply_names(self) -> None:
        if self.services.known and self.slices.known:
            self.dns.apply(self.services.items, self.slices.items)

    async def _serve_names(self) -> None:
        while True:
            try:
                await self.dns.run()
            except* NetworkError as exc:
                log.error("DNS is tried again in %g s: %s", RETRY_S, "; ".join(map(str, exc.exceptions)))
            await asyncio.sleep(RETRY_S)

    async def _apply_routes(self) -> None:
        await self.network.set_routes(node_routes(self.nodes.items, self.configuration.node))

    def _nodes_changed(self) -> None:
        own = self.nodes.items.get(("", self.configuration.node))
        self.status.observe(own)
        self.shutdown.observe(own)
        if self._own_cidr():
            self.pod_cidr.set()

    def _own_cidr(self) -> str:
        node = self.nodes.items.get(("", self.configuration.node)) or {}
        return str((node.get("spec") or {}).get("podCIDR") or "")

    def _keeper_returned(self) -> None:
        self.manager.keeper_returned()
        self.status.poke()


async def main(service: Service) -> None:
    """Run the agent of the node that the environment names."""
    memory.limit_arenas()
    configuration = Configuration.from_environment()
    layout = NodeLayout(service.settings.data, service.settings.run, service.settings.cluster, configuration.node)
    for directory in (layout.images, layout.containers, layout.pods, layout.logs, layout.volatile):
        directory.mkdir(parents=True, exist_ok=True)
    for directory in (layout.containers, layout.pods, layout.logs):
        placement.spread(directory)
    async with await MeasuredKeeper.connect(layout.keeper_socket, timeout_s=KEEPER_WAIT_S) as keeper:
        agent = Agent(service.settings, configuration, keeper)
        metrics.register(agent.manager.counts, configuration.node)
        loop = asyncio.get_running_loop()

        async def scrape() -> bytes:
            samples = await cadvisor.collect(agent.manager, keeper)
            return cadvisor.render(samples, os.cpu_count() or 1, machine.memory_bytes())

        pages = {"/metrics/cadvisor": cadvisor.page(loop, scrape)}
        with MetricsServer(*configuration.metrics_address, ready=lambda: service.ready, pages=pages):
            try:
                await agent.run(service)
            finally:
                agent.images.close()
                await agent.bus.close()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
