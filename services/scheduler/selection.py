"""Which nodes a node selector means, for all nodes at once (Kubernetes API: NodeSelectorTerm)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.scheduler.snapshot import Mask, Nodes


def required(nodes: Nodes, spec: Mapping[str, Any]) -> Mask:
    """Nodes that satisfy `nodeSelector` and the required node affinity of a pod."""
    mask = np.ones(len(nodes.names), dtype=bool)
    for key, value in (spec.get("nodeSelector") or {}).items():
        mask &= _in(nodes, key, [value])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    selector = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if selector is not None:
        wanted = np.zeros(len(nodes.names), dtype=bool)
        for term in selector.get("nodeSelectorTerms", ()):
            wanted |= matches(nodes, term)
        mask &= wanted
    return mask


def matches(nodes: Nodes, term: Mapping[str, Any]) -> Mask:
    """Nodes that satisfy every requirement of one term; an empty term matches none."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return np.zeros(len(nodes.names), dtype=bool)
    mask = np.ones(len(nodes.names), dtype=bool)
    for requirement in expressions:
        mask &= _expression(nodes, requirement)
    for requirement in fields:
        # metadata.name is the only field that Kubernetes accepts here
        named = np.zeros(len(nodes.names), dtype=bool)
        named[[nodes.rows[name] for name in requirement.get("values", ()) if name in nodes.rows]] = True
        mask &= ~named if requirement["operator"] == "NotIn" else named
    return mask


def _expression(nodes: Nodes, requirement: Mapping[str, Any]) -> Mask:
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or ()
    codes, known = nodes.label_codes(key)
    if operator == "In":
        return _in(nodes, key, values)
    if operator == "NotIn":
        return ~_in(nodes, key, values)
    if operator == "Exists":
        return codes >= 0
    if operator == "DoesNotExist":
        return codes < 0
    # Gt and Lt compare integers; a label that is none never matches
    limit = _integer(values[0]) if values else None
    wanted = [
        code
        for value, code in known.items()
        if limit is not None
        and (number := _integer(value)) is not None
        and (number > limit if operator == "Gt" else number < limit)
    ]
    return np.isin(codes, wanted)


def _in(nodes: Nodes, key: str, values: Sequence[str]) -> Mask:
    codes, known = nodes.label_codes(key)
    return np.isin(codes, [known[value] for value in values if value in known])


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
