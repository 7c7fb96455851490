"""The concerns of a pod besides its volumes: directories, sandbox, network, and the files in /etc."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from services.nodeagent import stored, trees
from services.nodeagent.layout import sandbox_id
from services.nodeagent.network.leases import HostPort
from services.nodeagent.network.links import Bandwidth
from services.nodeagent.network.node import PodAddress
from services.nodeagent.pods import files, specs
from services.nodeagent.pods.checkpoint import Checkpoints
from services.nodeagent.pods.containers import sandbox_spec
from services.nodeagent.pods.files import Resolver
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.runtime.model import SandboxSpec, SandboxState
from shared.objects import quantities

log = logging.getLogger(__name__)


class Sandboxes(Protocol):
    """The part of the runtime that makes sandboxes."""

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxState: ...
    async def remove_sandbox(self, sandbox_id: str) -> None: ...


class Network(Protocol):
    """The part of the pod network that pods need."""

    async def attach(
        self,
        sandbox_id: str,
        netns_path: str,
        *,
        ip: str | None = None,
        bandwidth: Bandwidth | None = None,
        host_ports: Sequence[HostPort] = (),
    ) -> PodAddress: ...

    async def detach(self, sandbox_id: str) -> None: ...


class DirectoriesHook:
    """The pod's directories, and its manifest on disk: from here on the pod survives a restart of the agent."""

    def __init__(self, checkpoints: Checkpoints, node: str) -> None:
        self._checkpoints = checkpoints
        self._node = node

    async def prepare(self, setting: PodSetting) -> None:
        setting.layout.etc.mkdir(parents=True, exist_ok=True)
        setting.layout.logs.mkdir(parents=True, exist_ok=True)
        write_pod_document(setting, self._node)
        await asyncio.to_thread(self._checkpoints.save_pod, setting.pod, durable=True)

    async def cleanup(self, setting: PodSetting) -> None:
        layout = setting.layout
        paths = [layout.root / "volumes", layout.etc, layout.root / "containers", layout.volatile]
        paths += [layout.writable(c.container_id) for c in setting.record.containers.values() if c.container_id]
        await trees.remove_all(*paths)


def write_pod_document(setting: PodSetting, node: str) -> None:
    """Tell the log collector whose logs these are."""
    metadata = setting.pod["metadata"]
    containers = {
        name: {
            "image": container.image,
            "imageID": container.image_id,
            "containerID": f"wherry://{container.container_id}" if container.container_id else "",
        }
        for name, container in setting.record.containers.items()
    }
    document = {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "labels": metadata.get("labels") or {},
        "annotations": metadata.get("annotations") or {},
        "node": node,
        "containers": containers,
    }
    stored.write(setting.layout.logs / "pod.json", document, mode=0o644)


class SandboxHook:
    """The namespaces that the pod's containers share."""

    def __init__(self, runtime: Sandboxes, network: Network, node: str, domain: str) -> None:
        self._runtime = runtime
        self._network = network
        self._node = node
        self._domain = domain

    async def prepare(self, setting: PodSetting) -> None:
        record, pod = setting.record, setting.pod
        if record.sandbox_attempt > 0:
            await self._remove(setting, record.sandbox_attempt - 1)
        hostname = files.hostname(pod, self._node, self._domain)
        state = await self._runtime.create_sandbox(sandbox_spec(pod, record, setting.layout, hostname))
        setting.netns_path = state.netns_path

    async def cleanup(self, setting: PodSetting) -> None:
        for attempt in range(max(setting.record.sandbox_attempt - 1, 0), setting.record.sandbox_attempt + 1):
            await self._remove(setting, attempt)
        setting.record.sandbox_ready = setting.record.sandbox_exists = False
        setting.record.user_range = 0

    async def _remove(self, setting: PodSetting, attempt: int) -> None:
        identity = sandbox_id(setting.record.uid, attempt)
        await self._network.detach(identity)
        await self._runtime.remove_sandbox(identity)


class NetworkHook:
    """The pod's interface and addresses."""

    def __init__(self, network: Network, node_addresses: tuple[str, ...]) -> None:
        self._network = network
        self._node_addresses = node_addresses

    async def prepare(self, setting: PodSetting) -> None:
        record, pod = setting.record, setting.pod
        if specs.is_host_network(pod):
            record.addresses = self._node_addresses
            return
        address = await self._network.attach(
            sandbox_id(record.uid, record.sandbox_attempt),
            setting.netns_path,
            bandwidth=bandwidth(pod),
            host_ports=host_ports(pod),
        )
        record.addresses = (address.ip,)

    async def cleanup(self, setting: PodSetting) -> None:
        if setting.record.sandbox_attempt >= 0:
            await self._network.detach(sandbox_id(setting.record.uid, setting.record.sandbox_attempt))


class EtcHook:
    """/etc/hosts, /etc/hostname and /etc/resolv.conf; their directory goes with the pod's."""

    def __init__(self, node: str, domain: str, dns_address: str, host_resolver: Resolver, node_hosts: str) -> None:
        self._node = node
        self._domain = domain
        self._dns_address = dns_address
        self._host_resolver = host_resolver
        self._node_hosts = node_hosts

    async def prepare(self, setting: PodSetting) -> None:
        pod, etc = setting.pod, setting.layout.etc
        name = files.hostname(pod, self._node, self._domain)
        resolver = files.resolver(pod, self._host_resolver, self._dns_address, self._domain)
        hosts = files.hosts(pod, setting.record.addresses, self._domain, self._node_hosts, self._node)
        for file, text in (("hostname", f"{name}\n"), ("resolv.conf", resolver.text()), ("hosts", hosts)):
            # written in place: running containers have these very files mounted
            (etc / file).write_text(text)
            (etc / file).chmod(0o644)

    async def cleanup(self, setting: PodSetting) -> None:
        await trees.remove_all(setting.layout.etc)


def bandwidth(pod: Mapping[str, Any]) -> Bandwidth | None:
    """The limits that the kubernetes.io/{ingress,egress}-bandwidth annotations ask for, in bits per second."""
    notes = pod["metadata"].get("annotations") or {}
    limits = {}
    for direction in ("ingress", "egress"):
        text = notes.get(f"kubernetes.io/{direction}-bandwidth")
        if text:
            try:
                limits[direction] = quantities.value(text)
            except ValueError:
                log.warning("annotation kubernetes.io/%s-bandwidth %r is no quantity", direction, text)
    return Bandwidth(**limits) if limits else None


def host_ports(pod: Mapping[str, Any]) -> list[HostPort]:
    containers = [*specs.app_containers(pod), *(s for s in specs.init_containers(pod) if specs.is_sidecar(s))]
    return [
        HostPort(port.get("protocol") or "TCP", port["hostPort"], port["containerPort"], port.get("hostIP") or "")
        for spec in containers
        for port in spec.get("ports") or ()
        if port.get("hostPort")
    ]
