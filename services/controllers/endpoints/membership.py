"""Which pods stand behind a Service, at which addresses and ports, and in what condition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from services.controllers.actions import Object
from services.controllers.view import NODES, PODS, View
from shared.objects import meta

SERVICES = ("", "services")
ZONE = "topology.kubernetes.io/zone"
HEADLESS_LABEL = "service.kubernetes.io/headless"

Ports = tuple[tuple[str, int, str, str | None], ...]
"""(name, port, protocol, appProtocol) of each port, in the Service's order."""


@dataclass(frozen=True, slots=True)
class Member:
    """A pod behind a Service. `serving` is its own readiness, `ready` what clients should go by."""

    pod: Object
    ports: Ports
    ready: bool
    serving: bool
    terminating: bool
    hostname: str
    zone: str

    def addresses(self, family: str) -> list[str]:
        """The pod's addresses of family IPv4 or IPv6."""
        status = self.pod.get("status", {})
        listed = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
        known = listed or ([status["podIP"]] if status.get("podIP") else [])
        return [address for address in known if family_of(address) == family]

    @property
    def changed_at(self) -> str:
        """When the pod's readiness last changed (RFC 3339), "" if it never had any."""
        return (meta.condition(self.pod, "Ready") or {}).get("lastTransitionTime") or ""

    def target(self) -> Object:
        """The targetRef."""
        metadata = self.pod["metadata"]
        return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def family_of(address: str) -> str:
    """IPv4 or IPv6."""
    return f"IPv{ip_address(address).version}"


def is_selecting(service: Object) -> bool:
    """Whether endpoints are ours to keep: the Service has a selector and is not an alias."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    """Whether the Service has no virtual address."""
    return bool(service["spec"].get("clusterIP") == "None")


def labels_of(service: Object) -> dict[str, str]:
    """The labels that endpoint objects take over from their Service."""
    labels = {key: value for key, value in meta.labels(service).items() if key != HEADLESS_LABEL}
    return {**labels, HEADLESS_LABEL: ""} if is_headless(service) else labels


def members(service: Object, candidates: Iterable[Object], zones: dict[str, str]) -> list[Member]:
    """The pods behind a Service, by name; finished ones and those without an address are left out."""
    selector = service["spec"]["selector"].items()
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    found = []
    for pod in candidates:
        if not selector <= meta.labels(pod).items() or meta.pod_finished(pod) or not has_address(pod):
            continue
        serving, terminating = meta.pod_ready(pod), meta.is_deleting(pod)
        found.append(
            Member(
                pod=pod,
                ports=ports_of(service, pod),
                ready=publish or (serving and not terminating),
                serving=serving,
                terminating=terminating,
                hostname=_hostname(service, pod),
                zone=zones.get(pod["spec"].get("nodeName", ""), ""),
            )
        )
    return found


def gather(service: Object, view: View) -> list[Member]:
    """The members of a Service in the view."""
    pods = view.every(*PODS, service["metadata"]["namespace"])
    return members(service, pods, zones(view))


def zones(view: View) -> dict[str, str]:
    """The zone of every node that has one."""
    found = ((node["metadata"]["name"], meta.labels(node).get(ZONE, "")) for node in view.every(*NODES))
    return {name: zone for name, zone in found if zone}


def has_address(pod: Object) -> bool:
    """Whether the pod has an address yet."""
    status = pod.get("status", {})
    return bool(status.get("podIP") or status.get("podIPs"))


def ports_of(service: Object, pod: Object) -> Ports:
    """The Service's ports as this pod offers them; named target ports that the pod lacks are left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = _target(port, pod)
        if number is not None:
            found.append((port.get("name", ""), number, port.get("protocol", "TCP"), port.get("appProtocol")))
    return tuple(found)


def concerned(obj: Object | None, previous: Object | None, services: Iterable[Object]) -> set[tuple[str, str]]:
    """The Services whose endpoints a changed pod may alter."""
    if obj is not None and previous is not None and _facts(obj) == _facts(previous):
        return set()
    versions = [version for version in (obj, previous) if version is not None]
    return {
        meta.key(service)
        for service in services
        if is_selecting(service)
        and any(service["spec"]["selector"].items() <= meta.labels(version).items() for version in versions)
    }


def _facts(pod: Object) -> tuple[object, ...]:
    status, spec = pod.get("status", {}), pod["spec"]
    return (
        meta.uid(pod),
        meta.labels(pod),
        meta.is_deleting(pod),
        meta.pod_ready(pod),
        meta.pod_finished(pod),
        status.get("podIP"),
        status.get("podIPs"),
        spec.get("nodeName"),
    )


def _target(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    if target.isdecimal():
        return int(target)
    protocol = port.get("protocol", "TCP")
    for container in (*pod["spec"]["containers"], *_sidecars(pod)):
        for offered in container.get("ports") or ():
            if offered.get("name") == target and offered.get("protocol", "TCP") == protocol:
                return int(offered["containerPort"])
    return None


def _sidecars(pod: Object) -> list[Object]:
    containers = pod["spec"].get("initContainers") or ()
    return [container for container in containers if container.get("restartPolicy") == "Always"]


def _hostname(service: Object, pod: Object) -> str:
    hostname, subdomain = pod["spec"].get("hostname", ""), pod["spec"].get("subdomain", "")
    return hostname if hostname and subdomain == service["metadata"]["name"] else ""
