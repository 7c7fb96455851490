"""PodDisruptionBudgets: how many of an application's pods may be evicted right now.

The API server refuses an eviction when status.disruptionsAllowed is zero and counts down on each one it grants; here
that number is set anew from the pods. A budget that cannot be computed allows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.controllers import conditions, instants
from services.controllers.actions import NOTHING, Action, Key, Moment, Note, Object, Plan, Update, soonest
from services.controllers.claims import ref_of
from services.controllers.paths import of_kind
from services.controllers.percentages import scaled
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta, selectors

BUDGETS = ("policy", "poddisruptionbudgets")
SCALABLE = (
    ("", "replicationcontrollers"),
    ("apps", "replicasets"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
)
"""Controllers that say how many pods there should be."""
EVICTION_LIMIT = 120.0
"""Seconds in which a pod whose eviction was granted counts as gone; after them the eviction has failed."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How many pods there should be, or why that is not known; `loose` are pods that nobody manages."""

    pods: int = 0
    loose: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """A budget, the pods it selects, and how many the pods' controllers want."""

    budget: Object
    pods: Sequence[Object]
    scale: Expected
    now: float


def decide(situation: Situation) -> Plan:
    """Bring the status up to date; again when a granted eviction runs out of time."""
    budget = situation.budget
    disrupted, notes, again_after = _disrupted(situation)
    status = _status(situation, disrupted)
    if status == budget.get("status", {}):
        return Plan((), again_after)
    actions: list[Action] = [Update(ref_of(*BUDGETS, budget), {**budget, "status": status}, "status"), *notes]
    if not situation.pods:
        actions.append(Note(budget, "NoPods", "No matching pods found"))
    if situation.scale.failure and needs_scale(budget):
        actions.append(Note(budget, "CalculateExpectedPodCountFailed", _failure(situation.scale), "Warning"))
    elif situation.scale.loose and needs_scale(budget):
        text = "Pods selected by this PodDisruptionBudget were found to be unmanaged, its status may be wrong: "
        actions.append(Note(budget, "UnmanagedPods", text + ", ".join(situation.scale.loose), "Warning"))
    return Plan(tuple(actions), again_after)


def needs_scale(budget: Object) -> bool:
    """Whether the budget is relative to the number of pods that there should be."""
    spec = budget["spec"]
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def demands(situation: Situation) -> tuple[int, int]:
    """(expected pods, healthy pods that evictions have to leave); percentages are rounded up."""
    spec = situation.budget["spec"]
    expected = situation.scale.pods if needs_scale(situation.budget) else len(situation.pods)
    if spec.get("maxUnavailable") is not None:
        return expected, max(0, expected - scaled(spec["maxUnavailable"], expected, round_up=True))
    return expected, scaled(spec.get("minAvailable", 0), expected, round_up=True)


def _status(situation: Situation, disrupted: Object) -> Object:
    budget = situation.budget
    failed = bool(situation.scale.failure) and needs_scale(budget)
    old = budget.get("status", {})
    generation = budget["metadata"].get("generation", 0)
    if failed:
        counts = {name: old.get(name, 0) for name in ("currentHealthy", "desiredHealthy", "expectedPods")}
        allowed = 0
    else:
        expected, desired = demands(situation)
        healthy = sum(
            meta.pod_ready(pod) and not meta.is_deleting(pod) and pod["metadata"]["name"] not in disrupted
            for pod in situation.pods
        )
        counts = {"currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected}
        allowed = max(0, healthy - desired) if expected > 0 else 0
    reason = "SyncFailed" if failed else "SufficientPods" if allowed else "InsufficientPods"
    condition = conditions.make(
        "DisruptionAllowed",
        str(allowed > 0),
        reason,
        _failure(situation.scale) if failed else "",
        situation.now,
        observedGeneration=generation,
    )
    status: Object = {"observedGeneration": generation, "disruptionsAllowed": allowed, **counts}
    if disrupted:
        status["disruptedPods"] = disrupted
    status["conditions"] = conditions.replace(list(old.get("conditions") or ()), condition)
    return status


def _disrupted(situation: Situation) -> tuple[Object, list[Note], float | None]:
    """Granted evictions that still have to happen, complaints about those that did not, and when the next one ends."""
    granted = situation.budget.get("status", {}).get("disruptedPods") or {}
    kept: Object = {}
    notes: list[Note] = []
    again_after: float | None = None
    namespace, name = meta.key(situation.budget)
    for pod in situation.pods:
        since = granted.get(pod["metadata"]["name"])
        if since is None or meta.is_deleting(pod):
            continue
        left = instants.remaining(since, EVICTION_LIMIT, situation.now)
        if left <= 0:
            text = f"Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't"
            notes.append(Note(pod, "NotDeleted", text, "Warning"))
            continue
        kept[pod["metadata"]["name"]] = since
        again_after = soonest(again_after, left)
    return kept, notes, again_after


def _failure(scale: Expected) -> str:
    return f"Failed to calculate the number of expected pods: {scale.failure}"


class DisruptionBudgets:
    """Gathers a budget's pods and what their controllers want."""

    name = "disruption"
    workers = 2

    def keys(self, view: View) -> Iterable[Key]:
        """Every PodDisruptionBudget."""
        return [meta.key(budget) for budget in view.every(*BUDGETS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The budget itself, those that select a pod, all of a namespace when a controller there changes its size."""
        if ref[:2] == BUDGETS:
            return [(ref.namespace, ref.name)]
        if ref[:2] == PODS and _share(obj) != _share(previous):
            versions = [meta.labels(version) for version in (obj, previous) if version is not None]
            budgets = view.every(*BUDGETS, ref.namespace)
            return [meta.key(budget) for budget in budgets if any(_selects(budget, labels) for labels in versions)]
        if ref[:2] in SCALABLE and _size(obj) != _size(previous):
            return [meta.key(budget) for budget in view.every(*BUDGETS, ref.namespace)]
        return []

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """The status of one."""
        budget = view.get(*BUDGETS, *key)
        if budget is None or meta.is_deleting(budget):
            return NOTHING
        selected = [pod for pod in view.every(*PODS, key[0]) if _selects(budget, meta.labels(pod))]
        return decide(Situation(budget, selected, expected(selected, view), moment.now))


def expected(pods: Iterable[Object], view: View) -> Expected:
    """The sum of what the controllers of these pods want; that of a Deployment counts, not of its ReplicaSets."""
    sizes: dict[str, int] = {}
    loose: list[str] = []
    for pod in pods:
        reference = meta.controller_of(pod)
        if reference is None:
            loose.append(pod["metadata"]["name"])
            continue
        found = _top(pod, view)
        if found is None:
            return Expected(failure=f'found no controllers for pod "{pod["metadata"]["name"]}"')
        ref, owner = found
        if ref[:2] not in SCALABLE:
            group = f".{ref.group}" if ref.group else ""
            return Expected(failure=f"{ref.resource}{group} does not implement the scale subresource")
        sizes[owner["metadata"]["uid"]] = int(owner["spec"].get("replicas", 1))
    return Expected(sum(sizes.values()), tuple(loose))


def _top(pod: Object, view: View) -> tuple[Ref, Object] | None:
    """The controller of a pod; of a ReplicaSet that a Deployment manages, the Deployment."""
    found = _controller(pod, view)
    if found is None or found[0][:2] != ("apps", "replicasets"):
        return found
    above = _controller(found[1], view)
    return above if above is not None and above[0][:2] == ("apps", "deployments") else found


def _controller(obj: Object, view: View) -> tuple[Ref, Object] | None:
    reference = meta.controller_of(obj)
    if reference is None:
        return None
    group, _, version = reference["apiVersion"].rpartition("/")
    resource = of_kind(group, version, reference["kind"])
    if resource is None:
        return None
    ref = Ref(resource.group, resource.plural, obj["metadata"]["namespace"], reference["name"])
    owner = view.at(ref)
    return (ref, owner) if owner is not None and owner["metadata"]["uid"] == reference["uid"] else None


def _selects(budget: Object, labels: dict[str, str]) -> bool:
    """An empty selector selects every pod of the namespace, a missing one none."""
    selector = budget["spec"].get("selector")
    return selector is not None and selectors.from_label_selector(selector).matches(labels)


def _size(owner: Object | None) -> object:
    return None if owner is None else (owner["metadata"].get("uid"), owner["spec"].get("replicas"))


def _share(pod: Object | None) -> object:
    """All of a pod that budgets look at."""
    if pod is None:
        return None
    return meta.uid(pod), meta.labels(pod), meta.is_deleting(pod), meta.pod_ready(pod), meta.controller_of(pod)
