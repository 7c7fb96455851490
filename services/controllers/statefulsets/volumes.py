"""The PersistentVolumeClaims of a StatefulSet's pods: made before the pod, kept or released as the policy says.

A claim is never deleted here. spec.persistentVolumeClaimRetentionPolicy only decides whom the claim belongs to, the
StatefulSet, a pod that is about to go, or nobody; the garbage collector does the rest (KEP-1847).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.controllers.actions import Object, Patch
from services.controllers.claims import ref_of
from services.controllers.view import owners
from shared.objects import meta
from shared.objects.volumebinding import CLAIMS


def templates(statefulset: Object) -> list[Object]:
    """spec.volumeClaimTemplates, possibly none."""
    found: list[Object] = statefulset["spec"].get("volumeClaimTemplates") or []
    return found


def claim_name(statefulset: Object, template: Object, number: int) -> str:
    """The name of the claim that an ordinal has of a template."""
    return f"{template['metadata']['name']}-{statefulset['metadata']['name']}-{number}"


def names(statefulset: Object, number: int) -> list[str]:
    """The names of all claims of an ordinal."""
    return [claim_name(statefulset, template, number) for template in templates(statefulset)]


def owns_name(statefulset: Object, name: str) -> bool:
    """Whether a claim of this name belongs to some ordinal of the StatefulSet."""
    for template in templates(statefulset):
        prefix = f"{template['metadata']['name']}-{statefulset['metadata']['name']}-"
        if name.startswith(prefix) and name.removeprefix(prefix).isdecimal():
            return True
    return False


def mounted(statefulset: Object, number: int, present: Iterable[Object]) -> list[Object]:
    """A pod's volumes: the claims, and those volumes of its template whose names no claim takes."""
    made = [
        {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(statefulset, template, number)},
        }
        for template in templates(statefulset)
    ]
    taken = {volume["name"] for volume in made}
    return made + [volume for volume in present if volume["name"] not in taken]


def missing(statefulset: Object, number: int, present: Mapping[str, Object]) -> list[Object]:
    """The claims of an ordinal that have to be made; `present` holds those that exist by name."""
    made = []
    for template in templates(statefulset):
        name = claim_name(statefulset, template, number)
        if name in present:
            continue
        source = template["metadata"]
        labels = {**(source.get("labels") or {}), **(statefulset["spec"]["selector"].get("matchLabels") or {})}
        metadata: Object = {"name": name, "namespace": statefulset["metadata"]["namespace"], "labels": labels}
        if source.get("annotations"):
            metadata["annotations"] = dict(source["annotations"])
        if _policy(statefulset, "whenDeleted") == "Delete":
            metadata["ownerReferences"] = [meta.owner_reference(statefulset)]
        made.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": meta.copy(template["spec"]),
            }
        )
    return made


def is_leaving(claim: Object, pod_name: str) -> bool:
    """Whether a claim is about to be deleted, itself or with the former pod of the same name."""
    former = any(owner.get("kind") == "Pod" and owner.get("name") == pod_name for owner in owners(claim))
    return former or meta.is_deleting(claim)


def handover(statefulset: Object, pod: Object, claim: Object, *, condemned: bool) -> Patch | None:
    """The change of a claim's owners that the policy asks for; `condemned` pods are to be scaled away.

    A claim that some other controller manages is left alone.
    """
    wanted = _heir(statefulset, pod, condemned)
    ours = {statefulset["metadata"]["uid"], pod["metadata"]["uid"]}
    manager = meta.controller_of(claim)
    if manager is not None and manager["uid"] not in ours:
        return None
    present = {owner["uid"] for owner in owners(claim)} & ours
    expected = set() if wanted is None else {wanted["metadata"]["uid"]}
    if present == expected:
        return None
    change: list[Object] = [{"$patch": "delete", "uid": uid} for uid in sorted(present - expected)]
    if wanted is not None and expected - present:
        change.append(meta.owner_reference(wanted))
    body = {"metadata": {"uid": claim["metadata"]["uid"], "ownerReferences": change}}
    return Patch(ref_of(*CLAIMS, claim), body, "strategic")


def _heir(statefulset: Object, pod: Object, condemned: bool) -> Object | None:
    if condemned and _policy(statefulset, "whenScaled") == "Delete":
        return pod
    return statefulset if _policy(statefulset, "whenDeleted") == "Delete" else None


def _policy(statefulset: Object, event: str) -> str:
    policy = statefulset["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return str(policy.get(event, "Retain"))
