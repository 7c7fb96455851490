"""Taints and tolerations (core/v1 Toleration): one rule for the scheduler, which places pods, and for the controllers,
which place daemons and evict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration covers one taint; an empty key with `Exists` covers all, an empty effect every effect."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    key = toleration.get("key") or ""
    if key and key != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(
    taints: Iterable[Mapping[str, Any]], tolerations: Collection[Mapping[str, Any]], effects: Collection[str]
) -> list[Mapping[str, Any]]:
    """The taints with one of the effects that no toleration covers."""
    return [
        taint
        for taint in taints
        if taint.get("effect") in effects and not any(tolerates(toleration, taint) for toleration in tolerations)
    ]
