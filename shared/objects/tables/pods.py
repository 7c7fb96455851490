"""Pod rows. The status column is the first bad news found: init containers in order, then containers from the last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from shared.objects import meta, times
from shared.objects.tables.cells import NONE, Object, age, name

_COMPLETED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


def row_conditions(pod: Object) -> list[dict[str, str]]:
    """Lets kubectl's old --show-all tell finished pods apart."""
    phase = meta.pod_phase(pod)
    if phase not in _COMPLETED:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _COMPLETED[phase]}]


def pod(pod: Object, now: datetime) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = {one["name"] for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    ready, reason, restarted = _summary(pod, sidecars)
    total = len(spec.get("containers") or ()) + len(sidecars)
    ips = status.get("podIPs") or ()
    return [
        name(pod),
        f"{ready}/{total}",
        reason,
        _restarts(restarted, now),
        age(pod, now),
        (ips[0].get("ip") if ips else "") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(pod),
    ]


def _summary(pod: Object, sidecars: set[str]) -> tuple[int, str, list[Object]]:
    """How many containers are ready, the status text, and the containers whose restarts count."""
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or ""
    scheduled = meta.condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    ready, blocked, seen = _init_progress(pod, sidecars)
    restarted = seen
    if blocked is None or meta.condition_true(pod, "Initialized"):
        containers = status.get("containerStatuses") or []
        restarted = [one for one in seen if one.get("name") in sidecars] + list(containers)
        ready += sum(1 for one in containers if _is_running_ready(one))
        reason = _containers_reason(pod, containers) or (reason if blocked is None else blocked)
    else:
        reason = blocked
    if meta.is_deleting(pod):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif not meta.pod_finished(pod):
            reason = "Terminating"
    return ready, reason, restarted


def _init_progress(pod: Object, sidecars: set[str]) -> tuple[int, str | None, list[Object]]:
    """Ready sidecars, what holds initialisation up if something does, and the init containers looked at."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    total = len((pod.get("spec") or {}).get("initContainers") or ())
    ready = 0
    for index, container in enumerate(statuses):
        seen = list(statuses[: index + 1])
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            return ready, f"Init:{_ended(terminated)}", seen
        if waiting is not None and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return ready, f"Init:{waiting['reason']}", seen
        return ready, f"Init:{index}/{total}", seen
    return ready, None, list(statuses)


def _containers_reason(pod: Object, containers: Iterable[Object]) -> str:
    """The reason of the first container that has one; Completed yields to containers that still run."""
    reason = ""
    for container in reversed(list(containers)):
        state = container.get("state") or {}
        terminated = state.get("terminated")
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting:
            reason = waiting
        elif terminated is not None:
            reason = _ended(terminated)
    if reason == "Completed" and any(_is_running_ready(one) for one in containers):
        return "Running" if meta.pod_ready(pod) else "NotReady"
    return reason


def _ended(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _is_running_ready(container: Object) -> bool:
    state = container.get("state") or {}
    return bool(container.get("ready")) and state.get("running") is not None


def _restarts(containers: Iterable[Object], now: datetime) -> str:
    count = 0
    last = ""
    for container in containers:
        count += container.get("restartCount", 0)
        ended = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        last = max(last, ended)
    return f"{count} ({times.age(last, now)} ago)" if count and last else str(count)


def _readiness_gates(pod: Object) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    if not gates:
        return NONE
    met = sum(1 for gate in gates if meta.condition_true(pod, gate.get("conditionType", "")))
    return f"{met}/{len(gates)}"
