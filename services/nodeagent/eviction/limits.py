"""Pods that use more of the disk than they were allowed to: limits of emptyDirs, containers and pods. Pure.

Source: Kubernetes "Local ephemeral storage"; the messages are kubelet's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.nodeagent.eviction.decide import amount
from services.nodeagent.pods import specs
from shared.objects import quantities

RESOURCE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes and inodes on disk: by emptyDir name (those in memory included), and by container (layer and logs)."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    containers: Mapping[str, int] = field(default_factory=dict)
    inodes: int = 0
    in_memory: frozenset[str] = frozenset()

    @property
    def total(self) -> int:
        volumes = sum(size for name, size in self.volumes.items() if name not in self.in_memory)
        return volumes + sum(self.containers.values())


def is_limited(pod: Mapping[str, Any]) -> bool:
    """Whether it is worth measuring the pod at all."""
    return bool(_volume_limits(pod)) or bool(_container_limits(pod))


def excess(pod: Mapping[str, Any], use: DiskUse) -> str:
    """Why the pod must go, "" if it may stay."""
    for name, limit in _volume_limits(pod).items():
        if use.volumes.get(name, 0) > quantities.value(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    limits = _container_limits(pod)
    if limits:
        whole = sum(quantities.value(limit) for limit in limits.values())
        every = {spec["name"] for spec in specs.app_containers(pod)} <= limits.keys()
        if every and use.total > whole:
            total = amount(RESOURCE, whole)
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    for name, limit in limits.items():
        if use.containers.get(name, 0) > quantities.value(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _volume_limits(pod: Mapping[str, Any]) -> dict[str, str]:
    return {
        volume["name"]: str(volume["emptyDir"]["sizeLimit"])
        for volume in pod["spec"].get("volumes") or ()
        if (volume.get("emptyDir") or {}).get("sizeLimit") not in (None, "0", 0)
    }


def _container_limits(pod: Mapping[str, Any]) -> dict[str, str]:
    containers = [*specs.app_containers(pod), *specs.init_containers(pod)]
    found = {spec["name"]: ((spec.get("resources") or {}).get("limits") or {}).get(RESOURCE) for spec in containers}
    return {name: str(limit) for name, limit in found.items() if limit is not None}
