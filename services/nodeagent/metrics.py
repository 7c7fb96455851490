"""The agent's own metrics, under the names that dashboards written for kubelet read.

Counters belong to this module; what can be counted on demand is counted when somebody asks.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0)

node_name = Gauge("kubelet_node_name", "The node's name. The count is always 1.", ["node"])
runtime_operations = Counter("kubelet_runtime_operations", "Runtime operations by type.", ["operation_type"])
runtime_errors = Counter("kubelet_runtime_operations_errors", "Runtime operation errors by type.", ["operation_type"])
runtime_duration = Histogram(
    "kubelet_runtime_operations_duration_seconds",
    "Duration of runtime operations by type.",
    ["operation_type"],
    buckets=_FAST,
)
pod_start_duration = Histogram(
    "kubelet_pod_start_duration_seconds",
    "From first seeing a pod to its first running status.",
    buckets=_SLOW,
)
pod_worker_duration = Histogram(
    "kubelet_pod_worker_duration_seconds",
    "Duration of one round of a pod's worker by operation.",
    ["operation_type"],
    buckets=_FAST,
)
relist_duration = Histogram(
    "kubelet_pleg_relist_duration_seconds", "Duration of listing what the keeper holds.", buckets=_FAST
)
cgroup_duration = Histogram(
    "kubelet_cgroup_manager_duration_seconds",
    "Duration of control group operations by type.",
    ["operation_type"],
    buckets=_FAST,
)
probe_total = Counter(
    "prober_probe",
    "Probes by container and result.",
    ["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
)
started_pods = Counter("kubelet_started_pods", "Sandboxes started.")
started_containers = Counter("kubelet_started_containers", "Containers started.", ["container_type"])


@contextmanager
def runtime_operation(kind: str) -> Iterator[None]:
    """Count and time one call of the runtime."""
    runtime_operations.labels(kind).inc()
    begun = time.perf_counter()
    try:
        yield
    except Exception:
        runtime_errors.labels(kind).inc()
        raise
    finally:
        runtime_duration.labels(kind).observe(time.perf_counter() - begun)


class PodCollector(Collector):
    """Gauges from `count`, which gives the running pods, and the containers by state."""

    def __init__(self, count: Callable[[], tuple[int, Mapping[str, int]]]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        running, states = self._count()
        pods = GaugeMetricFamily("kubelet_running_pods", "Pods that have a running sandbox.", value=running)
        containers = GaugeMetricFamily("kubelet_running_containers", "Containers by state.", labels=["container_state"])
        for state, number in states.items():
            containers.add_metric([state], number)
        yield pods
        yield containers


def register(count: Callable[[], tuple[int, Mapping[str, int]]], node: str) -> None:
    """Add what is counted on demand to the default registry; nobody reads the `_created` series, so they are off."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    node_name.labels(node).set(1)
    REGISTRY.register(PodCollector(count))


def forget_pod(uid: str) -> None:
    """Drop the probe counters of a pod that is gone."""
    probe_total.remove_by_labels({"pod_uid": uid})
