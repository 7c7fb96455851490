"""On which nodes a daemon pod belongs, and how a pod is bound to exactly one of them.

The pod is pinned by required node affinity on metadata.name, so that the scheduler still checks resources and
preemption applies; the tolerations let daemons run where nothing else may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.controllers import pods
from services.controllers.actions import Object
from shared.objects import meta, placement
from shared.objects.tolerations import untolerated

_ALWAYS_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK_TOLERATED = (("node.kubernetes.io/network-unavailable", "NoSchedule"),)


@dataclass(frozen=True, slots=True)
class Place:
    """Whether a node should get a daemon pod, and whether one that is there may stay."""

    wanted: bool
    may_stay: bool


def place(spec: Object, node: Object) -> Place:
    """Judge a node for a pod spec that already has the daemon tolerations."""
    if spec.get("nodeName") not in (None, "", node["metadata"]["name"]) or not placement.selects(spec, node):
        return Place(False, False)
    taints = node.get("spec", {}).get("taints") or []
    tolerations = spec.get("tolerations") or []
    may_stay = not untolerated(taints, tolerations, ("NoExecute",))
    wanted = may_stay and not untolerated(taints, tolerations, ("NoSchedule",))
    return Place(wanted, may_stay)


def daemon_spec(template_spec: Object) -> Object:
    """The template's pod spec with the tolerations that every daemon pod gets."""
    spec: Object = dict(template_spec)
    tolerations = list(spec.get("tolerations") or [])
    extra = _ALWAYS_TOLERATED + (_HOST_NETWORK_TOLERATED if spec.get("hostNetwork") else ())
    for key, effect in extra:
        toleration = {"key": key, "operator": "Exists", "effect": effect}
        if toleration not in tolerations:
            tolerations.append(toleration)
    spec["tolerations"] = tolerations
    return spec


def pinned(spec: Object, node_name: str) -> Object:
    """The spec with a required node affinity for one node, replacing earlier matchFields as Kubernetes does."""
    result: Object = meta.copy(spec)
    by_name = [{"key": "metadata.name", "operator": "In", "values": [node_name]}]
    affinity: dict[str, Any] = result.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [{**term, "matchFields": by_name} for term in required.get("nodeSelectorTerms") or ()]
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": terms or [{"matchFields": by_name}]
    }
    return result


def node_of(pod: Object) -> str:
    """The node a daemon pod is bound or pinned to, "" if neither."""
    bound: str = pod["spec"].get("nodeName") or ""
    if bound:
        return bound
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and len(field.get("values") or ()) == 1:
                return str(field["values"][0])
    return ""


def build(daemonset: Object, node_name: str, name: str, revision_hash: str) -> Object:
    """The daemon pod for a node."""
    template = daemonset["spec"]["template"]
    pod = pods.from_template(template, daemonset, name, daemonset["metadata"]["name"] + "-")
    pod["metadata"]["labels"]["controller-revision-hash"] = revision_hash
    generation = meta.annotations(daemonset).get("deprecated.daemonset.template.generation")
    if generation:
        pod["metadata"]["labels"]["pod-template-generation"] = generation
    pod["spec"] = pinned(daemon_spec(template["spec"]), node_name)
    return pod
