"""/stats/summary: what the node and its pods use, in the words of kubelet's Summary API.

Source: k8s.io/kubelet/pkg/apis/stats/v1alpha1. Rates are those since somebody last asked.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from services.nodeagent.eviction import signals, usage
from services.nodeagent.eviction.limits import DiskUse
from services.nodeagent.layout import NodeLayout, sandbox_id
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.pods.worker import PodWorker
from services.nodeagent.runtime.model import ContainerStats, InterfaceStats
from shared.errors import RuntimeFailure
from shared.objects import times

Object = dict[str, Any]

NS = 1_000_000_000
# two looks that are closer than this tell nothing about a rate
LEAST_INTERVAL_S = 0.2


class StatsSource(Protocol):
    """The part of the runtime that knows what containers use."""

    async def stats_all(self) -> dict[str, ContainerStats]: ...
    async def sandbox_stats(self, sandbox_id: str) -> tuple[ContainerStats, list[InterfaceStats]]: ...


class Rates:
    """Nanoseconds of processor time per second, from the counter at the last look."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int, int | None]] = {}

    def nanocores(self, key: str, at: float, cpu_ns: int) -> int | None:
        """None at the first look; the last known rate when that was just now."""
        before = self._seen.get(key)
        if before is None:
            self._seen[key] = (at, cpu_ns, None)
            return None
        seconds = at - before[0]
        if seconds < LEAST_INTERVAL_S:
            return before[2]
        rate = max(int((cpu_ns - before[1]) / seconds), 0)
        self._seen[key] = (at, cpu_ns, rate)
        return rate

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all others."""
        self._seen = {key: self._seen[key] for key in keys if key in self._seen}


class Summaries:
    """Makes a Summary when asked."""

    def __init__(self, node: str, layout: NodeLayout, manager: PodManager, source: StatsSource) -> None:
        self._node = node
        self._layout = layout
        self._manager = manager
        self._source = source
        self._rates = Rates()

    async def make(self) -> Object:
        """The Summary of now."""
        stats = await self._source.stats_all()
        pods, keys = [], {self._node}
        for worker in list(self._manager.workers.values()):
            if not worker.record.sandbox_ready:
                continue
            try:
                sandbox = sandbox_id(worker.record.uid, worker.record.sandbox_attempt)
                whole, interfaces = await self._source.sandbox_stats(sandbox)
            except RuntimeFailure:
                continue
            disk = await asyncio.to_thread(usage.disk_use, worker.setting)
            pods.append(self._pod(worker, stats, whole, interfaces, disk))
            keys.add(worker.record.uid)
            keys.update(one.container_id for one in worker.record.containers.values())
        self._rates.keep(keys)
        return {"node": await asyncio.to_thread(self.machine), "pods": pods}

    def _pod(
        self,
        worker: PodWorker,
        stats: Mapping[str, ContainerStats],
        whole: ContainerStats,
        interfaces: Sequence[InterfaceStats],
        disk: DiskUse,
    ) -> Object:
        record, layout = worker.record, worker.setting.layout
        now = _time(whole.time or time.time())
        containers = []
        for name, container in record.containers.items():
            used = stats.get(container.container_id)
            if used is None:
                continue
            containers.append(
                {
                    "name": name,
                    "startTime": _time(container.started_at),
                    **self._processor(container.container_id, used),
                    **_memory(used),
                    "rootfs": {"time": now, "usedBytes": disk.containers.get(name, 0)},
                }
            )
        pod: Object = {
            "podRef": {"name": layout.name, "namespace": layout.namespace, "uid": record.uid},
            "startTime": _time(record.started_at),
            "containers": containers,
            **self._processor(record.uid, whole),
            **_memory(whole),
            "ephemeral-storage": {"time": now, "usedBytes": disk.total, "inodesUsed": disk.inodes},
            "process_stats": {"process_count": whole.pids},
        }
        if interfaces:
            pod["network"] = _network(now, interfaces)
        if disk.volumes:
            pod["volume"] = [
                {"time": now, "name": name, "usedBytes": used} for name, used in sorted(disk.volumes.items())
            ]
        return pod

    def _processor(self, key: str, used: ContainerStats) -> Object:
        at = used.time or time.time()
        return {"cpu": self._cpu(key, at, used.cpu_ns)}

    def _cpu(self, key: str, at: float, cpu_ns: int) -> Object:
        cpu: Object = {"time": _time(at), "usageCoreNanoSeconds": cpu_ns}
        rate = self._rates.nanocores(key, at, cpu_ns)
        if rate is not None:
            cpu["usageNanoCores"] = rate
        return cpu

    def machine(self) -> Object:
        """The part of the Summary that is about the node; it reads files."""
        at = time.time()
        now = _time(at)
        levels = signals.observe(self._layout.root, self._layout.images)
        memory, processes = levels[signals.MEMORY], levels[signals.PROCESSES]
        used = memory.capacity - memory.available
        return {
            "nodeName": self._node,
            "startTime": _time(_boot_time()),
            "cpu": self._cpu(self._node, at, _busy_ns()),
            "memory": {
                "time": now,
                "availableBytes": memory.available,
                "usageBytes": used,
                "workingSetBytes": used,
            },
            "fs": _file_system(now, levels, signals.DISK, signals.DISK_INODES),
            "runtime": {"imageFs": _file_system(now, levels, signals.IMAGES, signals.IMAGE_INODES)},
            "rlimit": {
                "time": now,
                "maxpid": processes.capacity,
                "curproc": processes.capacity - processes.available,
            },
        }


def _time(seconds: float) -> str:
    return times.format_time(datetime.fromtimestamp(seconds, UTC))


def _memory(used: ContainerStats) -> Object:
    memory = {
        "time": _time(used.time or time.time()),
        "usageBytes": used.memory_bytes,
        "workingSetBytes": used.working_set_bytes,
        "rssBytes": used.rss_bytes,
        "pageFaults": used.page_faults,
        "majorPageFaults": used.major_page_faults,
    }
    if used.memory_limit_bytes:
        memory["availableBytes"] = max(used.memory_limit_bytes - used.working_set_bytes, 0)
    return {"memory": memory}


def _network(now: str, interfaces: Sequence[InterfaceStats]) -> Object:
    listed = [
        {
            "name": one.name,
            "rxBytes": one.receive_bytes,
            "rxErrors": one.receive_errors,
            "txBytes": one.transmit_bytes,
            "txErrors": one.transmit_errors,
        }
        for one in interfaces
    ]
    default = next((one for one in listed if one["name"] == "eth0"), listed[0])
    return {"time": now, **default, "interfaces": listed}


def _file_system(now: str, levels: Mapping[str, signals.Level], space: str, inodes: str) -> Object:
    level = levels[space]
    shown: Object = {
        "time": now,
        "availableBytes": level.available,
        "capacityBytes": level.capacity,
        "usedBytes": level.capacity - level.available,
    }
    if inodes in levels:
        count = levels[inodes]
        shown |= {
            "inodes": count.capacity,
            "inodesFree": count.available,
            "inodesUsed": count.capacity - count.available,
        }
    return shown


def _proc_stat() -> dict[str, list[str]]:
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def _boot_time() -> float:
    return float(_proc_stat()["btime"][0])


def _busy_ns() -> int:
    """How long all processors were busy (proc_stat(5): user nice system idle iowait irq softirq steal)."""
    ticks = [int(text) for text in _proc_stat()["cpu"][:8]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    return busy * NS // os.sysconf("SC_CLK_TCK")
