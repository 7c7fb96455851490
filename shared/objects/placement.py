"""Whether a pod may be on a node by its node selector and required node affinity.

The scheduler answers the same question for thousands of nodes at once with arrays; controllers (daemon pods, evictions)
and the node's agent ask it for one pod and one node, where reading the objects directly is simpler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects import meta

Object = dict[str, Any]


def selects(pod_spec: Object, node: Object) -> bool:
    """Whether nodeSelector and required node affinity let the pod onto the node."""
    labels = meta.labels(node)
    if not (pod_spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def _term_matches(term: Object, node: Object) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    name = {"metadata.name": node["metadata"]["name"]}
    return all(_requirement_holds(one, meta.labels(node)) for one in expressions) and all(
        _requirement_holds(one, name) for one in fields
    )


def _requirement_holds(requirement: Object, values: Mapping[str, str]) -> bool:
    key, operator, wanted = requirement["key"], requirement["operator"], requirement.get("values") or []
    present = key in values
    if operator == "In":
        return present and values[key] in wanted
    if operator == "NotIn":
        return not present or values[key] not in wanted
    if operator == "Exists":
        return present
    if operator == "DoesNotExist":
        return not present
    try:
        have, bound = int(values[key]), int(wanted[0])
    except (KeyError, ValueError, IndexError):
        return False
    return have > bound if operator == "Gt" else have < bound
