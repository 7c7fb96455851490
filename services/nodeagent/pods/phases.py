"""The pod's phase from its containers' statuses.

Source: Kubernetes "Pod lifecycle", pod phase; KEP-753 for sidecars.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.nodeagent.pods import specs
from services.nodeagent.pods.records import PodRecord


def phase(
    pod: Mapping[str, Any],
    record: PodRecord,
    init_statuses: Sequence[Mapping[str, Any]],
    app_statuses: Sequence[Mapping[str, Any]],
) -> str:
    """Pending, Running, Succeeded or Failed."""
    sidecars = {spec["name"] for spec in specs.init_containers(pod) if specs.is_sidecar(spec)}
    running = [s for s in (*init_statuses, *app_statuses) if "running" in s["state"]]
    stopped = [s for s in app_statuses if _exit(s) is not None]
    waiting = [s for s in app_statuses if "waiting" in s["state"] and _exit(s) is None]
    if record.finished and not running:
        failed = record.end_reason or waiting or any(_exit(s) != 0 for s in stopped)
        failed = failed or any(_exit(s) != 0 for s in init_statuses if s["name"] not in sidecars)
        return "Failed" if failed else "Succeeded"
    if not record.initialized and any(_holds_up(s, s["name"] in sidecars) for s in init_statuses):
        return "Pending"
    if waiting or not (running or stopped):
        return "Pending"
    if running:
        return "Running"
    if not record.deleted and any(_comes_back(pod, record, s["name"]) for s in stopped):
        return "Running"
    return "Succeeded" if all(_exit(s) == 0 for s in stopped) else "Failed"


def _comes_back(pod: Mapping[str, Any], record: PodRecord, name: str) -> bool:
    """Whether a container that is down is started again, by its own rules or the pod's."""
    container, spec = record.container(name), specs.container_spec(pod, name)
    ended = container.termination or container.last
    return spec is not None and ended is not None and specs.restarts(pod, spec, ended)


def _holds_up(status: Mapping[str, Any], sidecar: bool) -> bool:
    """Whether an init container keeps the pod from having been initialised."""
    state = status["state"]
    if sidecar:
        if "running" in state:
            return not status.get("started")
        return "waiting" in state and not status["lastState"].get("terminated")
    ended = state.get("terminated")
    return ended is None or ended["exitCode"] != 0


def _exit(status: Mapping[str, Any]) -> int | None:
    """Exit code of a container that is down: now terminated, or waiting to be started again."""
    state = status["state"]
    ended = state.get("terminated")
    if ended is None and "waiting" in state:
        ended = status["lastState"].get("terminated")
    return None if ended is None else int(ended["exitCode"])
