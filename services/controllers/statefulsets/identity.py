"""Who a pod of a StatefulSet is: its ordinal, the names that follow from it, and the pod made for it.

The identity outlives the pod: the next pod of an ordinal has the same name, hostname and claims.
"""

from __future__ import annotations

import re

from services.controllers import pods
from services.controllers.actions import Object, Patch
from services.controllers.claims import ref_of
from services.controllers.statefulsets import volumes
from services.controllers.view import PODS
from shared.objects import meta

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
REVISION_LABEL = "controller-revision-hash"
"""Unlike a DaemonSet's pods, those of a StatefulSet carry the whole name of their ControllerRevision here."""

_MEMBER = re.compile(r"(.+)-(0|[1-9][0-9]*)")


def parent(name: str) -> str:
    """The StatefulSet that a pod of this name would belong to, "" if the name has no ordinal."""
    found = _MEMBER.fullmatch(name)
    return found[1] if found else ""


def ordinal(statefulset: Object, pod: Object) -> int | None:
    """The pod's ordinal, None if its name is not one of this StatefulSet's."""
    found = _MEMBER.fullmatch(pod["metadata"]["name"])
    return int(found[2]) if found and found[1] == statefulset["metadata"]["name"] else None


def ordinals(statefulset: Object) -> range:
    """The ordinals that are wanted: spec.replicas of them from spec.ordinals.start on."""
    spec = statefulset["spec"]
    start = int((spec.get("ordinals") or {}).get("start", 0))
    return range(start, start + int(spec.get("replicas", 1)))


def pod_name(statefulset: Object, number: int) -> str:
    """The name, and hostname, of the pod with an ordinal."""
    return f"{statefulset['metadata']['name']}-{number}"


def revision_of(pod: Object) -> str:
    """The name of the ControllerRevision a pod was made from, "" if it does not say."""
    return meta.labels(pod).get(REVISION_LABEL, "")


def build(statefulset: Object, template: Object, number: int, revision: str) -> Object:
    """The pod of an ordinal, made from `template`, which the ControllerRevision named `revision` recorded."""
    name = pod_name(statefulset, number)
    pod = pods.from_template(template, statefulset, name, statefulset["metadata"]["name"] + "-")
    pod["metadata"]["labels"] |= {**_labels(name, number), REVISION_LABEL: revision}
    spec = pod["spec"]
    spec["hostname"] = name
    if service := statefulset["spec"].get("serviceName"):
        spec["subdomain"] = service
    spec["volumes"] = volumes.mounted(statefulset, number, spec.get("volumes") or ())
    if not spec["volumes"]:
        del spec["volumes"]
    return pod


def repair(pod: Object, number: int) -> Patch | None:
    """What gives a pod, an adopted one for instance, the labels of its identity back."""
    wanted = _labels(pod["metadata"]["name"], number)
    if wanted.items() <= meta.labels(pod).items():
        return None
    return Patch(ref_of(*PODS, pod), {"metadata": {"uid": pod["metadata"]["uid"], "labels": wanted}})


def _labels(name: str, number: int) -> dict[str, str]:
    return {NAME_LABEL: name, INDEX_LABEL: str(number)}
