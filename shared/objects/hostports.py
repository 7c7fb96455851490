"""Ports of its node that a pod takes: the scheduler seeks a node where they are free, and its agent looks again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

HostPort = tuple[str, str, int]
"""Protocol, address of the node, and port."""
ANY = "0.0.0.0"


def host_ports(spec: Mapping[str, Any]) -> frozenset[HostPort]:
    """Every port that a pod of this specification takes on its node for as long as it is there."""
    sidecars = (one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always")
    return frozenset(
        (port.get("protocol") or "TCP", port.get("hostIP") or ANY, int(port["hostPort"]))
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def clash(one: Iterable[HostPort], other: Iterable[HostPort]) -> bool:
    """Whether a port of one is among the other's."""
    others = tuple(other)
    return any(a[0] == b[0] and a[2] == b[2] and (a[1] == b[1] or ANY in (a[1], b[1])) for a in one for b in others)
