"""Rows of services, the endpoints behind them, the ways in, and address ranges."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.objects.tables.cells import NONE, UNSET, Object, age, first_few, labels_text, name, selector_text


def service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    cluster_ips = spec.get("clusterIPs") or [spec.get("clusterIP") or NONE]
    ports = ",".join(_port(port) for port in spec.get("ports") or ())
    return [
        name(obj),
        spec.get("type", ""),
        cluster_ips[0],
        _external(obj),
        ports or NONE,
        age(obj, now),
        labels_text(spec.get("selector")),
    ]


def _port(port: Object) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', '')}"


def _external(obj: Object) -> str:
    spec = obj.get("spec") or {}
    kind = spec.get("type")
    addresses: list[str] = list(spec.get("externalIPs") or ())
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        balanced = sorted({str(one.get("ip") or one.get("hostname") or "") for one in ingress} - {""})
        return ",".join([*balanced, *addresses]) or "<pending>"
    return ",".join(addresses) or NONE


def endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [one["ip"] for one in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        found += [_join(address, port["port"]) for port in ports for address in addresses] if ports else addresses
    return [name(obj), first_few(found) if obj.get("subsets") else NONE, age(obj, now)]


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(port["port"]) if port.get("port") is not None else "*" for port in obj.get("ports") or ()]
    addresses = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return [
        name(obj),
        obj.get("addressType", ""),
        first_few(ports) if ports else UNSET,
        first_few(addresses) if addresses else UNSET,
        age(obj, now),
    ]


def ingress(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    hosts = [one["host"] for one in spec.get("rules") or () if one.get("host")]
    balanced = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = sorted({str(one.get("ip") or one.get("hostname") or "") for one in balanced} - {""})
    return [
        name(obj),
        spec.get("ingressClassName") or NONE,
        first_few(hosts) or "*",
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    given = spec.get("parameters")
    parameters = NONE
    if given:
        parameters = ".".join(filter(None, (given.get("kind"), given.get("apiGroup")))) + f"/{given.get('name', '')}"
    return [name(obj), spec.get("controller", ""), parameters, age(obj, now)]


def network_policy(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), selector_text((obj.get("spec") or {}).get("podSelector") or {}), age(obj, now)]


def ip_address(obj: Object, now: datetime) -> list[Any]:
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    resource = ".".join(filter(None, (parent.get("resource"), parent.get("group"))))
    return [name(obj), "/".join(filter(None, (resource, parent.get("namespace"), parent.get("name"))))]


def service_cidr(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), age(obj, now)]
