"""What a pod takes: its effective requests and limits, and the quota names they count under."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.objects import times
from shared.objects.usage import amounts
from shared.objects.usage.amounts import Amounts

Object = Mapping[str, Any]

COMPUTE = ("cpu", "memory", "ephemeral-storage")
NAMES = frozenset(
    {"count/pods", "pods", *COMPUTE} | {f"requests.{name}" for name in COMPUTE} | {f"limits.{name}" for name in COMPUTE}
)
# a quota on one of these demands that every container says how much it wants (a rule kept for compatibility)
DEMANDED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
HUGE_PAGES = "hugepages-"
REQUESTS = "requests."
ENDED = ("Succeeded", "Failed")


def tracked(name: str) -> bool:
    """Whether pods count under a quota name."""
    return name in NAMES or name.startswith((HUGE_PAGES, REQUESTS + HUGE_PAGES)) or _is_extended_quota(name)


def usage(pod: Object, now: datetime) -> Amounts:
    """What a pod takes; one that ended, or whose grace period is over, is only an object that exists."""
    taken = {"count/pods": "1"}
    if not _counts(pod, now):
        return taken
    spec = pod.get("spec") or {}
    return taken | _named(requests(spec), limits(spec))


def requests(spec: Object, *, overhead: bool = True) -> Amounts:
    """The effective request of a pod: the larger of what its containers need together and what any init container needs
    while it runs; sidecars (KEP-753) count from their start on, requests of the pod itself (KEP-2837) win."""
    found = _effective(spec, lambda owner: amounts.texts((owner.get("resources") or {}).get("requests")))
    return amounts.total(found, amounts.texts(spec.get("overhead"))) if overhead else found


def limits(spec: Object, *, overhead: bool = True) -> Amounts:
    """The effective limits of a pod; its overhead is added to limits that are there."""
    found = _effective(spec, lambda owner: amounts.texts((owner.get("resources") or {}).get("limits")))
    extra = amounts.only(amounts.texts(spec.get("overhead")), amounts.positive(found)) if overhead else {}
    return amounts.total(found, extra)


def unstated(pod: Object, names: Iterable[str]) -> str:
    """The complaint about containers that do not say what a quota on `names` demands; empty if all do."""
    demanded = sorted(DEMANDED.intersection(names))
    spec = pod.get("spec") or {}
    missing: dict[str, set[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        stated = _named(amounts.texts(resources.get("requests")), amounts.texts(resources.get("limits")))
        for name in demanded:
            if name not in stated:
                missing.setdefault(name, set()).add(container["name"])
    parts = [f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing)]
    return f"must specify {'; '.join(parts)}" if parts else ""


def _effective(spec: Object, read: Callable[[Object], Amounts]) -> Amounts:
    running = amounts.total(*(read(one) for one in spec.get("containers") or ()))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = read(container)
        if container.get("restartPolicy") == "Always":
            sidecars = amounts.total(sidecars, own)
            peak = amounts.largest(peak, sidecars)
        else:
            peak = amounts.largest(peak, amounts.total(own, sidecars))
    return amounts.largest(amounts.total(running, sidecars), peak) | read(spec)


def _named(asked: Amounts, bounded: Amounts) -> Amounts:
    """Requests and limits under the names quotas have for them."""
    taken: Amounts = {"pods": "1"}
    for name, text in asked.items():
        if name in COMPUTE or name.startswith(HUGE_PAGES):
            taken[name] = taken[REQUESTS + name] = text
        elif "/" in name:
            # extended resources cannot be overcommitted, so only their requests count
            taken[REQUESTS + name] = text
    for name in COMPUTE:
        if name in bounded:
            taken[f"limits.{name}"] = bounded[name]
    return taken


def _is_extended_quota(name: str) -> bool:
    rest = name.removeprefix(REQUESTS)
    domain = rest.partition("/")[0]
    return rest != name and "/" in rest and not (domain == "kubernetes.io" or domain.endswith(".kubernetes.io"))


def _counts(pod: Object, now: datetime) -> bool:
    if (pod.get("status") or {}).get("phase") in ENDED:
        return False
    metadata = pod["metadata"]
    grace = metadata.get("deletionGracePeriodSeconds")
    if "deletionTimestamp" not in metadata or grace is None:
        return True
    return now <= times.parse(metadata["deletionTimestamp"]) + timedelta(seconds=grace)
