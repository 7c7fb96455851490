"""ControllerRevisions: the templates a DaemonSet had, as `kubectl rollout history` and `undo` read them.

The data of a revision is the strategic merge patch that brings the template back, which is what undo sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.controllers.actions import Action, Create, Delete, Object, Patch, Update
from services.controllers.claims import ref_of
from shared.objects import meta

REVISIONS = ("apps", "controllerrevisions")
HASH_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class History:
    """The hash of the current template ("" until its revision exists) and what to do to the revisions."""

    current_hash: str
    actions: tuple[Action, ...]


def data_of(daemonset: Object) -> Object:
    """The patch that restores the DaemonSet's present template."""
    return {"spec": {"template": {**daemonset["spec"]["template"], "$patch": "replace"}}}


def decide(daemonset: Object, revisions: Sequence[Object], occupant: Object | None) -> History:
    """Find the revision of the current template or ask for it; a template that returns moves to the top.

    `occupant` is a foreign object that already has the name the new revision would get.
    """
    data = data_of(daemonset)
    newest = max((revision.get("revision", 0) for revision in revisions), default=0)
    same = sorted((one for one in revisions if one.get("data") == data), key=lambda one: one.get("revision", 0))
    if same:
        current = same[-1]
        found = meta.labels(current).get(HASH_LABEL, "")
        if current.get("revision", 0) < newest:
            raised = {"metadata": {"uid": current["metadata"]["uid"]}, "revision": newest + 1}
            return History(found, (Patch(ref_of(*REVISIONS, current), raised),))
        return History(found, ())
    if occupant is not None:
        status = daemonset.get("status", {})
        changed = {**status, "collisionCount": status.get("collisionCount", 0) + 1}
        return History(
            "", (Update(ref_of("apps", "daemonsets", daemonset), {**daemonset, "status": changed}, "status"),)
        )
    made = build(daemonset, newest + 1)
    return History("", (Create(ref_of(*REVISIONS, made), made),))


def build(daemonset: Object, number: int) -> Object:
    """The ControllerRevision of the current template."""
    digest = template_hash(daemonset)
    template_labels = (daemonset["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{daemonset['metadata']['name']}-{digest}",
            "namespace": daemonset["metadata"]["namespace"],
            "labels": {**template_labels, HASH_LABEL: digest},
            "annotations": dict(meta.annotations(daemonset)),
            "ownerReferences": [meta.owner_reference(daemonset)],
        },
        "data": meta.copy(data_of(daemonset)),
        "revision": number,
    }


def template_hash(daemonset: Object) -> str:
    """The hash that names the revision of the current template."""
    collisions = daemonset.get("status", {}).get("collisionCount", 0)
    return meta.hash_template(data_of(daemonset), collisions)


def expired(daemonset: Object, revisions: Iterable[Object], owned_pods: Iterable[Object]) -> list[Delete]:
    """Deletions of the oldest revisions beyond revisionHistoryLimit that no pod uses and that are not current."""
    used = {meta.labels(pod).get(HASH_LABEL) for pod in owned_pods}
    data = data_of(daemonset)
    idle = [
        revision
        for revision in sorted(revisions, key=lambda one: one.get("revision", 0))
        if meta.labels(revision).get(HASH_LABEL) not in used and revision.get("data") != data
    ]
    surplus = len(idle) - daemonset["spec"].get("revisionHistoryLimit", 10)
    doomed = idle[: max(0, surplus)]
    return [Delete(ref_of(*REVISIONS, revision), uid=revision["metadata"]["uid"]) for revision in doomed]
