"""Which endpoints of a service may get traffic: pure functions from EndpointSlices to addresses.

Follows KEP-1669 (terminating endpoints serve when nothing else does), KEP-2433 and KEP-3015 (hints of zones and nodes),
KEP-2086 and KEP-1864 (traffic policies Local).
"""

import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
# address and port as an nf_tables map holds them: ipv4_addr . inet_service
Target = bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a slice with one of its ports. `zones` and `nodes` are its hints, None when it has none."""

    target: Target
    local: bool
    ready: bool
    serving: bool
    terminating: bool
    zones: frozenset[str] | None = None
    nodes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where this proxy runs."""

    node: str
    zone: str = ""


def target(address: str, port: int) -> Target:
    """The bytes of an address and a port, each field padded to four bytes."""
    return socket.inet_aton(address) + port.to_bytes(2, "big") + b"\0\0"


def of_port(slices: Iterable[Object], name: str, protocol: str, place: Place) -> list[Endpoint]:
    """The IPv4 endpoints of a service's port, those that are neither ready nor serving included."""
    found: dict[Target, Endpoint] = {}
    for item in slices:
        if item.get("addressType", "IPv4") != "IPv4":
            continue
        numbers = [
            port["port"]
            for port in item.get("ports") or ()
            if (port.get("name") or "") == name and port.get("protocol", "TCP") == protocol and port.get("port")
        ]
        for endpoint in item.get("endpoints") or ():
            for number in numbers:
                one = _endpoint(endpoint, number, place)
                # during a migration a pod may be in two slices; the more usable one counts
                if one is not None and (one.target not in found or one.ready):
                    found[one.target] = one
    return list(found.values())


def _endpoint(endpoint: Object, port: int, place: Place) -> Endpoint | None:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        return None
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    hints = endpoint.get("hints") or {}
    return Endpoint(
        target=target(addresses[0], port),
        local=endpoint.get("nodeName") == place.node,
        ready=ready,
        serving=ready if serving is None else bool(serving),
        terminating=bool(conditions.get("terminating")),
        zones=_names(hints.get("forZones")),
        nodes=_names(hints.get("forNodes")),
    )


def _names(hints: Iterable[Object] | None) -> frozenset[str] | None:
    return frozenset(hint["name"] for hint in hints) if hints else None


def usable(endpoints: Collection[Endpoint]) -> list[Endpoint]:
    """The ready ones; if there are none, those that still serve while they terminate."""
    ready = [endpoint for endpoint in endpoints if endpoint.ready]
    return ready or [endpoint for endpoint in endpoints if endpoint.serving and endpoint.terminating]


def everywhere(endpoints: Collection[Endpoint], place: Place) -> list[Target]:
    """The targets for traffic policy Cluster: those hinted for this node or zone if every usable one has hints."""
    candidates = usable(endpoints)
    if candidates and all(endpoint.ready for endpoint in candidates):
        candidates = _near(candidates, place) or candidates
    return sorted(endpoint.target for endpoint in candidates)


def here(endpoints: Collection[Endpoint]) -> list[Target]:
    """The targets for traffic policy Local: those on this node."""
    return sorted(endpoint.target for endpoint in usable([one for one in endpoints if one.local]))


def _near(candidates: list[Endpoint], place: Place) -> list[Endpoint]:
    if all(one.nodes for one in candidates):
        nearest = [one for one in candidates if one.nodes and place.node in one.nodes]
        if nearest:
            return nearest
    if place.zone and all(one.zones for one in candidates):
        return [one for one in candidates if one.zones and place.zone in one.zones]
    return []


def arrange(placed: list[Target], wanted: list[Target]) -> list[Target]:
    """The wanted targets in an order that changes as few positions of `placed` as possible."""
    missing = set(wanted)
    kept: list[Target | None] = []
    for item in placed:
        kept.append(item if item in missing else None)
        missing.discard(item)
    new = [item for item in wanted if item in missing]
    size = len(wanted)
    overhang = [item for item in kept[size:] if item is not None]
    fill = iter(overhang + new)
    head = kept[:size] + [None] * (size - len(kept))
    return [next(fill) if item is None else item for item in head]
