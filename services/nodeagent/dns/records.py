"""The records of one service or pod, as the Kubernetes DNS specification 1.1.0 demands: a pure function."""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from services.nodeagent.dns import wire

Object = Mapping[str, Any]

_SRV_WEIGHT = 100


class Data(NamedTuple):
    """The data of one record; its owner and its lifetime are known to the zone."""

    kind: int
    rdata: bytes


# records by the wire form of their name
Records = dict[bytes, set[Data]]


def of_service(service: Object, slices: Iterable[Object], zone: bytes) -> Records:
    """The records of a service with its endpoint slices; `zone` is the wire form of the cluster domain.

    Raises what reading a malformed object raises, ValueError for a name that DNS cannot hold.
    """
    metadata, spec = service["metadata"], service.get("spec") or {}
    records: Records = {}
    base = wire.encode_name(f"{metadata['name']}.{metadata['namespace']}.svc")[:-1] + zone
    if spec.get("type") == "ExternalName":
        if spec.get("externalName"):
            _add(records, base, wire.CNAME, wire.encode_name(spec["externalName"]))
        return records
    addresses = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if _is_ipv4(ip)]
    if addresses:
        for address in addresses:
            _add(records, base, wire.A, socket.inet_aton(address))
            _add(records, reverse_name(address), wire.PTR, base)
        for port in spec.get("ports") or ():
            _add_port(records, base, port.get("name"), port.get("protocol", "TCP"), port["port"], base)
    _add_endpoints(records, base, slices, headless=not addresses)
    return records


def of_pod(pod: Object, zone: bytes) -> Records:
    """The record a-b-c-d.<namespace>.pod of a pod that has an address."""
    records: Records = {}
    address = (pod.get("status") or {}).get("podIP") or ""
    if _is_ipv4(address):
        name = f"{address.replace('.', '-')}.{pod['metadata']['namespace']}.pod"
        _add(records, wire.encode_name(name)[:-1] + zone, wire.A, socket.inet_aton(address))
    return records


def reverse_name(address: str) -> bytes:
    """The wire form of the name under in-addr.arpa."""
    return wire.encode_name(ipaddress.IPv4Address(address).reverse_pointer)


def _add_endpoints(records: Records, base: bytes, slices: Iterable[Object], *, headless: bool) -> None:
    for item in slices:
        if item.get("addressType", "IPv4") != "IPv4":
            continue
        for endpoint in item.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            hostname = endpoint.get("hostname")
            for address in endpoint.get("addresses") or ():
                if not _is_ipv4(address) or not (headless or hostname):
                    continue
                target = _endpoint_name(hostname or address.replace(".", "-"), base)
                _add(records, target, wire.A, socket.inet_aton(address))
                if not headless:
                    continue
                _add(records, base, wire.A, socket.inet_aton(address))
                _add(records, reverse_name(address), wire.PTR, target)
                for port in item.get("ports") or ():
                    if port.get("port"):
                        _add_port(records, base, port.get("name"), port.get("protocol", "TCP"), port["port"], target)


def _endpoint_name(label: str, base: bytes) -> bytes:
    return wire.encode_name(label)[:-1] + base


def _add_port(records: Records, base: bytes, name: str | None, protocol: str, port: int, target: bytes) -> None:
    rdata = wire.srv(0, _SRV_WEIGHT, port, target)
    _add(records, base, wire.SRV, rdata)
    if name:
        owner = wire.encode_name(f"_{name}._{protocol.lower()}")[:-1] + base
        _add(records, owner, wire.SRV, rdata)


def _add(records: Records, name: bytes, kind: int, rdata: bytes) -> None:
    records.setdefault(name, set()).add(Data(kind, rdata))


def _is_ipv4(address: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError:
        return False
    return True
