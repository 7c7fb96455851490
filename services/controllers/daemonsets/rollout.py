"""One step of a DaemonSet: which pods to make and which to remove so that every eligible node runs the current one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.controllers import instants, pods
from services.controllers.actions import Action, Note, Object, soonest
from services.controllers.daemonsets.nodes import Place
from services.controllers.history import HASH_LABEL
from services.controllers.percentages import scaled
from services.controllers.pods import FAILED_POD_PAUSE
from shared.objects import meta


@dataclass(frozen=True, slots=True)
class Situation:
    """A DaemonSet, how it fits every node, and its pods by node (node names without a Node included)."""

    daemonset: Object
    places: Mapping[str, Place]
    on_node: Mapping[str, Sequence[Object]]
    current_hash: str
    now: float


@dataclass(slots=True)
class Step:
    """Nodes that need a pod, pods that have to go, notes, and when to look again."""

    create_on: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    notes: list[Action] = field(default_factory=list)
    again_after: float | None = None


def budget(daemonset: Object, nodes: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods for `nodes` wanted daemon pods; one of them is at least 1."""
    rolling = daemonset["spec"].get("updateStrategy", {}).get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", 0), nodes, round_up=True)
    unavailable = scaled(rolling.get("maxUnavailable", 1), nodes, round_up=True)
    return surge, unavailable or (0 if surge else 1)


def place_pods(situation: Situation) -> Step:
    """Make missing pods; remove those on nodes they may not be on, finished ones and duplicates."""
    step = Step()
    surging = is_rolling(situation.daemonset) and budget(situation.daemonset, _wanted(situation))[0] > 0
    for node in sorted({*situation.places, *situation.on_node}):
        here = [pod for pod in situation.on_node.get(node, ()) if not meta.is_deleting(pod)]
        where = situation.places.get(node, Place(False, False))
        if not where.may_stay:
            step.delete += here
            continue
        _replace_finished(situation, node, here, step)
        running = sorted((pod for pod in here if not meta.pod_finished(pod)), key=_seniority)
        if where.wanted and not situation.on_node.get(node):
            step.create_on.append(node)
        elif surging:
            current = [pod for pod in running if is_current(pod, situation.current_hash)]
            outdated = [pod for pod in running if not is_current(pod, situation.current_hash)]
            step.delete += current[1:] + outdated[1:]
        else:
            step.delete += running[1:]
    return step


def update(situation: Situation, step: Step) -> None:
    """Replace outdated pods within the budget (RollingUpdate); unavailable outdated pods go without counting."""
    if not is_rolling(situation.daemonset):
        return
    surge, unavailable = budget(situation.daemonset, _wanted(situation))
    going = {pod["metadata"]["uid"] for pod in step.delete}
    if surge > 0:
        _surge(situation, step, going, surge)
    else:
        _in_place(situation, step, going, unavailable)


def _in_place(situation: Situation, step: Step, going: set[str], limit: int) -> None:
    down = 0
    broken: list[Object] = []
    working: list[Object] = []
    for node in sorted(situation.on_node.keys() | situation.places.keys()):
        if not situation.places.get(node, Place(False, False)).wanted:
            continue
        alive = [
            pod
            for pod in situation.on_node.get(node, ())
            if meta.pod_active(pod) and pod["metadata"]["uid"] not in going
        ]
        outdated = [pod for pod in alive if not is_current(pod, situation.current_hash)]
        if not any(_available(situation, pod) for pod in alive):
            down += 1
            broken += outdated
        else:
            working += outdated
    step.delete += broken + working[: max(0, limit - down)]


def _surge(situation: Situation, step: Step, going: set[str], limit: int) -> None:
    surging = 0
    candidates: list[str] = []
    for node in sorted(situation.on_node):
        alive = [pod for pod in situation.on_node[node] if meta.pod_active(pod) and pod["metadata"]["uid"] not in going]
        current = [pod for pod in alive if is_current(pod, situation.current_hash)]
        outdated = [pod for pod in alive if not is_current(pod, situation.current_hash)]
        if current and outdated:
            if _available(situation, current[0]):
                step.delete += outdated
            else:
                surging += 1
        elif outdated and situation.places.get(node, Place(False, False)).wanted:
            if _available(situation, outdated[0]):
                candidates.append(node)
            else:
                step.create_on.append(node)
    step.create_on += candidates[: max(0, limit - surging)]


def is_rolling(daemonset: Object) -> bool:
    """Whether outdated pods are replaced without being asked."""
    return bool(daemonset["spec"].get("updateStrategy", {}).get("type", "RollingUpdate") == "RollingUpdate")


def is_current(pod: Object, current_hash: str) -> bool:
    """Whether the pod was made from the current template."""
    return bool(current_hash) and meta.labels(pod).get(HASH_LABEL) == current_hash


def status_of(situation: Situation) -> tuple[Object, float | None]:
    """The status, and in how many seconds a ready pod becomes available."""
    daemonset = situation.daemonset
    numbers = dict.fromkeys(
        ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"), 0
    )
    updated = available = 0
    waits: list[float | None] = []
    for node, where in situation.places.items():
        here = [pod for pod in situation.on_node.get(node, ()) if not meta.is_deleting(pod)]
        if not where.wanted:
            numbers["numberMisscheduled"] += bool(here)
            continue
        numbers["desiredNumberScheduled"] += 1
        if not here:
            continue
        numbers["currentNumberScheduled"] += 1
        ready = [pod for pod in here if meta.pod_ready(pod)]
        numbers["numberReady"] += bool(ready)
        available += any(_available(situation, pod) for pod in ready)
        waits += [pods.available_after(pod, _min_ready(daemonset), situation.now) for pod in ready]
        updated += any(is_current(pod, situation.current_hash) for pod in here)
    status: Object = {**numbers, "observedGeneration": daemonset["metadata"].get("generation", 0)}
    optional = {
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": numbers["desiredNumberScheduled"] - available,
    }
    status |= {name: number for name, number in optional.items() if number}
    old = daemonset.get("status", {})
    status |= {name: old[name] for name in ("collisionCount", "conditions") if old.get(name)}
    return status, soonest(*(wait for wait in waits if wait))


def _replace_finished(situation: Situation, node: str, here: Sequence[Object], step: Step) -> None:
    for pod in here:
        if not meta.pod_finished(pod):
            continue
        metadata = pod["metadata"]
        pause = instants.remaining(metadata.get("creationTimestamp"), FAILED_POD_PAUSE, situation.now)
        if meta.pod_phase(pod) == "Failed" and pause > 0:
            step.again_after = soonest(step.again_after, pause)
            continue
        word = meta.pod_phase(pod).lower()
        reason = "FailedDaemonPod" if word == "failed" else "SucceededDaemonPod"
        text = f"Found {word} daemon pod {metadata['namespace']}/{metadata['name']} on node {node}, will try to kill it"
        step.notes.append(Note(situation.daemonset, reason, text, "Warning" if word == "failed" else "Normal"))
        step.delete.append(pod)


def _available(situation: Situation, pod: Object) -> bool:
    return pods.is_available(pod, _min_ready(situation.daemonset), situation.now)


def _min_ready(daemonset: Object) -> int:
    return int(daemonset["spec"].get("minReadySeconds", 0))


def _wanted(situation: Situation) -> int:
    return sum(where.wanted for where in situation.places.values())


def _seniority(pod: Object) -> tuple[bool, float, str]:
    metadata = pod["metadata"]
    return (
        not pod["spec"].get("nodeName"),
        instants.seconds(metadata.get("creationTimestamp")),
        metadata["name"],
    )
