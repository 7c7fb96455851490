"""The Endpoints object of a Service (core/v1), for clients that do not read slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from services.controllers.actions import Action, Create, Object, Update
from services.controllers.claims import ref_of
from services.controllers.endpoints import membership
from services.controllers.endpoints.membership import Member, Ports
from shared.objects import meta

ENDPOINTS = ("", "endpoints")
MANAGER_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
CAPACITY = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def decide(service: Object, members: Iterable[Member], existing: Object | None) -> list[Action]:
    """Create or update the Endpoints object if it does not say what the members amount to."""
    members = list(members)
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    shown = [member for member in members if publish or not member.terminating]
    family = (service["spec"].get("ipFamilies") or ["IPv4"])[0]
    wanted = subsets([member for member in shown if member.addresses(family)][:CAPACITY], family)
    labels = {**membership.labels_of(service), MANAGER_LABEL: MANAGER}
    annotations = dict(meta.annotations(existing)) if existing is not None else {}
    annotations.pop(OVER_CAPACITY, None)
    if len(shown) > CAPACITY:
        annotations[OVER_CAPACITY] = "truncated"
    if existing is None:
        metadata: Object = {
            "name": service["metadata"]["name"],
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
        }
        if annotations:
            metadata["annotations"] = annotations
        made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": wanted}
        return [Create(ref_of(*ENDPOINTS, made), made)]
    same = (existing.get("subsets") or [], meta.labels(existing), meta.annotations(existing))
    if same == (wanted, labels, annotations):
        return []
    metadata = {**existing["metadata"], "labels": labels, "annotations": annotations}
    return [Update(ref_of(*ENDPOINTS, existing), {**existing, "metadata": metadata, "subsets": wanted})]


def subsets(members: Sequence[Member], family: str) -> list[Object]:
    """Members grouped by ports, ready and not ready apart, in the order of their addresses."""
    groups: dict[Ports, tuple[list[Object], list[Object]]] = {}
    for member in members:
        ready, waiting = groups.setdefault(member.ports, ([], []))
        (ready if member.ready else waiting).append(_address(member, family))
    result = []
    for ports in sorted(groups, key=repr):
        ready, waiting = groups[ports]
        subset: Object = {}
        if ready:
            subset["addresses"] = sorted(ready, key=_order)
        if waiting:
            subset["notReadyAddresses"] = sorted(waiting, key=_order)
        if ports:
            subset["ports"] = [_port(*port) for port in sorted(ports, key=repr)]
        result.append(subset)
    return result


def _address(member: Member, family: str) -> Object:
    address: Object = {"ip": member.addresses(family)[0], "targetRef": member.target()}
    if member.hostname:
        address["hostname"] = member.hostname
    if member.pod["spec"].get("nodeName"):
        address["nodeName"] = member.pod["spec"]["nodeName"]
    return address


def _port(name: str, number: int, protocol: str, app_protocol: str | None) -> Object:
    port: Object = {"port": number, "protocol": protocol}
    if name:
        port["name"] = name
    if app_protocol is not None:
        port["appProtocol"] = app_protocol
    return port


def _order(address: Object) -> tuple[bytes, str]:
    return ip_address(address["ip"]).packed, address["targetRef"]["uid"]
