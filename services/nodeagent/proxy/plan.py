"""What one service needs in the maps of the table: a pure function of the service and its endpoint slices."""

import logging
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from services.nodeagent.proxy import endpoints as choice
from services.nodeagent.proxy import table
from services.nodeagent.proxy.endpoints import Endpoint, Object, Place, Target
from shared.kernel.nftables import Verdict, drop, goto

log = logging.getLogger(__name__)

Data = bytes | Verdict | None
# elements by the name of their set, then by key
Elements = dict[str, dict[bytes, Data]]
# the targets that a frontend has in the kernel, by position
Placed = Callable[[str, bytes], list[Target]]

PROTOCOLS = {"TCP": socket.IPPROTO_TCP, "UDP": socket.IPPROTO_UDP, "SCTP": socket.IPPROTO_SCTP}
_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
_DEFAULT_AFFINITY_S = 10800


def node_port_key(protocol: str, port: int) -> bytes:
    """The key inet_proto . inet_service."""
    return bytes((PROTOCOLS[protocol], 0, 0, 0)) + port.to_bytes(2, "big") + b"\0\0"


def frontend_key(address: str, protocol: str, port: int) -> bytes:
    """The key ipv4_addr . inet_proto . inet_service."""
    return socket.inet_aton(address) + node_port_key(protocol, port)


def position_key(frontend: bytes, position: int) -> bytes:
    """The key of a frontend's endpoint number `position`, in the kernel's byte order as numgen makes it."""
    return frontend + position.to_bytes(4, sys.byteorder)


@dataclass(frozen=True, slots=True)
class _Port:
    """A service's port with everything needed to serve it."""

    elements: Elements
    placed: Placed
    timeout_s: int
    cluster: list[Target]
    local: list[Target]

    def put(self, name: str, key: bytes, data: Data = None) -> None:
        self.elements.setdefault(name, {})[key] = data

    def serve(self, frontends: str, key: bytes, targets: list[Target]) -> None:
        self.put(frontends, key, goto(table.pick_chain(frontends, len(targets), self.timeout_s)))
        for position, target in enumerate(choice.arrange(self.placed(frontends, key), targets)):
            self.put(table.endpoints_of(frontends), position_key(key, position), target)

    def refuse(self, name: str, key: bytes) -> None:
        """Endpoints elsewhere mean that others serve: silence, so that a load balancer's probe does not get an
        answer.
        """
        self.put(name, key, drop if self.cluster else table.REFUSE)

    def internal(self, key: bytes, *, only_local: bool) -> None:
        targets = self.local if only_local else self.cluster
        if targets:
            self.serve(table.SERVICES, key, targets)
        else:
            self.refuse(table.UNSERVED, key)

    def external(self, key: bytes, *, only_local: bool, node_port: bool) -> None:
        outer, inner, unserved, snat = (
            (table.NODE_PORTS, table.INNER_NODE_PORTS, table.UNSERVED_NODE_PORTS, table.SNAT_NODE_PORTS)
            if node_port
            else (table.SERVICES, table.INNER_SERVICES, table.UNSERVED, table.SNAT_SERVICES)
        )
        if not only_local:
            if self.cluster:
                self.serve(outer, key, self.cluster)
                self.put(snat, key)
            else:
                self.refuse(unserved, key)
            return
        if self.cluster:
            self.serve(inner, key, self.cluster)
        if self.local:
            self.serve(outer, key, self.local)
        else:
            self.refuse(unserved, key)


def is_proxied(service: Object) -> bool:
    """Whether a service has an address that this proxy serves: not headless, no ExternalName, no other proxy's."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName" or _PROXY_NAME in (service["metadata"].get("labels") or {}):
        return False
    return bool(_ipv4([spec.get("clusterIP") or ""]))


def plan(
    service: Object, slices: Iterable[Object], place: Place, placed: Placed, skip: frozenset[str] = frozenset()
) -> Elements:
    """The elements that serve a service on this node; cluster IPs in `skip` are left alone."""
    elements: Elements = {}
    if not is_proxied(service):
        return elements
    spec: dict[str, Any] = service["spec"]
    slices = list(slices)
    cluster_ips = [ip for ip in _ipv4(spec.get("clusterIPs") or [spec["clusterIP"]]) if ip not in skip]
    external_ips = _ipv4([*(spec.get("externalIPs") or ()), *_balancers(service)])
    only_local_internal = spec.get("internalTrafficPolicy") == "Local"
    only_local_external = spec.get("externalTrafficPolicy") == "Local"
    for port in spec.get("ports") or ():
        protocol = port.get("protocol", "TCP")
        if protocol not in PROTOCOLS:
            log.warning("service port %s has unknown protocol %r", port.get("name") or port["port"], protocol)
            continue
        found = choice.of_port(slices, port.get("name") or "", protocol, place)
        one = _Port(elements, placed, _affinity(spec), choice.everywhere(found, place), choice.here(found))
        for address in cluster_ips:
            one.internal(frontend_key(address, protocol, port["port"]), only_local=only_local_internal)
        for address in external_ips:
            key = frontend_key(address, protocol, port["port"])
            one.external(key, only_local=only_local_external, node_port=False)
        if port.get("nodePort"):
            key = node_port_key(protocol, port["nodePort"])
            one.external(key, only_local=only_local_external, node_port=True)
        for packed in _local_addresses(found):
            one.put(table.HAIRPINS, packed + packed)
    return elements


def _local_addresses(found: list[Endpoint]) -> set[bytes]:
    return {endpoint.target[:4] for endpoint in found if endpoint.local}


def _affinity(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    configuration = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(configuration.get("timeoutSeconds") or _DEFAULT_AFFINITY_S)


def _balancers(service: Object) -> list[str]:
    ingresses = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [item["ip"] for item in ingresses if item.get("ip") and item.get("ipMode", "VIP") == "VIP"]


def _ipv4(addresses: Iterable[str]) -> list[str]:
    found = []
    for address in addresses:
        try:
            socket.inet_pton(socket.AF_INET, address)
        except OSError:
            continue
        found.append(address)
    return found
