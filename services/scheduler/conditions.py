"""Conditions that the scheduler writes on pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.objects import times


def condition(pod: Mapping[str, Any], kind: str, status: str, since: str = "", **why: str) -> dict[str, Any]:
    """A condition of the type `kind` for the pod as it is; `why` are its reason and message, `since` when it became so
    (RFC 3339) if that was not just now."""
    found: dict[str, Any] = {
        "type": kind,
        "status": status,
        **why,
        "lastProbeTime": None,
        "lastTransitionTime": since or times.now(),
    }
    if generation := pod["metadata"].get("generation"):
        found["observedGeneration"] = generation
    return found
