"""ControllerRevisions: the templates a DaemonSet or StatefulSet had, as `kubectl rollout history` and `undo` read them.

The data of a revision is the strategic merge patch that brings the template back, which is what undo sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.controllers.actions import Action, Create, Delete, Object, Patch, Update
from services.controllers.claims import ref_of
from shared.objects import meta

REVISIONS = ("apps", "controllerrevisions")
HASH_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class History:
    """The revision of the current template (None until it exists) and what to do to the revisions."""

    current: Object | None
    actions: tuple[Action, ...]

    @property
    def current_hash(self) -> str:
        """The hash of the current template, "" until its revision exists."""
        return "" if self.current is None else meta.labels(self.current).get(HASH_LABEL, "")


def data_of(owner: Object) -> Object:
    """The patch that restores the owner's present template."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_of(revision: Object) -> Object:
    """The pod template that a revision recorded."""
    template = revision["data"]["spec"]["template"]
    return {name: value for name, value in template.items() if name != "$patch"}


def decide(owner: Object, resource: tuple[str, str], revisions: Sequence[Object], occupant: Object | None) -> History:
    """Find the revision of the current template or ask for it; a template that returns moves to the top.

    `resource` is the owner's group and plural; `occupant` is a foreign object that already has the name the new
    revision would get.
    """
    data = data_of(owner)
    newest = max((revision.get("revision", 0) for revision in revisions), default=0)
    same = sorted((one for one in revisions if one.get("data") == data), key=lambda one: one.get("revision", 0))
    if same:
        current = same[-1]
        if current.get("revision", 0) < newest:
            raised = {"metadata": {"uid": current["metadata"]["uid"]}, "revision": newest + 1}
            return History(current, (Patch(ref_of(*REVISIONS, current), raised),))
        return History(current, ())
    if occupant is not None:
        status = owner.get("status", {})
        changed = {**status, "collisionCount": status.get("collisionCount", 0) + 1}
        return History(None, (Update(ref_of(*resource, owner), {**owner, "status": changed}, "status"),))
    made = build(owner, newest + 1)
    return History(None, (Create(ref_of(*REVISIONS, made), made),))


def build(owner: Object, number: int) -> Object:
    """The ControllerRevision of the current template."""
    digest = template_hash(owner)
    template_labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{owner['metadata']['name']}-{digest}",
            "namespace": owner["metadata"]["namespace"],
            "labels": {**template_labels, HASH_LABEL: digest},
            "annotations": dict(meta.annotations(owner)),
            "ownerReferences": [meta.owner_reference(owner)],
        },
        "data": meta.copy(data_of(owner)),
        "revision": number,
    }


def template_hash(owner: Object) -> str:
    """The hash that names the revision of the current template."""
    collisions = owner.get("status", {}).get("collisionCount", 0)
    return meta.hash_template(data_of(owner), collisions)


def expired(owner: Object, revisions: Iterable[Object], is_used: Callable[[Object], bool]) -> list[Delete]:
    """Deletions of the oldest revisions beyond revisionHistoryLimit that are neither used nor current."""
    data = data_of(owner)
    idle = [
        revision
        for revision in sorted(revisions, key=lambda one: one.get("revision", 0))
        if not is_used(revision) and revision.get("data") != data
    ]
    surplus = len(idle) - owner["spec"].get("revisionHistoryLimit", 10)
    doomed = idle[: max(0, surplus)]
    return [Delete(ref_of(*REVISIONS, revision), uid=revision["metadata"]["uid"]) for revision in doomed]
