"""One step of a StatefulSet: which ordinals get a pod, which pods go, and what waits for what.

OrderedReady makes every step wait until all lower ordinals are available; Parallel only keeps to the budget of an
update. The order of concerns is Kubernetes': first every wanted ordinal gets its pod, then surplus pods go from the
highest ordinal down, then outdated ones are replaced in the same direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.controllers import instants, pods
from services.controllers.actions import Action, Create, Note, Object, Patch, Together, soonest
from services.controllers.claims import ref_of
from services.controllers.history import template_of
from services.controllers.percentages import scaled
from services.controllers.pods import FAILED_POD_PAUSE
from services.controllers.replicasets import BURST, deletion
from services.controllers.statefulsets import identity, volumes
from services.controllers.view import PODS
from shared.objects import meta
from shared.objects.volumebinding import CLAIMS


@dataclass(frozen=True, slots=True)
class Situation:
    """A StatefulSet with all that its next step depends on.

    `current` and `update` are ControllerRevisions: what a rolling update leaves, and where it goes. `claims` are the
    PersistentVolumeClaims of its ordinals by name, `occupied` the names among its pods' that foreign pods have.
    """

    statefulset: Object
    members: Mapping[int, Object]
    current: Object
    update: Object
    claims: Mapping[str, Object]
    occupied: frozenset[str]
    now: float


@dataclass(slots=True)
class Step:
    """What to do, by kind, and in how many seconds to look again."""

    notes: list[Note] = field(default_factory=list)
    repairs: list[Patch] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    create: list[Object] = field(default_factory=list)
    again_after: float | None = None

    def actions(self, statefulset: Object) -> list[Action]:
        """The step in an order that any crash may cut short: owners of claims before deletions, claims before pods."""
        found: list[Action] = [*self.notes, *self.repairs]
        if self.delete:
            found.append(Together(tuple(deletion(pod, statefulset) for pod in self.delete[:BURST])))
        if self.claims:
            made = (Create(ref_of(*CLAIMS, claim), claim, statefulset, "fine") for claim in self.claims)
            found.append(Together(tuple(made), slow_start=True))
        if self.create:
            creations = (Create(ref_of(*PODS, pod), pod, statefulset) for pod in self.create[:BURST])
            found.append(Together(tuple(creations), slow_start=True))
        return found


def advance(situation: Situation) -> Step:
    """The next step; none for a StatefulSet that is going away."""
    step = Step()
    statefulset = situation.statefulset
    if meta.is_deleting(statefulset):
        return step
    ordered = statefulset["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    for number in identity.ordinals(statefulset):
        settled = _tend(situation, number, step)
        if ordered and not settled:
            return step
    waits = _scale_down(situation, ordered, step)
    if not waits and is_rolling(statefulset):
        _update(situation, step)
    return step


def is_ready(pod: Object) -> bool:
    """Whether the pod is running and ready."""
    return meta.pod_phase(pod) == "Running" and meta.pod_ready(pod)


def is_available(situation: Situation, pod: Object) -> bool:
    """Whether the pod has been ready for minReadySeconds; a pod that is being deleted may still be."""
    min_ready = int(situation.statefulset["spec"].get("minReadySeconds", 0))
    return is_ready(pod) and pods.is_available(pod, min_ready, situation.now)


def partition(statefulset: Object) -> int:
    """How many ordinals, counted from the lowest, a rolling update leaves at the current revision."""
    return int(_rolling(statefulset).get("partition") or 0)


def max_unavailable(statefulset: Object) -> int:
    """How many pods a rolling update may take down at the same time, at least 1."""
    value = _rolling(statefulset).get("maxUnavailable") or 1
    return max(1, scaled(value, len(identity.ordinals(statefulset)), round_up=False))


def _tend(situation: Situation, number: int, step: Step) -> bool:
    """Give an ordinal its pod and the pod its due; whether higher ordinals may go on in order."""
    statefulset = situation.statefulset
    pod = situation.members.get(number)
    if pod is None:
        _make(situation, number, step)
        return False
    if meta.is_deleting(pod):
        return False
    if meta.pod_finished(pod):
        _replace_finished(situation, pod, step)
        return False
    if meta.pod_phase(pod) == "Pending":
        step.claims += volumes.missing(statefulset, number, situation.claims)
    repair = identity.repair(pod, number)
    if repair is not None:
        step.repairs.append(repair)
    step.repairs += _handovers(situation, pod, number, condemned=False)
    return is_available(situation, pod)


def _make(situation: Situation, number: int, step: Step) -> None:
    statefulset = situation.statefulset
    name = identity.pod_name(statefulset, number)
    if name in situation.occupied:
        text = f'create Pod {name} in StatefulSet {statefulset["metadata"]["name"]} failed error: pods "{name}" exists'
        step.notes.append(Note(statefulset, "FailedCreate", text, "Warning"))
        return
    present = [situation.claims[one] for one in volumes.names(statefulset, number) if one in situation.claims]
    if any(volumes.is_leaving(claim, name) for claim in present):
        return
    lagging = number < identity.ordinals(statefulset).start + partition(statefulset)
    revision = situation.current if lagging and is_rolling(statefulset) else situation.update
    step.claims += volumes.missing(statefulset, number, situation.claims)
    step.create.append(identity.build(statefulset, template_of(revision), number, revision["metadata"]["name"]))


def _replace_finished(situation: Situation, pod: Object, step: Step) -> None:
    metadata = pod["metadata"]
    failed = meta.pod_phase(pod) == "Failed"
    pause = instants.remaining(metadata.get("creationTimestamp"), FAILED_POD_PAUSE, situation.now)
    if failed and pause > 0:
        step.again_after = soonest(step.again_after, pause)
        return
    namespace, name = meta.key(situation.statefulset)
    reason, word = ("RecreatingFailedPod", "failed") if failed else ("RecreatingTerminatedPod", "terminated")
    text = f"StatefulSet {namespace}/{name} is recreating {word} Pod {metadata['name']}"
    step.notes.append(Note(situation.statefulset, reason, text, "Warning" if failed else "Normal"))
    step.delete.append(pod)


def _handovers(situation: Situation, pod: Object, number: int, *, condemned: bool) -> list[Patch]:
    names = volumes.names(situation.statefulset, number)
    claims = [situation.claims[name] for name in names if name in situation.claims]
    changes = (volumes.handover(situation.statefulset, pod, claim, condemned=condemned) for claim in claims)
    return [change for change in changes if change is not None]


def _scale_down(situation: Situation, ordered: bool, step: Step) -> bool:
    """Take surplus pods away from the highest ordinal down; whether an ordered one keeps the rest waiting."""
    wanted = identity.ordinals(situation.statefulset)
    surplus = sorted((number for number in situation.members if number not in wanted), reverse=True)
    for number in surplus:
        pod = situation.members[number]
        if not meta.is_deleting(pod):
            step.repairs += _handovers(situation, pod, number, condemned=True)
    waiting = _first_unavailable(situation, surplus)
    for number in surplus:
        pod = situation.members[number]
        if meta.is_deleting(pod):
            if ordered:
                return True
            continue
        if ordered and not is_available(situation, pod) and number != waiting:
            return True
        step.delete.append(pod)
        if ordered:
            return True
    return False


def _first_unavailable(situation: Situation, surplus: Sequence[int]) -> int | None:
    """The ordinal whose pod is the first to be missed: one that is wanted, else the lowest one that is not."""
    numbers: list[int] = [*identity.ordinals(situation.statefulset), *reversed(surplus)]
    for number in numbers:
        pod = situation.members.get(number)
        if pod is None or meta.is_deleting(pod) or not is_available(situation, pod):
            return number
    return None


def _update(situation: Situation, step: Step) -> None:
    """Replace outdated pods from the highest ordinal down, within maxUnavailable.

    An outdated pod that is down already is replaced without regard to those above it, for nothing is lost by it and
    a broken revision could not be left otherwise; replacements under way are never more than maxUnavailable.
    """
    statefulset = situation.statefulset
    wanted = identity.ordinals(statefulset)
    target = situation.update["metadata"]["name"]
    going = {pod["metadata"]["uid"] for pod in step.delete}
    limit = max_unavailable(statefulset)
    down = changing = 0
    candidates: list[tuple[Object, bool]] = []
    for number in reversed(wanted):
        pod = situation.members.get(number)
        leaves = pod is None or meta.is_deleting(pod) or pod["metadata"]["uid"] in going
        works = pod is not None and not leaves and is_available(situation, pod)
        outdated = pod is not None and identity.revision_of(pod) != target
        down += not works
        changing += not works and (leaves or not outdated)
        if pod is not None and outdated and not leaves and number >= wanted.start + partition(statefulset):
            candidates.append((pod, works))
    for pod, works in candidates:
        if changing >= limit:
            return
        if works and down >= limit:
            continue
        step.delete.append(pod)
        changing += 1
        down += works


def is_rolling(statefulset: Object) -> bool:
    """Whether outdated pods are replaced without being asked."""
    return bool(statefulset["spec"].get("updateStrategy", {}).get("type", "RollingUpdate") == "RollingUpdate")


def _rolling(statefulset: Object) -> Object:
    found: Object = statefulset["spec"].get("updateStrategy", {}).get("rollingUpdate") or {}
    return found
