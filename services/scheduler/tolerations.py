"""Taints and tolerations (Kubernetes API: Toleration)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HARD_EFFECTS = ("NoSchedule", "NoExecute")


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration covers one taint; an empty key with `Exists` covers all, an empty effect every effect."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    key = toleration.get("key") or ""
    if key and key != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(
    taints: Iterable[Mapping[str, Any]], tolerations: Sequence[Mapping[str, Any]], effects: Sequence[str]
) -> Iterable[Mapping[str, Any]]:
    """The taints with one of the effects that no toleration covers."""
    return (
        taint
        for taint in taints
        if taint.get("effect") in effects and not any(tolerates(toleration, taint) for toleration in tolerations)
    )


def describe(taint: Mapping[str, Any]) -> str:
    """A taint as the message of a waiting pod names it: `{key: value}`."""
    return f"{{{taint['key']}: {taint.get('value') or ''}}}"
