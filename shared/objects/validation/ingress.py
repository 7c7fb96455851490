"""Ingresses and their classes, network policies, and the ranges service addresses come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from shared.objects.validation import names, placement
from shared.objects.validation.causes import Cause, forbidden, invalid, one_of, required, unsupported

Object = Mapping[str, Any]

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
PROTOCOLS = ("SCTP", "TCP", "UDP")
CIDR_MESSAGE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def ingress(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    rules, default = spec.get("rules") or (), spec.get("defaultBackend")
    found: list[Cause] = []
    if not rules and default is None:
        found.append(invalid("spec", dict(spec), "either `defaultBackend` or `rules` must be specified"))
    if default is not None:
        found += _backend("spec.defaultBackend", default)
    for index, rule in enumerate(rules):
        at = f"spec.rules[{index}]"
        found += _host(f"{at}.host", rule.get("host", ""))
        if rule.get("http") is not None:
            found += _paths(f"{at}.http.paths", rule["http"].get("paths") or ())
    for index, tls in enumerate(spec.get("tls") or ()):
        for place, host in enumerate(tls.get("hosts") or ()):
            found += _host(f"spec.tls[{index}].hosts[{place}]", host)
        secret = tls.get("secretName")
        if secret:
            found += [invalid(f"spec.tls[{index}].secretName", secret, one) for one in names.subdomain(secret)]
    name = spec.get("ingressClassName")
    if name is not None:
        found += [invalid("spec.ingressClassName", name, one) for one in names.subdomain(name)]
    return found


def _host(at: str, host: str) -> list[Cause]:
    if not host:
        return []
    if not names.address(host):
        return [invalid(at, host, "must be a DNS name, not an IP address")]
    if "*" in host:
        return [invalid(at, host, one) for one in names.wildcard_subdomain(host)]
    return [invalid(at, host, one) for one in names.subdomain(host)]


def _paths(at: str, paths: Any) -> list[Cause]:
    found: list[Cause] = [] if paths else [required(at)]
    for index, one in enumerate(paths):
        field = f"{at}[{index}]"
        path, kind = one.get("path", ""), one.get("pathType")
        if kind is None:
            found.append(required(f"{field}.pathType", "pathType must be specified"))
        elif kind not in PATH_TYPES:
            found.append(unsupported(f"{field}.pathType", kind, PATH_TYPES))
        elif not path.startswith("/") and (path or kind != "ImplementationSpecific"):
            found.append(invalid(f"{field}.path", path, "must be an absolute path"))
        elif kind != "ImplementationSpecific":
            for sequence in ("//", "/./", "/../", "%2f", "%2F"):
                if sequence in path:
                    found.append(invalid(f"{field}.path", path, f"must not contain '{sequence}'"))
            for suffix in ("/..", "/."):
                if path.endswith(suffix):
                    found.append(invalid(f"{field}.path", path, f"cannot end with '{suffix}'"))
        found += _backend(f"{field}.backend", one.get("backend") or {})
    return found


def _backend(at: str, backend: Object) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(at, "", "cannot set both resource and service backends")]
    if resource is not None:
        return [required(f"{at}.resource.{key}") for key in ("kind", "name") if not resource.get(key)]
    if service is None:
        return [required(at, "cannot be empty")]
    name, port = service.get("name", ""), service.get("port") or {}
    found: list[Cause] = []
    if not name:
        found.append(required(f"{at}.service.name"))
    else:
        found += [invalid(f"{at}.service.name", name, one) for one in names.label(name)]
    by_name, number = port.get("name"), port.get("number")
    if by_name and number:
        found.append(invalid(f"{at}.service.port", dict(port), "cannot set both port name & port number"))
    elif by_name:
        found += [invalid(f"{at}.service.port.name", by_name, one) for one in names.port_name(by_name)]
    elif number:
        found += [invalid(f"{at}.service.port.number", number, one) for one in names.port_number(number)]
    else:
        found.append(required(f"{at}.service.port", "port name or number is required"))
    return found


def ingress_class(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    controller = spec.get("controller", "")
    found: list[Cause] = []
    if not controller:
        found.append(required("spec.controller"))
    elif "/" not in controller:
        detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
        found.append(invalid("spec.controller", controller, detail))
    else:
        found += [invalid("spec.controller", controller, one) for one in names.subdomain(controller.partition("/")[0])]
    given = spec.get("parameters")
    if given is None:
        return found
    at = "spec.parameters"
    found += [required(f"{at}.{key}") for key in ("kind", "name") if not given.get(key)]
    scope, namespace = given.get("scope"), given.get("namespace")
    if scope is None:
        found.append(required(f"{at}.scope"))
    else:
        found += one_of(f"{at}.scope", scope, ("Cluster", "Namespace"))
    if scope == "Namespace" and not namespace:
        found.append(required(f"{at}.namespace", "parameters.scope is set to 'Namespace'"))
    if scope == "Cluster" and namespace:
        found.append(forbidden(f"{at}.namespace", "parameters.scope is set to 'Cluster'"))
    return found


def update_ingress_class(obj: Object, old: Object) -> list[Cause]:
    controller = (obj.get("spec") or {}).get("controller")
    if controller != (old.get("spec") or {}).get("controller"):
        return [invalid("spec.controller", controller, "field is immutable")]
    return []


def network_policy(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = placement.label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{index}]"
            for place, port in enumerate(rule.get("ports") or ()):
                found += _policy_port(f"{at}.ports[{place}]", port)
            for place, peer in enumerate(rule.get(peers) or ()):
                found += _peer(f"{at}.{peers}[{place}]", peer)
    types = spec.get("policyTypes") or ()
    if len(types) > 2:
        found.append(invalid("spec.policyTypes", list(types), "may not specify more than two policyTypes"))
        return found
    for index, kind in enumerate(types):
        found += one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    return found


def _policy_port(at: str, port: Object) -> list[Cause]:
    number, end = port.get("port"), port.get("endPort")
    found = one_of(f"{at}.protocol", port["protocol"], PROTOCOLS) if port.get("protocol") is not None else []
    if number is None:
        return [*found, required(f"{at}.port", "must be specified when endPort is set")] if end is not None else found
    found += [invalid(f"{at}.port", number, one) for one in names.port(number)]
    if end is None:
        return found
    if isinstance(number, str):
        return [*found, invalid(f"{at}.endPort", end, "may not be specified when `port` is non-numeric")]
    if end < number:
        found.append(invalid(f"{at}.endPort", end, "must be greater than or equal to `port`"))
    return found + [invalid(f"{at}.endPort", end, one) for one in names.port_number(end)]


def _peer(at: str, peer: Object) -> list[Cause]:
    found = placement.label_selector(f"{at}.podSelector", peer.get("podSelector"))
    found += placement.label_selector(f"{at}.namespaceSelector", peer.get("namespaceSelector"))
    block = peer.get("ipBlock")
    if block is not None:
        found += _block(f"{at}.ipBlock", block)
        if "podSelector" in peer or "namespaceSelector" in peer:
            found.append(forbidden(at, "may not specify both ipBlock and another peer"))
    elif not peer:
        found.append(required(at, "must specify a peer"))
    return found


def _block(at: str, block: Object) -> list[Cause]:
    cidr = block.get("cidr", "")
    if not cidr:
        return [required(f"{at}.cidr")]
    whole = _network(cidr)
    if whole is None:
        return [invalid(f"{at}.cidr", cidr, CIDR_MESSAGE)]
    found: list[Cause] = []
    for index, text in enumerate(block.get("except") or ()):
        part = _network(text)
        field = f"{at}.except[{index}]"
        if part is None:
            found.append(invalid(field, text, CIDR_MESSAGE))
        elif part.version != whole.version or part == whole or not _within(part, whole):
            found.append(invalid(field, text, f"must be a strict subset of `cidr`: {cidr}"))
    return found


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _within(part: _Network, whole: _Network) -> bool:
    return part.prefixlen >= whole.prefixlen and part.network_address in whole


def ip_address(obj: Object) -> list[Cause]:
    name = (obj.get("metadata") or {}).get("name", "")
    parent = (obj.get("spec") or {}).get("parentRef")
    found = [invalid("metadata.name", name, one) for one in names.address(name)]
    if not found and str(ipaddress.ip_address(name)) != name:
        detail = f'must be in canonical form ("{ipaddress.ip_address(name)}")'
        found.append(invalid("metadata.name", name, detail))
    if parent is None:
        return [*found, required("spec.parentRef")]
    return found + [required(f"spec.parentRef.{key}") for key in ("resource", "name") if not parent.get(key)]


def service_cidr(obj: Object) -> list[Cause]:
    cidrs = (obj.get("spec") or {}).get("cidrs") or ()
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid("spec.cidrs", list(cidrs), "may only hold up to 2 values")]
    found = [
        invalid(f"spec.cidrs[{index}]", one, CIDR_MESSAGE) for index, one in enumerate(cidrs) if _network(one) is None
    ]
    versions = {network.version for one in cidrs if (network := _network(one)) is not None}
    if len(cidrs) == 2 and not found and len(versions) == 1:
        detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        found.append(invalid("spec.cidrs", list(cidrs), detail))
    return found
