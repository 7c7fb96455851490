"""What a failed pod means to its Job: the podFailurePolicy (KEP-3329) and the pause before the next attempt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.controllers import instants
from services.controllers.actions import Object
from shared.objects import meta

FIRST_PAUSE = 10.0
LONGEST_PAUSE = 600.0


def action_for(job: Object, pod: Object) -> tuple[str, str]:
    """(Count | Ignore | FailJob | FailIndex, message) for a failed pod; Count if no rule matches."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        matched = _match_exit(rule.get("onExitCodes"), pod) or _match_condition(rule.get("onPodConditions"), pod)
        if matched:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            return rule["action"], matched.format(pod=name, action=rule["action"], number=number)
    return "Count", ""


def pause(pods: Iterable[Object], now: float) -> float:
    """Seconds to wait before new pods are made: 10 s, doubled with each failure since the last success."""
    finished = sorted((pod for pod in pods if meta.pod_finished(pod)), key=finished_at)
    failures = 0
    for pod in reversed(finished):
        if meta.pod_phase(pod) == "Succeeded":
            break
        failures += 1
    if failures == 0:
        return 0.0
    return left(failures, finished_at(finished[-1]), now)


def left(failures: int, last: float, now: float) -> float:
    """Seconds until the next attempt after so many failures (1 or more), the last of them at `last`."""
    delay: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
    return max(0.0, last + delay - now)


def finished_at(pod: Object) -> float:
    """When the last container of a pod ended, in seconds since the epoch; its deletion or creation if unknown."""
    status = pod.get("status", {})
    ends = [
        (entry.get("state") or {}).get("terminated", {}).get("finishedAt")
        for entry in status.get("containerStatuses") or ()
    ]
    known = [instants.seconds(end) for end in ends if end]
    if known:
        return max(known)
    metadata = pod["metadata"]
    return instants.seconds(metadata.get("deletionTimestamp") or metadata.get("creationTimestamp"))


def _match_exit(wanted: Object | None, pod: Object) -> str:
    if wanted is None:
        return ""
    status = pod.get("status", {})
    entries: Sequence[Object] = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    for entry in entries:
        ended = (entry.get("state") or {}).get("terminated")
        if ended is None or not ended.get("exitCode"):
            continue
        if wanted.get("containerName") not in (None, entry["name"]):
            continue
        if (ended["exitCode"] in wanted["values"]) == (wanted["operator"] == "In"):
            return (
                f"Container {entry['name']} for pod {{pod}} failed with exit code {ended['exitCode']} "
                "matching {action} rule at index {number}"
            )
    return ""


def _match_condition(wanted: Iterable[Object] | None, pod: Object) -> str:
    for pattern in wanted or ():
        found = meta.condition(pod, pattern["type"])
        if found is not None and found.get("status") == pattern.get("status", "True"):
            return f"Pod {{pod}} has condition {pattern['type']} matching {{action}} rule at index {{number}}"
    return ""
