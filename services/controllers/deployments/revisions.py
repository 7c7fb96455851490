"""The ReplicaSets of a Deployment as its history: which one is current, how they are named, numbered and forgotten.

`kubectl rollout history` and `undo` read exactly these annotations and templates; undo is a patch of the template,
after which the old ReplicaSet is recognised by template and takes the next revision number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.controllers import instants
from services.controllers.actions import Object
from services.controllers.deployments.shares import (
    DESIRED,
    MAXIMUM,
    REVISION,
    REVISION_HISTORY,
    annotated,
    desired,
    fenceposts,
)
from shared.objects import meta

HASH_LABEL = "pod-template-hash"
HISTORY_LIMIT = 2000
"""Most characters kept in the revision-history annotation."""

_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.rollbackTo",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAXIMUM,
    }
)


def same_template(one: Object, other: Object) -> bool:
    """Whether two pod templates agree, the pod-template-hash label aside."""
    return _without_hash(one) == _without_hash(other)


def current(deployment: Object, replicasets: Iterable[Object]) -> Object | None:
    """The oldest ReplicaSet with the Deployment's template, None before it is made."""
    template = deployment["spec"]["template"]
    for replicaset in sorted(replicasets, key=_created):
        if same_template(replicaset["spec"]["template"], template):
            return replicaset
    return None


def revision(obj: Object) -> int:
    """The revision number of a ReplicaSet, 0 if it has none."""
    return annotated(meta.annotations(obj), REVISION) or 0


def next_revision(old: Iterable[Object]) -> int:
    """One more than the highest revision among old ReplicaSets."""
    return 1 + max((revision(replicaset) for replicaset in old), default=0)


def build(deployment: Object, number: int, replicas: int) -> Object:
    """The ReplicaSet for the Deployment's template, with `number` as its revision."""
    spec, metadata = deployment["spec"], deployment["metadata"]
    template = meta.copy(spec["template"])
    digest = meta.hash_template(template, deployment.get("status", {}).get("collisionCount") or 0)
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = digest
    selector = meta.copy(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
    replicaset: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{digest}",
            "namespace": metadata["namespace"],
            "labels": dict(template["metadata"]["labels"]),
            "annotations": {},
            "ownerReferences": [meta.owner_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            "selector": selector,
            "template": template,
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
        },
    }
    replicaset["metadata"]["annotations"] = new_annotations(deployment, replicaset, number, fresh=True)
    return replicaset


def new_annotations(deployment: Object, replicaset: Object, number: int, *, fresh: bool = False) -> dict[str, str]:
    """The annotations that the current ReplicaSet should have.

    A ReplicaSet that becomes current again remembers the revisions it had before, as rollback histories need.
    """
    annotations = dict(meta.annotations(replicaset))
    annotations |= {key: value for key, value in meta.annotations(deployment).items() if key not in _NOT_COPIED}
    had = annotations.get(REVISION)
    if revision(replicaset) < number:
        annotations[REVISION] = str(number)
        if had and not fresh:
            annotations[REVISION_HISTORY] = _append(annotations.get(REVISION_HISTORY, ""), had)
    if fresh:
        annotations |= size_annotations(deployment)
    return annotations


def size_annotations(deployment: Object) -> dict[str, str]:
    """What a ReplicaSet notes about the Deployment's size, for proportional scaling later."""
    replicas = desired(deployment)
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + fenceposts(deployment)[0])}


def resized(deployment: Object, replicaset: Object, size: int) -> Object | None:
    """The ReplicaSet at a new size with up-to-date size annotations, None if that changes nothing."""
    wanted = size_annotations(deployment)
    annotations = meta.annotations(replicaset)
    if desired(replicaset) == size and wanted.items() <= annotations.items():
        return None
    changed: Object = meta.copy(replicaset)
    changed["spec"]["replicas"] = size
    changed["metadata"]["annotations"] = {**annotations, **wanted}
    return changed


def expired(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old, empty, settled ReplicaSets beyond revisionHistoryLimit, lowest revisions first."""
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    alive = sorted((replicaset for replicaset in old if not meta.is_deleting(replicaset)), key=revision)
    return [replicaset for replicaset in alive[: max(0, len(alive) - limit)] if _settled_empty(replicaset)]


def _settled_empty(replicaset: Object) -> bool:
    status = replicaset.get("status", {})
    seen = status.get("observedGeneration", 0) >= replicaset["metadata"].get("generation", 0)
    return desired(replicaset) == 0 and status.get("replicas", 0) == 0 and seen


def _append(history: str, number: str) -> str:
    entries = [*(entry for entry in history.split(",") if entry), number]
    while len(entries) > 1 and len(",".join(entries)) > HISTORY_LIMIT:
        entries.pop(0)
    return ",".join(entries)


def _without_hash(template: Object) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != HASH_LABEL}
    metadata.pop("creationTimestamp", None)
    return {**template, "metadata": {**metadata, "labels": labels}}


def _created(replicaset: Object) -> tuple[float, str]:
    metadata = replicaset["metadata"]
    return instants.seconds(metadata.get("creationTimestamp")), metadata["name"]
