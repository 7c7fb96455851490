"""/metrics/resource: the few numbers by which metrics-server and autoscalers judge nodes and pods.

Source: KEP-1832, kubelet's resource metrics endpoint; names, labels and units are its.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.nodeagent.cadvisor import Sample, family

NS = 1e-9


def render(node: Mapping[str, Any], samples: Sequence[Sample]) -> bytes:
    """The samples, and the `node` of a Summary, in Prometheus' text format 0.0.4."""
    containers = [one for one in samples if one.labels["container"]]
    pods = [one for one in samples if not one.labels["container"]]
    lines: list[str] = []
    lines += family(
        "node_cpu_usage_seconds_total",
        "counter",
        "CPU time used by the node.",
        [({}, node["cpu"]["usageCoreNanoSeconds"] * NS)],
    )
    lines += family(
        "node_memory_working_set_bytes",
        "gauge",
        "Memory of the node that cannot be dropped.",
        [({}, node["memory"]["workingSetBytes"])],
    )
    for head, found, keys in (
        ("container", containers, ("container", "namespace", "pod")),
        ("pod", pods, ("namespace", "pod")),
    ):
        lines += family(
            f"{head}_cpu_usage_seconds_total",
            "counter",
            f"CPU time used by the {head}.",
            ((_only(one.labels, keys), one.stats.cpu_ns * NS) for one in found),
        )
        lines += family(
            f"{head}_memory_working_set_bytes",
            "gauge",
            f"Memory of the {head} that cannot be dropped.",
            ((_only(one.labels, keys), one.stats.working_set_bytes) for one in found),
        )
    lines += family(
        "container_start_time_seconds",
        "gauge",
        "When the container started, in unix seconds.",
        ((_only(one.labels, ("container", "namespace", "pod")), one.started_at) for one in containers),
    )
    lines += family("resource_scrape_error", "gauge", "1 if the numbers could not be had, else 0.", [({}, 0)])
    return ("\n".join(lines) + "\n").encode()


def _only(labels: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    return {key: labels[key] for key in keys}
