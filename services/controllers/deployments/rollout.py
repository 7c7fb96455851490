"""One step of a Deployment: from its ReplicaSets to the next sizes, the next revision and the status.

Each reconciliation takes one step and leaves the rest to the next one, which the change itself triggers; so the
sequence survives a restart at any point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.controllers import conditions
from services.controllers.actions import (
    Action,
    Create,
    Delete,
    Failure,
    Note,
    Object,
    Patch,
    Plan,
    Update,
)
from services.controllers.claims import ref_of
from services.controllers.deployments import revisions, shares, status
from services.controllers.deployments.shares import DESIRED, desired
from services.controllers.deployments.status import Rollout
from services.controllers.replicasets import REPLICASETS
from shared.objects import meta

DEPLOYMENTS = ("apps", "deployments")


@dataclass(frozen=True, slots=True)
class Situation:
    """A rollout, whether pods of old revisions still run, and who holds the name of the ReplicaSet to be made."""

    rollout: Rollout
    old_pods_run: bool
    occupant: Object | None
    now: float
    failure: Failure | None = None


def decide(situation: Situation) -> Plan:
    """The next step."""
    rollout = situation.rollout
    deployment = rollout.deployment
    if meta.is_deleting(deployment):
        return Plan(_status_update(rollout, _current(rollout), situation.now, judge=False))
    current = status.pause_condition(deployment, _current(rollout), situation.now)
    if deployment["spec"].get("paused") or _was_scaled(rollout):
        actions = _apply_sizes(rollout, _scaled_sizes(rollout))
        if deployment["spec"].get("paused"):
            actions += _forget_history(rollout)
        return Plan((*actions, *_status_update(rollout, current, situation.now, judge=False)))
    if rollout.newest is None and _may_create(situation):
        return _create(situation, current)
    current = _found_condition(rollout, current, situation.now)
    actions = _apply_sizes(rollout, _rolling_sizes(rollout) if shares.is_rolling(deployment) else _recreate(situation))
    if status.is_complete(deployment, status.counts(rollout)):
        actions += _forget_history(rollout)
    update = _status_update(rollout, current, situation.now, judge=True)
    shown = update[0].obj["status"] if update else deployment.get("status", {})
    again_after = status.deadline_in(deployment, shown, situation.now)
    return Plan((*actions, *update, *_revision_patch(rollout)), again_after)


def _current(rollout: Rollout) -> list[Object]:
    return list(rollout.deployment.get("status", {}).get("conditions") or ())


def _was_scaled(rollout: Rollout) -> bool:
    wanted = desired(rollout.deployment)
    noted = (shares.annotated(meta.annotations(item), DESIRED) for item in rollout.everything if desired(item) > 0)
    return any(size is not None and size != wanted for size in noted)


def _scaled_sizes(rollout: Rollout) -> Mapping[str, int]:
    deployment = rollout.deployment
    wanted = desired(deployment)
    active = [replicaset for replicaset in rollout.everything if desired(replicaset) > 0]
    if len(active) <= 1:
        latest = active[0] if active else rollout.newest or max(rollout.old, key=revisions.revision, default=None)
        return {latest["metadata"]["name"]: wanted} if latest is not None else {}
    newest = rollout.newest
    if newest is not None and _is_saturated(deployment, newest):
        return {replicaset["metadata"]["name"]: 0 for replicaset in active if replicaset is not newest}
    return shares.proportional(deployment, active) if shares.is_rolling(deployment) else {}


def _is_saturated(deployment: Object, newest: Object) -> bool:
    wanted = desired(deployment)
    noted = shares.annotated(meta.annotations(newest), DESIRED)
    return desired(newest) == wanted and noted == wanted and shares.available(newest) == wanted


def _rolling_sizes(rollout: Rollout) -> Mapping[str, int]:
    newest = rollout.newest
    if newest is None:
        return {}
    size = shares.new_size(rollout.deployment, rollout.everything, desired(newest))
    if size != desired(newest):
        return {newest["metadata"]["name"]: size}
    return shares.old_sizes(rollout.deployment, newest, rollout.old)


def _recreate(situation: Situation) -> Mapping[str, int]:
    rollout = situation.rollout
    going = {replicaset["metadata"]["name"]: 0 for replicaset in rollout.old if desired(replicaset) > 0}
    if going or situation.old_pods_run or rollout.newest is None:
        return going
    return {rollout.newest["metadata"]["name"]: desired(rollout.deployment)}


def _may_create(situation: Situation) -> bool:
    rollout = situation.rollout
    if shares.is_rolling(rollout.deployment):
        return True
    return not situation.old_pods_run and not any(desired(replicaset) for replicaset in rollout.old)


def _create(situation: Situation, current: list[Object]) -> Plan:
    rollout, now = situation.rollout, situation.now
    deployment = rollout.deployment
    if situation.occupant is not None:
        collisions = deployment.get("status", {}).get("collisionCount", 0) + 1
        changed = {**deployment.get("status", {}), "collisionCount": collisions}
        return Plan((Update(ref_of(*DEPLOYMENTS, deployment), {**deployment, "status": changed}, "status"),))
    size = shares.new_size(deployment, rollout.everything, 0)
    made = revisions.build(deployment, revisions.next_revision(rollout.old), size)
    name = made["metadata"]["name"]
    failed: tuple[Update, ...] = ()
    if situation.failure is not None:
        message = f'Failed to create new replica set "{name}": {situation.failure.message}'
        failure = Failure("ReplicaSetCreateError", message)
        failed = _status_update(rollout, current, now, judge=True, failure=failure)
        if failed:
            return Plan(failed)
    if status.has_deadline(deployment):
        message = f'Created new replica set "{name}"'
        made_condition = status.progress("Progressing", "True", "NewReplicaSetCreated", message, now)
        current = conditions.put(current, made_condition)
    after = replace(rollout, newest=made)
    notes = (Note(deployment, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}"),) if size else ()
    create = Create(ref_of(*REPLICASETS, made), made)
    update = _status_update(after, current, now, judge=False)
    return Plan((create, *notes, *update, *_revision_patch(after)))


def _found_condition(rollout: Rollout, current: list[Object], now: float) -> list[Object]:
    missing = conditions.find(current, "Progressing") is None
    if rollout.newest is None or not missing or not status.has_deadline(rollout.deployment):
        return current
    message = f'Found new replica set "{rollout.newest["metadata"]["name"]}"'
    return conditions.put(current, status.progress("Progressing", "True", "FoundNewReplicaSet", message, now))


def _apply_sizes(rollout: Rollout, sizes: Mapping[str, int]) -> list[Action]:
    """Patches for new sizes, and for the annotations and minReadySeconds of the newest ReplicaSet."""
    actions: list[Action] = []
    deployment = rollout.deployment
    number = revisions.next_revision(rollout.old)
    for replicaset in rollout.everything:
        name = replicaset["metadata"]["name"]
        before, size = desired(replicaset), sizes.get(name, desired(replicaset))
        annotations = meta.annotations(replicaset)
        wanted = dict(annotations)
        spec: Object = {}
        if replicaset is rollout.newest and not deployment["spec"].get("paused"):
            wanted = revisions.new_annotations(deployment, replicaset, number)
            ready_seconds = deployment["spec"].get("minReadySeconds", 0)
            if replicaset["spec"].get("minReadySeconds", 0) != ready_seconds:
                spec["minReadySeconds"] = ready_seconds
        if name in sizes and (size != before or replicaset is rollout.newest or before > 0):
            wanted |= revisions.size_annotations(deployment)
        if size != before:
            spec["replicas"] = size
            verb = "up" if size > before else "down"
            text = f"Scaled {verb} replica set {name} from {before} to {size}"
            actions.append(Note(deployment, "ScalingReplicaSet", text))
        if spec or wanted != annotations:
            changed = {key: value for key, value in wanted.items() if annotations.get(key) != value}
            body: Object = {"metadata": {"uid": replicaset["metadata"]["uid"], "annotations": changed}, "spec": spec}
            actions.append(Patch(ref_of(*REPLICASETS, replicaset), body))
    return sorted(actions, key=lambda action: isinstance(action, Note))


def _forget_history(rollout: Rollout) -> list[Action]:
    return [
        Delete(ref_of(*REPLICASETS, replicaset), uid=replicaset["metadata"]["uid"])
        for replicaset in revisions.expired(rollout.deployment, rollout.old)
    ]


def _status_update(
    rollout: Rollout, current: list[Object], now: float, *, judge: bool, failure: Failure | None = None
) -> tuple[Update, ...]:
    deployment = rollout.deployment
    if judge:
        wanted = status.status_of(rollout, current, now, failure)
    else:
        wanted = status.counts(rollout)
        wanted["conditions"] = conditions.put(current, status.availability(rollout, now))
    if wanted == deployment.get("status", {}):
        return ()
    return (Update(ref_of(*DEPLOYMENTS, deployment), {**deployment, "status": wanted}, "status"),)


def _revision_patch(rollout: Rollout) -> tuple[Patch, ...]:
    deployment = rollout.deployment
    if rollout.newest is None:
        return ()
    number = max(revisions.revision(rollout.newest), revisions.next_revision(rollout.old))
    if meta.annotations(deployment).get(shares.REVISION) == str(number):
        return ()
    body = {
        "metadata": {"uid": deployment["metadata"]["uid"], "annotations": {shares.REVISION: str(number)}},
    }
    return (Patch(ref_of(*DEPLOYMENTS, deployment), body),)
