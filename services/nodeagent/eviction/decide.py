"""Who must go when the node runs short: pure decisions on levels and on what pods use.

Source: Kubernetes "Node-pressure eviction" (conditions, soft and hard thresholds, minimum reclaim, pod selection) and
the messages of kubelet's eviction manager.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.nodeagent.eviction.signals import (
    CONDITION,
    DISK,
    DISK_INODES,
    IMAGE_INODES,
    IMAGES,
    MEMORY,
    PROCESSES,
    RESOURCE,
    SIGNALS,
    Level,
)
from services.nodeagent.eviction.thresholds import EvictionSettings, Threshold, Watch

MESSAGE = "The node was low on resource: {}. Threshold quantity: {}, available: {}. "
CONTAINER_MESSAGE = "Container {} was using {}, request is {}, has larger consumption of {}. "


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a container or pod uses or requests: bytes of memory and disk, inodes, processes."""

    memory: int = 0
    disk: int = 0
    inodes: int = 0
    processes: int = 0

    def of(self, signal: str) -> int:
        if signal == MEMORY:
            return self.memory
        if signal in (DISK, IMAGES):
            return self.disk
        return self.inodes if signal in (DISK_INODES, IMAGE_INODES) else self.processes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that may have to go; `critical` ones never do."""

    uid: str
    priority: int
    used: Amounts
    requested: Amounts
    critical: bool = False
    containers: Mapping[str, tuple[Amounts, Amounts]] = field(default_factory=dict)
    """Used and requested, by container name."""


def look(watch: Watch, settings: EvictionSettings, levels: Mapping[str, Level], now: float) -> list[Threshold]:
    """Note what the levels mean at `now` (seconds); the thresholds that ask for action, the most urgent first."""
    for threshold in settings.thresholds:
        level = levels.get(threshold.signal)
        if level is None:
            continue
        limit = threshold.limit(level, reclaiming=threshold in watch.acting)
        if level.available < limit:
            watch.since.setdefault(threshold, now)
            watch.held[CONDITION[threshold.signal]] = now
        else:
            watch.since.pop(threshold, None)
    due = [threshold for threshold, since in watch.since.items() if now - since >= threshold.grace]
    watch.acting = set(due)
    return sorted(due, key=lambda threshold: (SIGNALS.index(threshold.signal), threshold.grace))


def pressures(watch: Watch, settings: EvictionSettings, now: float) -> frozenset[str]:
    """The node conditions that hold; one that has passed is reported for a while longer, so that it does not flap."""
    crossed = {CONDITION[threshold.signal] for threshold in watch.since}
    lately = {kind for kind, at in watch.held.items() if now - at < settings.transition}
    return frozenset(crossed | lately)


def rank(signal: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Pods in the order in which they are to go."""
    able = [candidate for candidate in candidates if not candidate.critical]
    if signal == PROCESSES:
        return sorted(able, key=lambda one: (one.priority, -one.used.processes))

    def order(one: Candidate) -> tuple[bool, int, int]:
        excess = one.used.of(signal) - one.requested.of(signal)
        return excess <= 0, one.priority, -excess

    return sorted(able, key=order)


def message(threshold: Threshold, level: Level, victim: Candidate) -> str:
    """What the status of an evicted pod says."""
    resource = RESOURCE[threshold.signal]
    limit = threshold.limit(level)
    text = MESSAGE.format(resource, amount(resource, limit), amount(resource, level.available))
    for name, (used, requested) in victim.containers.items():
        if used.of(threshold.signal) > requested.of(threshold.signal):
            text += CONTAINER_MESSAGE.format(
                name,
                amount(resource, used.of(threshold.signal)),
                amount(resource, requested.of(threshold.signal)),
                resource,
            )
    return text


def amount(resource: str, value: int) -> str:
    """A number of bytes as the largest unit that divides it, anything else plainly."""
    if resource not in ("memory", "ephemeral-storage") or value == 0:
        return str(value)
    units = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
    step = 0
    while value % 1024 == 0 and step < len(units) - 1:
        value //= 1024
        step += 1
    return f"{value}{units[step]}"


def refusal(held: frozenset[str], best_effort: bool, critical: bool, tolerates_memory: bool) -> str:
    """Why a new pod is not taken in while the node is under pressure, "" if it is.

    Memory pressure alone keeps only pods out that promise nothing about their memory.
    """
    if critical or not held:
        return ""
    if held == {"MemoryPressure"} and (not best_effort or tolerates_memory):
        return ""
    return f"The node had condition: [{', '.join(sorted(held))}]. "


def is_disk(threshold: Threshold) -> bool:
    """Whether room on a disk is what is short."""
    return CONDITION[threshold.signal] == "DiskPressure"
