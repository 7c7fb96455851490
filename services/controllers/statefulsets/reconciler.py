"""StatefulSets: gathers pods, revisions and claims of one, and turns the next step into actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.controllers import history
from services.controllers.actions import NOTHING, Action, Key, Moment, Object, Plan, Update, soonest
from services.controllers.claims import Claim, claim, ref_of
from services.controllers.history import REVISIONS
from services.controllers.replicasets import owner_keys
from services.controllers.statefulsets import identity, rollout, volumes
from services.controllers.statefulsets.rollout import Situation
from services.controllers.statefulsets.status import status_of
from services.controllers.view import PODS, View
from shared.events.subjects import Ref
from shared.objects import meta, selectors
from shared.objects.volumebinding import CLAIMS

STATEFULSETS = ("apps", "statefulsets")


class StatefulSets:
    """Reconciles StatefulSets; woken by them, their pods, revisions and claims."""

    name = "statefulset"
    workers = 5

    def keys(self, view: View) -> Iterable[Key]:
        """Every StatefulSet."""
        return [meta.key(statefulset) for statefulset in view.every(*STATEFULSETS)]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """The StatefulSet itself, the controller of a pod or revision, and whose ordinal a pod or claim is named for.

        The name counts because it is what a StatefulSet waits for while somebody else's pod, or a claim that is
        going away, has it.
        """
        if ref[:2] == STATEFULSETS:
            return [(ref.namespace, ref.name)]
        if ref[:2] == CLAIMS:
            every = view.every(*STATEFULSETS, ref.namespace)
            return [meta.key(one) for one in every if volumes.owns_name(one, ref.name)]
        if ref[:2] not in (PODS, REVISIONS):
            return []
        found = owner_keys("StatefulSet", obj, previous, lambda: view.every(*STATEFULSETS, ref.namespace))
        parent = identity.parent(ref.name) if ref[:2] == PODS else ""
        if parent and view.get(*STATEFULSETS, ref.namespace, parent) is not None:
            found.add((ref.namespace, parent))
        return found

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Claim, then settle the history, then report status and take the next step."""
        statefulset = view.get(*STATEFULSETS, *key)
        if statefulset is None:
            return NOTHING
        owned = _claim(statefulset, PODS, view)
        kept = _claim(statefulset, REVISIONS, view)
        if owned.actions or kept.actions:
            return Plan((*owned.actions, *kept.actions))
        name = f"{key[1]}-{history.template_hash(statefulset)}"
        recorded = history.decide(statefulset, STATEFULSETS, kept.mine, view.get(*REVISIONS, key[0], name))
        if recorded.actions and not meta.is_deleting(statefulset):
            return Plan(recorded.actions)
        if recorded.current is None:
            return NOTHING
        situation = _situation(statefulset, owned.mine, kept.mine, recorded.current, view, moment)
        status, waits = status_of(situation)
        step = rollout.advance(situation)
        actions: list[Action] = []
        if status != statefulset.get("status", {}):
            actions.append(Update(ref_of(*STATEFULSETS, statefulset), {**statefulset, "status": status}, "status"))
        actions += step.actions(statefulset)
        if not meta.is_deleting(statefulset):
            live = {identity.revision_of(pod) for pod in owned.mine} | {status["currentRevision"]}
            actions += history.expired(statefulset, kept.mine, lambda one: one["metadata"]["name"] in live)
        return Plan(tuple(actions), soonest(step.again_after, waits))


def _claim(statefulset: Object, what: tuple[str, str], view: View) -> Claim:
    """Like other workloads', but of loose pods only those named for one of the ordinals."""
    loose: Iterable[Object] = view.loose(*what, statefulset["metadata"]["namespace"])
    if what == PODS:
        loose = [pod for pod in loose if identity.ordinal(statefulset, pod) is not None]
    return claim(
        statefulset,
        ref_of(*STATEFULSETS, statefulset),
        selectors.from_label_selector(statefulset["spec"]["selector"]),
        *what,
        view.controlled(statefulset, *what),
        loose,
    )


def _situation(
    statefulset: Object,
    owned: Sequence[Object],
    revisions: Sequence[Object],
    update: Object,
    view: View,
    moment: Moment,
) -> Situation:
    namespace = statefulset["metadata"]["namespace"]
    numbered = ((identity.ordinal(statefulset, pod), pod) for pod in owned)
    members = {number: pod for number, pod in numbered if number is not None}
    before = statefulset.get("status", {}).get("currentRevision", "")
    current = next((one for one in revisions if one["metadata"]["name"] == before), update)
    numbers = sorted({*identity.ordinals(statefulset), *members})
    claims = _claims(statefulset, numbers, view)
    free = (identity.pod_name(statefulset, number) for number in numbers if number not in members)
    occupied = frozenset(name for name in free if view.get(*PODS, namespace, name) is not None)
    return Situation(statefulset, members, current, update, claims, occupied, moment.now)


def _claims(statefulset: Object, numbers: Sequence[int], view: View) -> Mapping[str, Object]:
    namespace = statefulset["metadata"]["namespace"]
    found: dict[str, Object] = {}
    for number in numbers:
        for name in volumes.names(statefulset, number):
            present = view.get(*CLAIMS, namespace, name)
            if present is not None:
                found[name] = present
    return found
