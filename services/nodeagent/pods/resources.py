"""Requests and limits as control group settings.

Source: Kubernetes "Resource management for pods": shares from requests, quota from limits over a period of 100 ms;
the OOM score rules are kubelet's pkg/kubelet/qos policy.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from services.nodeagent.pods import specs
from services.nodeagent.runtime.model import Resources
from shared.objects import quantities

PERIOD_US = 100_000
MINIMUM_QUOTA_US = 1_000
MINIMUM_SHARES = 2
MAXIMUM_SHARES = 262_144
# More processes than any sane pod has, fewer than the default kernel.pid_max: a fork bomb stays inside its pod.
POD_PIDS = 16_384


def container_resources(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> Resources:
    """Limits of one container; where it has none, those of the pod (KEP-2837), so that it sees what it may use."""
    resources = spec.get("resources") or {}
    whole = (pod["spec"].get("resources") or {}).get("limits") or {}
    result = _resources(resources.get("requests") or {}, {**whole, **(resources.get("limits") or {})})
    result.oom_group = True  # as kubelet's default: half a container is worse than none
    return result


def pod_resources(pod: Mapping[str, Any]) -> Resources:
    """Limits of the pod's own group: what the containers may take together."""
    containers = [*specs.app_containers(pod), *(s for s in specs.init_containers(pod) if specs.is_sidecar(s))]
    inits = [spec for spec in specs.init_containers(pod) if not specs.is_sidecar(spec)]
    overhead = pod["spec"].get("overhead") or {}
    whole = pod["spec"].get("resources") or {}
    requests = {
        name: max(_sum(containers, "requests", name), _largest(inits, "requests", name)) for name in ("cpu", "memory")
    }
    limits = {}
    for name in ("cpu", "memory"):
        unlimited = any(name not in (_of(spec, "limits")) for spec in (*containers, *inits))
        if not unlimited:
            limits[name] = max(_sum(containers, "limits", name), _largest(inits, "limits", name))
            limits[name] += quantities.milli(str(overhead.get(name, "0")))
    texts = {"requests": {k: f"{v}m" for k, v in requests.items()}, "limits": {k: f"{v}m" for k, v in limits.items()}}
    result = _resources(
        {**texts["requests"], **(whole.get("requests") or {})}, {**texts["limits"], **(whole.get("limits") or {})}
    )
    result.pids = POD_PIDS
    return result


def oom_score_adjustment(pod: Mapping[str, Any], spec: Mapping[str, Any], capacity_bytes: int) -> int:
    """-997 (Guaranteed) to 1000 (BestEffort); a Burstable container is safer the more of the node it requested."""
    quality = specs.qos_class(pod)
    if quality == "Guaranteed":
        return -997
    if quality == "BestEffort":
        return 1000
    requested = quantities.value(str(_of(spec, "requests").get("memory", "0")))
    score = 1000 - 1000 * requested // max(capacity_bytes, 1)
    return max(3, min(999, score))


def cgroup_path(pod: Mapping[str, Any]) -> str:
    """Path of the pod's group below the node's own."""
    return f"/pods/{specs.qos_class(pod).lower()}/pod{pod['metadata']['uid']}"


def _resources(requests: Mapping[str, str], limits: Mapping[str, str]) -> Resources:
    result = Resources()
    cpu = requests.get("cpu", limits.get("cpu"))
    milli = quantities.milli(str(cpu)) if cpu is not None else 0
    result.cpu_shares = max(MINIMUM_SHARES, min(MAXIMUM_SHARES, milli * 1024 // 1000))
    if "cpu" in limits and (limit := quantities.milli(str(limits["cpu"]))):
        result.cpu_quota_us = max(MINIMUM_QUOTA_US, limit * PERIOD_US // 1000)
        result.cpu_period_us = PERIOD_US
    if "memory" in limits and (limit := quantities.value(str(limits["memory"]))):
        result.memory_bytes = limit
    return result


def _of(spec: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return (spec.get("resources") or {}).get(kind) or {}


def _sum(containers: Iterable[Mapping[str, Any]], kind: str, name: str) -> int:
    return sum(quantities.milli(str(_of(spec, kind).get(name, "0"))) for spec in containers)


def _largest(containers: Iterable[Mapping[str, Any]], kind: str, name: str) -> int:
    return max((quantities.milli(str(_of(spec, kind).get(name, "0"))) for spec in containers), default=0)
