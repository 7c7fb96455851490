"""The pod's status as a pure function of what is known, and the patch that takes the API from one to the next."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.nodeagent.pods import specs
from services.nodeagent.pods.conditions import conditions
from services.nodeagent.pods.grants import IN_PROGRESS, PENDING
from services.nodeagent.pods.phases import phase
from services.nodeagent.pods.records import PodRecord
from services.nodeagent.pods.statuses import container_status, stamp
from services.nodeagent.pods.view import ProbeResult

# Lists that a strategic merge patch merges by key; every other list is replaced whole.
_MERGED = {"conditions": "type"}
_REPLACED = ("podIPs",)
# Conditions that are there only as long as what they tell of.
_PASSING = (PENDING, IN_PROGRESS)


def pod_status(
    pod: Mapping[str, Any],
    record: PodRecord,
    probes: Mapping[str, ProbeResult],
    host_addresses: Sequence[str],
    previous: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """The whole status that this node vouches for; `previous` is the last one, `now` unix seconds."""
    inits = [container_status(pod, record, spec, probes, now) for spec in specs.init_containers(pod)]
    apps = [container_status(pod, record, spec, probes, now) for spec in specs.app_containers(pod)]
    debug = [container_status(pod, record, spec, probes, now) for spec in specs.ephemeral_containers(pod)]
    held = pod.get("status") or {}
    # A phase that is an end never changes again, whoever set it.
    current = held["phase"] if held.get("phase") in ("Succeeded", "Failed") else phase(pod, record, inits, apps)
    by_name = {status["name"]: status for status in (*inits, *apps)}
    # those of others, the scheduler's for one, are in the object only
    told = (*(held.get("conditions") or ()), *(previous.get("conditions") or ()))
    known = list({condition["type"]: condition for condition in told}.values())
    status: dict[str, Any] = {
        "phase": current,
        "conditions": conditions(pod, record, current, by_name, known, stamp(now)),
        "hostIP": host_addresses[0],
        "hostIPs": [{"ip": address} for address in host_addresses],
        "qosClass": specs.qos_class(pod),
    }
    refused = record.finished and record.end_reason and record.sandbox_attempt < 0
    if refused:
        # what has no containers has no statuses of them either: clients then show why it was refused
        inits, debug = [], []
    else:
        status["containerStatuses"] = apps
    if record.started_at:
        status["startTime"] = stamp(record.started_at)
    if inits:
        status["initContainerStatuses"] = inits
    if debug:
        status["ephemeralContainerStatuses"] = debug
    if record.end_reason and current == "Failed":
        status["reason"], status["message"] = record.end_reason, record.end_message
    elif held.get("phase") == current == "Failed":
        status.update({key: held[key] for key in ("reason", "message") if held.get(key)})
    if specs.generation(pod):
        status["observedGeneration"] = specs.generation(pod)
    addresses = record.addresses or tuple(entry["ip"] for entry in previous.get("podIPs") or ())
    if addresses:
        status["podIP"] = addresses[0]
        status["podIPs"] = [{"ip": address} for address in addresses]
    return status


def status_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Strategic merge patch of the status field from `old` to `new`; {} if nothing differs.

    Conditions of other owners are left alone: a condition absent from `new` is only removed if it is a passing one.
    """
    patch: dict[str, Any] = {}
    for key, value in new.items():
        if old.get(key) == value:
            continue
        if key in _MERGED:
            entries = _merged_entries(old.get(key) or (), value, _MERGED[key])
            if entries:
                patch[key] = entries
        elif key in _REPLACED:
            patch[key] = [{"$patch": "replace"}, *value]
        else:
            patch[key] = value
    for key in ("reason", "message", "containerStatuses", "initContainerStatuses"):
        if key in old and key not in new:
            patch[key] = None
    return patch


def _merged_entries(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], key: str
) -> list[dict[str, Any]]:
    before = {entry.get(key): entry for entry in old}
    entries = []
    for entry in new:
        known = before.get(entry[key]) or {}
        if _meaning(known) == _meaning(entry):
            continue
        gone = {name: None for name in known if name not in entry}
        entries.append({**gone, **entry})
    present = {entry[key] for entry in new}
    entries += [{"$patch": "delete", key: name} for name in _PASSING if name in before and name not in present]
    return entries


def _meaning(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without its empty fields: an absent lastProbeTime and a null one are the same."""
    return {name: value for name, value in entry.items() if value is not None}
