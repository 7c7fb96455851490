"""Services, Endpoints and EndpointSlices. Which addresses and node ports are free is for their allocator to say."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from shared.objects.validation import metadata, names
from shared.objects.validation.causes import Cause, duplicate, forbidden, invalid, one_of, required

Object = Mapping[str, Any]

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
MAX_AFFINITY_SECONDS = 86400
MAX_SLICE_ENDPOINTS = 1000


def service(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    kind = spec.get("type", "")
    ports = spec.get("ports") or ()
    headless = kind != "ExternalName" and _cluster_ip(spec) == "None"
    found: list[Cause] = []
    if not ports and not headless and kind != "ExternalName":
        found.append(required("spec.ports"))
    found += _by_type(spec, kind)
    found += _ports(ports, kind)
    found += metadata.labels("spec.selector", spec.get("selector"))
    found += one_of("spec.type", kind, TYPES)
    found += one_of("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    found += _affinity(spec)
    found += _cluster_ips(spec, kind)
    for index, one in enumerate(spec.get("externalIPs") or ()):
        found += [invalid(f"spec.externalIPs[{index}]", one, text) for text in names.address(one)]
    found += _traffic_policies(spec, kind)
    found += _families(spec, kind)
    distribution = spec.get("trafficDistribution")
    return found if distribution is None else found + one_of("spec.trafficDistribution", distribution, DISTRIBUTIONS)


def _families(spec: Object, kind: str) -> list[Cause]:
    if kind == "ExternalName":
        return [
            forbidden(f"spec.{one}", "may not be set when `type` is 'ExternalName'")
            for one in ("ipFamilies", "ipFamilyPolicy")
            if spec.get(one)
        ]
    families = spec.get("ipFamilies") or ()
    found: list[Cause] = []
    for index, one in enumerate(families):
        found += one_of(f"spec.ipFamilies[{index}]", one, FAMILIES)
        if one in families[:index]:
            found.append(duplicate(f"spec.ipFamilies[{index}]", one))
    policy = spec.get("ipFamilyPolicy")
    return found if policy is None else found + one_of("spec.ipFamilyPolicy", policy, FAMILY_POLICIES)


def _cluster_ip(spec: Object) -> str:
    return str(spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), ""))


def _by_type(spec: Object, kind: str) -> list[Cause]:
    if kind == "ExternalName":
        found = (
            [forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'")] if _cluster_ip(spec) else []
        )
        name = spec.get("externalName", "").rstrip(".")
        if not name:
            return [*found, required("spec.externalName")]
        return found + [invalid("spec.externalName", name, one) for one in names.subdomain(name)]
    if kind in ("NodePort", "LoadBalancer") and _cluster_ip(spec) == "None":
        return [invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")]
    if kind != "LoadBalancer":
        return [
            forbidden(f"spec.{one}", "may only be used when `type` is 'LoadBalancer'")
            for one in ("allocateLoadBalancerNodePorts", "loadBalancerClass")
            if spec.get(one) is not None
        ]
    return []


def _ports(ports: Any, kind: str) -> list[Cause]:
    found: list[Cause] = []
    seen_names: set[str] = set()
    seen_ports: set[tuple[str, int]] = set()
    seen_node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
        if not name:
            if len(ports) > 1:
                found.append(required(f"{at}.name"))
        else:
            found += [invalid(f"{at}.name", name, one) for one in names.label(name)]
            if name in seen_names:
                found.append(duplicate(f"{at}.name", name))
            seen_names.add(name)
        found += [invalid(f"{at}.port", number, one) for one in names.port_number(number)]
        found += one_of(f"{at}.protocol", protocol, PROTOCOLS) if protocol else [required(f"{at}.protocol")]
        target = port.get("targetPort", number)
        found += [invalid(f"{at}.targetPort", target, one) for one in names.port(target)]
        if (protocol, number) in seen_ports:
            found.append(duplicate(at, {"protocol": protocol, "port": number}))
        seen_ports.add((protocol, number))
        found += _node_port(at, port, kind, seen_node_ports)
    return found


def _node_port(at: str, port: Object, kind: str, seen: set[tuple[str, int]]) -> list[Cause]:
    number = port.get("nodePort", 0)
    if not number:
        return []
    if kind in ("ClusterIP", "ExternalName"):
        return [forbidden(f"{at}.nodePort", f"may not be used when `type` is '{kind}'")]
    key = (port.get("protocol", ""), number)
    if key in seen:
        return [duplicate(f"{at}.nodePort", number)]
    seen.add(key)
    return []


def _affinity(spec: Object) -> list[Cause]:
    config = spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") != "ClientIP":
        if config:
            return [forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")]
        return []
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
    at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    if seconds is None:
        return [required(at)]
    if not 0 < seconds <= MAX_AFFINITY_SECONDS:
        return [invalid(at, seconds, f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}")]
    return []


def _cluster_ips(spec: Object, kind: str) -> list[Cause]:
    if kind == "ExternalName":
        return []
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    found: list[Cause] = []
    if spec.get("clusterIP") and addresses and addresses[0] != spec["clusterIP"]:
        found.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    for index, one in enumerate(addresses):
        if one == "None" and index == 0:
            if len(addresses) > 1:
                found.append(invalid("spec.clusterIPs", addresses, "'None' must be the first and only value"))
            continue
        found += [invalid(f"spec.clusterIPs[{index}]", one, text) for text in names.address(one)]
    return found


def _traffic_policies(spec: Object, kind: str) -> list[Cause]:
    found: list[Cause] = []
    outside = spec.get("externalTrafficPolicy", "")
    reachable = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    if outside and not reachable:
        detail = "may only be set for externally-accessible services"
        found.append(invalid("spec.externalTrafficPolicy", outside, detail))
    elif reachable:
        found += one_of("spec.externalTrafficPolicy", outside, ("Cluster", "Local"))
    inside = spec.get("internalTrafficPolicy")
    if inside is not None:
        found += one_of("spec.internalTrafficPolicy", inside, ("Cluster", "Local"))
    if spec.get("healthCheckNodePort") and not _needs_health_port(spec):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], detail))
    return found


def update_service(obj: Object, old: Object) -> list[Cause]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return []
    found: list[Cause] = []
    was, now = before.get("clusterIPs") or [], spec.get("clusterIPs") or []
    if was and now and was[0] != now[0]:
        found.append(invalid("spec.clusterIPs[0]", now, "may not change once set"))
    probed, probes = before.get("healthCheckNodePort", 0), spec.get("healthCheckNodePort", 0)
    if probes != probed and _needs_health_port(before) and _needs_health_port(spec):
        found.append(invalid("spec.healthCheckNodePort", probes, "field is immutable"))
    return found


def _needs_health_port(spec: Object) -> bool:
    """Balancers that keep client addresses ask each node whether it has endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def endpoints(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        at = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            for place, address in enumerate(subset.get(key) or ()):
                found += _endpoint_address(f"{at}.{key}[{place}]", address.get("ip", ""))
        ports = subset.get("ports") or ()
        for place, port in enumerate(ports):
            found += _endpoint_port(f"{at}.ports[{place}]", port, len(ports) > 1)
    return found


def _endpoint_address(at: str, ip: str) -> list[Cause]:
    complaints = names.address(ip)
    if complaints:
        return [invalid(f"{at}.ip", ip, one) for one in complaints]
    return _endpoint_ip(f"{at}.ip", ip)


def _endpoint_ip(at: str, ip: str) -> list[Cause]:
    address = ipaddress.ip_address(ip)
    for wrong, what in (
        (address.is_unspecified, "unspecified"),
        (address.is_loopback, "in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "in the link-local range (169.254.0.0/16, fe80::/10)"),
        (address.is_multicast, "in the multicast range (224.0.0.0/24, ff02::/10)"),
    ):
        if wrong:
            return [invalid(at, ip, f"may not be {what}")]
    return []


def _endpoint_port(at: str, port: Object, needs_name: bool) -> list[Cause]:
    name = port.get("name", "")
    found: list[Cause] = []
    if not name and needs_name:
        found.append(required(f"{at}.name"))
    elif name:
        found += [invalid(f"{at}.name", name, one) for one in names.label(name)]
    found += [invalid(f"{at}.port", port.get("port", 0), one) for one in names.port_number(port.get("port", 0))]
    return found + one_of(f"{at}.protocol", port.get("protocol", ""), PROTOCOLS)


def endpoint_slice(obj: Object) -> list[Cause]:
    kind = obj.get("addressType", "")
    found = one_of("addressType", kind, ("IPv4", "IPv6", "FQDN")) if kind else [required("addressType")]
    members, ports = obj.get("endpoints") or (), obj.get("ports") or ()
    if len(members) > MAX_SLICE_ENDPOINTS:
        found.append(
            Cause(
                "FieldValueTooMany",
                f"Too many: {len(members)}: must have at most {MAX_SLICE_ENDPOINTS} items",
                "endpoints",
            )
        )
    for index, endpoint in enumerate(members):
        found += _slice_addresses(f"endpoints[{index}].addresses", endpoint.get("addresses") or (), kind)
    seen: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name") or ""
        if name:
            found += [invalid(f"ports[{index}].name", name, one) for one in names.label(name)]
        if name in seen:
            found.append(duplicate(f"ports[{index}].name", name))
        seen.add(name)
        found += one_of(f"ports[{index}].protocol", port.get("protocol", ""), PROTOCOLS)
    return found


def _slice_addresses(at: str, addresses: Any, kind: str) -> list[Cause]:
    if not addresses:
        return [required(at, "must contain at least 1 item")]
    found: list[Cause] = []
    for index, one in enumerate(addresses):
        field = f"{at}[{index}]"
        if kind == "FQDN":
            found += [invalid(field, one, text) for text in names.subdomain(one)]
            continue
        complaints = names.address(one)
        wanted = 4 if kind == "IPv4" else 6
        if complaints:
            found += [invalid(field, one, text) for text in complaints]
        elif ipaddress.ip_address(one).version != wanted:
            found.append(invalid(field, one, f"must be an {kind} address"))
        else:
            found += _endpoint_ip(field, one)
    return found
