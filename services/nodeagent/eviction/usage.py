"""What pods use at present: memory and processes from their control groups, disk by walking what they have written."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from services.nodeagent.eviction.decide import Amounts, Candidate
from services.nodeagent.eviction.limits import DiskUse
from services.nodeagent.pods import admission, specs
from services.nodeagent.pods.setting import PodSetting
from services.nodeagent.pods.static import is_static
from services.nodeagent.runtime.model import ContainerStats
from shared.objects import quantities

# Kubernetes' system-critical priority classes begin here (scheduling.SystemCriticalPriority)
CRITICAL_PRIORITY = 2_000_000_000


class StatsSource(Protocol):
    """The part of the runtime that knows what containers use."""

    async def stats_all(self) -> dict[str, ContainerStats]: ...


def is_critical(pod: Mapping[str, Any]) -> bool:
    """Whether the node keeps a pod at any price: static pods, and those of the system's own priority."""
    return is_static(pod) or int(pod["spec"].get("priority") or 0) >= CRITICAL_PRIORITY


def candidate(setting: PodSetting, stats: Mapping[str, ContainerStats], disk: DiskUse) -> Candidate:
    """A pod with what its containers use and were promised."""
    pod, record = setting.pod, setting.record
    containers = {}
    for spec in (*specs.init_containers(pod), *specs.app_containers(pod)):
        name = spec["name"]
        used = stats.get(record.container(name).container_id) if record.container(name).running else None
        memory, pids = (used.working_set_bytes, used.pids) if used is not None else (0, 0)
        containers[name] = (Amounts(memory, disk.containers.get(name, 0), 0, pids), _requested(spec))
    whole = Amounts(
        sum(used.memory for used, _ in containers.values()),
        disk.total,
        disk.inodes,
        sum(used.processes for used, _ in containers.values()),
    )
    requested = Amounts(admission.request(pod, "memory") // 1000, admission.request(pod, "ephemeral-storage") // 1000)
    priority = int(pod["spec"].get("priority") or 0)
    return Candidate(record.uid, priority, whole, requested, is_critical(pod), containers)


def _requested(spec: Mapping[str, Any]) -> Amounts:
    requests = (spec.get("resources") or {}).get("requests") or {}
    return Amounts(
        quantities.value(str(requests.get("memory", "0"))),
        quantities.value(str(requests.get("ephemeral-storage", "0"))),
    )


def disk_use(setting: PodSetting) -> DiskUse:
    """Measure a pod's emptyDirs, writable layers and logs; what vanishes meanwhile does not count."""
    layout, record = setting.layout, setting.record
    volumes, in_memory, inodes = {}, set(), 0
    for volume in setting.pod["spec"].get("volumes") or ():
        source = volume.get("emptyDir")
        if source is None:
            continue
        size, count = tree_size(layout.volume("emptyDir", volume["name"]))
        volumes[volume["name"]] = size
        if source.get("medium") == "Memory":
            in_memory.add(volume["name"])
        else:
            inodes += count
    containers = {}
    for name, container in list(record.containers.items()):
        written, count = tree_size(layout.writable(container.container_id)) if container.container_id else (0, 0)
        logs, more = tree_size(layout.logs / name)
        containers[name] = written + logs
        inodes += count + more
    return DiskUse(volumes, containers, inodes, frozenset(in_memory))


def tree_size(root: Path) -> tuple[int, int]:
    """(bytes on disk, inodes) of a tree, hard links counted once, other file systems left out."""
    total = count = 0
    seen: set[int] = set()
    try:
        device = root.lstat().st_dev
    except OSError:
        return 0, 0
    stack = [str(root)]
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_dev != device or status.st_ino in seen:
                continue
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                seen.add(status.st_ino)
            total += status.st_blocks * 512
            count += 1
            if stat.S_ISDIR(status.st_mode):
                stack.append(entry.path)
    return total, count
