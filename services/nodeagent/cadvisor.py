"""/metrics/cadvisor: what containers use, under cAdvisor's names and labels, so that existing dashboards work.

The numbers are read when somebody scrapes: one call to the keeper for all containers, one per pod for its network.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.nodeagent.layout import sandbox_id
from services.nodeagent.pods import resources
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.runtime.model import ContainerStats, InterfaceStats
from shared.errors import RuntimeFailure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SCRAPE_LIMIT_S = 8.0
NS = 1e-9


class StatsSource(Protocol):
    """The part of the runtime that knows what containers use."""

    async def stats_all(self) -> dict[str, ContainerStats]: ...
    async def sandbox_stats(self, sandbox_id: str) -> tuple[ContainerStats, list[InterfaceStats]]: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """What one container (`container`), or a whole pod (container ""), uses."""

    labels: Mapping[str, str]
    stats: ContainerStats
    interfaces: Sequence[InterfaceStats] = ()
    started_at: float = 0.0


_Value = Callable[[ContainerStats], float]

# KEP-4205; cgroup2 alone has these, elsewhere they are 0
_WAITED = "Time in which some task waited for it."
_STALLED = "Time in which all tasks waited for it at once."

_FAMILIES: tuple[tuple[str, str, str, _Value], ...] = (
    ("container_cpu_usage_seconds_total", "counter", "CPU time used.", lambda s: s.cpu_ns * NS),
    ("container_cpu_user_seconds_total", "counter", "CPU time in user mode.", lambda s: s.cpu_user_ns * NS),
    ("container_cpu_system_seconds_total", "counter", "CPU time in the kernel.", lambda s: s.cpu_system_ns * NS),
    ("container_cpu_cfs_periods_total", "counter", "Elapsed enforcement periods.", lambda s: s.cpu_periods),
    (
        "container_cpu_cfs_throttled_periods_total",
        "counter",
        "Throttled enforcement periods.",
        lambda s: s.cpu_throttled_periods,
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Time that was throttled.",
        lambda s: s.cpu_throttled_ns * NS,
    ),
    ("container_memory_usage_bytes", "gauge", "Memory used, caches included.", lambda s: s.memory_bytes),
    ("container_memory_max_usage_bytes", "gauge", "Largest memory use.", lambda s: s.memory_peak_bytes),
    ("container_memory_working_set_bytes", "gauge", "Memory that cannot be dropped.", lambda s: s.working_set_bytes),
    ("container_memory_rss", "gauge", "Anonymous memory.", lambda s: s.rss_bytes),
    ("container_memory_cache", "gauge", "Page cache.", lambda s: s.cache_bytes),
    ("container_memory_mapped_file", "gauge", "Memory-mapped files.", lambda s: s.mapped_bytes),
    ("container_memory_swap", "gauge", "Swap used.", lambda s: s.swap_bytes),
    ("container_memory_failcnt", "counter", "Hits of the memory limit.", lambda s: s.memory_failures),
    ("container_spec_memory_limit_bytes", "gauge", "Memory limit, 0 for none.", lambda s: s.memory_limit_bytes),
    ("container_oom_events_total", "counter", "Processes killed for memory.", lambda s: s.oom_kills),
    ("container_fs_reads_total", "counter", "Completed reads.", lambda s: s.reads),
    ("container_fs_writes_total", "counter", "Completed writes.", lambda s: s.writes),
    ("container_fs_reads_bytes_total", "counter", "Bytes read.", lambda s: s.read_bytes),
    ("container_fs_writes_bytes_total", "counter", "Bytes written.", lambda s: s.write_bytes),
    ("container_pressure_cpu_waiting_seconds_total", "counter", _WAITED, lambda s: s.cpu_waiting_ns * NS),
    ("container_pressure_cpu_stalled_seconds_total", "counter", _STALLED, lambda s: s.cpu_stalled_ns * NS),
    ("container_pressure_memory_waiting_seconds_total", "counter", _WAITED, lambda s: s.memory_waiting_ns * NS),
    ("container_pressure_memory_stalled_seconds_total", "counter", _STALLED, lambda s: s.memory_stalled_ns * NS),
    ("container_pressure_io_waiting_seconds_total", "counter", _WAITED, lambda s: s.io_waiting_ns * NS),
    ("container_pressure_io_stalled_seconds_total", "counter", _STALLED, lambda s: s.io_stalled_ns * NS),
    ("container_processes", "gauge", "Processes.", lambda s: s.pids),
    ("container_threads_max", "gauge", "Limit of processes, 0 for none.", lambda s: s.pids_limit),
)

_NETWORK: tuple[tuple[str, Callable[[InterfaceStats], float]], ...] = (
    ("receive_bytes", lambda i: i.receive_bytes),
    ("receive_packets", lambda i: i.receive_packets),
    ("receive_errors", lambda i: i.receive_errors),
    ("receive_packets_dropped", lambda i: i.receive_dropped),
    ("transmit_bytes", lambda i: i.transmit_bytes),
    ("transmit_packets", lambda i: i.transmit_packets),
    ("transmit_errors", lambda i: i.transmit_errors),
    ("transmit_packets_dropped", lambda i: i.transmit_dropped),
)


async def collect(manager: PodManager, source: StatsSource) -> list[Sample]:
    """Samples of every running container and every pod."""
    stats = await source.stats_all()
    samples = []
    for worker in list(manager.workers.values()):
        record, layout = worker.record, worker.setting.layout
        place = {"namespace": layout.namespace, "pod": layout.name}
        group = f"{resources.cgroup_path(worker.pod)}"
        for name, container in record.containers.items():
            used = stats.get(container.container_id)
            if used is not None:
                labels = {
                    "container": name,
                    "id": f"{group}/{container.container_id}",
                    "image": container.image,
                    "name": container.container_id,
                    **place,
                }
                samples.append(Sample(labels, used, started_at=container.started_at))
        if record.sandbox_ready:
            try:
                whole, interfaces = await source.sandbox_stats(sandbox_id(record.uid, record.sandbox_attempt))
            except RuntimeFailure:
                continue
            labels = {"container": "", "id": group, "image": "", "name": "", **place}
            samples.append(Sample(labels, whole, interfaces, record.started_at))
    return samples


def render(samples: Sequence[Sample], cores: int, memory_bytes: int) -> bytes:
    """The samples in Prometheus' text format 0.0.4."""
    lines: list[str] = []
    for name, kind, text, value in _FAMILIES:
        _head(lines, name, kind, text)
        lines += (f"{name}{_labels(s.labels)} {_number(value(s.stats))}" for s in samples)
    _head(lines, "container_start_time_seconds", "gauge", "When the container started, in unix seconds.")
    lines += (f"container_start_time_seconds{_labels(s.labels)} {_number(s.started_at)}" for s in samples)
    for suffix, count in _NETWORK:
        name = f"container_network_{suffix}_total"
        _head(lines, name, "counter", f"Network: {suffix.replace('_', ' ')}.")
        for sample in samples:
            lines += (
                f"{name}{_labels({**sample.labels, 'interface': i.name, 'image': _PAUSE})} {_number(count(i))}"
                for i in sample.interfaces
            )
    _head(lines, "machine_cpu_cores", "gauge", "Logical CPUs.")
    lines.append(f"machine_cpu_cores {cores}")
    _head(lines, "machine_memory_bytes", "gauge", "Memory of the machine.")
    lines.append(f"machine_memory_bytes {memory_bytes}")
    return ("\n".join(lines) + "\n").encode()


# Dashboards select network series by a non-empty image, which elsewhere is that of the pod's pause container.
_PAUSE = "wherry/sandbox"


def family(name: str, kind: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    """The lines of one metric in the text format, from labels and values."""
    lines: list[str] = []
    _head(lines, name, kind, text)
    return lines + [f"{name}{_labels(labels)} {_number(value)}" for labels, value in values]


def page(
    loop: asyncio.AbstractEventLoop, scrape: Callable[[], Awaitable[bytes]]
) -> Callable[[], tuple[int, str, bytes]]:
    """A page for the metrics server, whose threads may not touch the loop but through this."""

    async def limited() -> bytes:
        return await scrape()

    def serve() -> tuple[int, str, bytes]:
        body = asyncio.run_coroutine_threadsafe(limited(), loop).result(SCRAPE_LIMIT_S)
        return 200, CONTENT_TYPE, body

    return serve


def _head(lines: list[str], name: str, kind: str, text: str) -> None:
    lines += (f"# HELP {name} {text}", f"# TYPE {name} {kind}")


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{key}="{_escape(value)}"' for key, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
