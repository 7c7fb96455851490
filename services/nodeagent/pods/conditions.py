"""The pod's conditions, with kubelet's reasons and messages, and transition times that move only when a status does."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.nodeagent.pods import grants, specs, suspending
from services.nodeagent.pods.records import PodRecord

_Condition = dict[str, Any]


def conditions(
    pod: Mapping[str, Any],
    record: PodRecord,
    phase: str,
    statuses: Mapping[str, Mapping[str, Any]],
    previous: Sequence[Mapping[str, Any]],
    now: str,
) -> list[_Condition]:
    """The conditions an agent owns; `statuses` by container name, `now` as RFC 3339."""
    containers_ready = _containers_ready(pod, phase, statuses)
    fresh = [
        _ready_to_start(record),
        _initialized(pod, phase, statuses),
        {**_ready(pod, containers_ready, previous), "type": "Ready"},
        {**containers_ready, "type": "ContainersReady"},
    ]
    scheduled = next((c for c in previous if c.get("type") == "PodScheduled"), None)
    if scheduled is None:
        fresh.append({"type": "PodScheduled", "status": "True"})
    if record.disruption:
        reason = {"reason": "TerminationByKubelet", "message": record.disruption}
        fresh.append({"type": "DisruptionTarget", "status": "True", **reason})
    before = {c.get("type"): c for c in previous}
    fresh += grants.conditions(pod, record)
    suspended = suspending.condition(record, suspending.CONDITION in before)
    if suspended is not None:
        fresh.append(suspended)
    for condition in fresh:
        old = before.get(condition["type"])
        same = old is not None and old.get("status") == condition["status"]
        condition["lastTransitionTime"] = old.get("lastTransitionTime") if old and same else now
        condition["lastProbeTime"] = None
        if specs.generation(pod):
            condition["observedGeneration"] = specs.generation(pod)
    return fresh


def _ready_to_start(record: PodRecord) -> _Condition:
    able = record.sandbox_ready and bool(record.addresses)
    return {"type": "PodReadyToStartContainers", "status": "True" if able else "False"}


def _initialized(pod: Mapping[str, Any], phase: str, statuses: Mapping[str, Mapping[str, Any]]) -> _Condition:
    if phase == "Succeeded":
        return {"type": "Initialized", "status": "True", "reason": "PodCompleted"}
    if any(_has_run(statuses[spec["name"]]) for spec in specs.app_containers(pod)):
        return {"type": "Initialized", "status": "True"}
    incomplete = [
        spec["name"]
        for spec in specs.init_containers(pod)
        if not statuses[spec["name"]]["started" if specs.is_sidecar(spec) else "ready"]
    ]
    if not incomplete:
        return {"type": "Initialized", "status": "True"}
    return {
        "type": "Initialized",
        "status": "False",
        "reason": "ContainersNotInitialized",
        "message": f"containers with incomplete status: [{' '.join(incomplete)}]",
    }


def _has_run(status: Mapping[str, Any]) -> bool:
    return "waiting" not in status["state"] or bool(status["lastState"])


def _containers_ready(pod: Mapping[str, Any], phase: str, statuses: Mapping[str, Mapping[str, Any]]) -> _Condition:
    if phase in ("Succeeded", "Failed"):
        return {"status": "False", "reason": "PodCompleted" if phase == "Succeeded" else "PodFailed"}
    watched = [spec for spec in specs.init_containers(pod) if specs.is_sidecar(spec)] + specs.app_containers(pod)
    unready = [spec["name"] for spec in watched if not statuses[spec["name"]]["ready"]]
    if not unready:
        return {"status": "True"}
    message = f"containers with unready status: [{' '.join(unready)}]"
    return {"status": "False", "reason": "ContainersNotReady", "message": message}


def _ready(
    pod: Mapping[str, Any], containers_ready: Mapping[str, Any], previous: Sequence[Mapping[str, Any]]
) -> _Condition:
    if containers_ready["status"] != "True":
        return dict(containers_ready)
    known = {c.get("type"): c.get("status") for c in previous}
    known.update({c["type"]: c.get("status") for c in (pod.get("status") or {}).get("conditions") or ()})
    complaints = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in known:
            complaints.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif known[kind] != "True":
            complaints.append(f'the status of pod readiness gate "{kind}" is not "True", but {known[kind]}')
    if not complaints:
        return {"status": "True"}
    return {"status": "False", "reason": "ReadinessGatesNotReady", "message": ", ".join(complaints)}
