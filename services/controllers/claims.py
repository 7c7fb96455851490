"""Which objects a controller manages: it takes loose ones that its selector matches, and lets go of other ones.

Kubernetes calls this the ControllerRefManager. Claiming is a plan of its own: after a claim the controller looks
again, with a cache that shows the claim, so that the counting below never mixes seen and hoped-for state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.controllers.actions import Action, Object, Patch, Require
from shared.events.subjects import Ref
from shared.objects import meta
from shared.objects.selectors import LabelSelector


@dataclass(frozen=True, slots=True)
class Claim:
    """The objects that are the owner's already, and the actions to get and lose others."""

    mine: list[Object]
    actions: tuple[Action, ...]


def ref_of(group: str, resource: str, obj: Object) -> Ref:
    """The ref of an object of a known resource."""
    metadata = obj["metadata"]
    return Ref(group, resource, metadata.get("namespace", ""), metadata["name"])


def claim(
    owner: Object,
    owner_ref: Ref,
    selector: LabelSelector,
    group: str,
    resource: str,
    controlled: Iterable[Object],
    loose: Iterable[Object],
) -> Claim:
    """Decide what to adopt and release among the objects controlled by `owner` and those without a controller."""
    mine: list[Object] = []
    actions: list[Action] = []
    uid = owner["metadata"]["uid"]
    owner_goes = meta.is_deleting(owner)
    for obj in controlled:
        if selector.matches(meta.labels(obj)):
            mine.append(obj)
        elif not owner_goes:
            actions.append(release(uid, ref_of(group, resource, obj), obj))
    adopted = [obj for obj in loose if not meta.is_deleting(obj) and selector.matches(meta.labels(obj))]
    if adopted and not owner_goes:
        actions.append(Require(owner_ref, uid))
        actions += [adopt(owner, ref_of(group, resource, obj), obj) for obj in adopted]
    return Claim(mine, tuple(actions))


def adopt(owner: Object, ref: Ref, obj: Object) -> Patch:
    """Add the owner's controller reference, conditional on the object's uid."""
    return Patch(
        ref,
        {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": [meta.owner_reference(owner)]}},
        "strategic",
    )


def release(owner_uid: str, ref: Ref, obj: Object) -> Patch:
    """Remove the owner's reference, conditional on the object's uid."""
    return Patch(
        ref,
        {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}},
        "strategic",
    )
