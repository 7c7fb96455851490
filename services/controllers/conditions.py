"""Status conditions as Kubernetes' controllers keep them: one entry a type, times that move only when they should."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.controllers import instants
from services.controllers.actions import Object


def find(conditions: Iterable[Object] | None, kind: str) -> Object | None:
    """The condition of a type, or None."""
    return next((condition for condition in conditions or () if condition.get("type") == kind), None)


def is_true(conditions: Iterable[Object] | None, kind: str) -> bool:
    """Whether a condition of this type exists with status True."""
    condition = find(conditions, kind)
    return condition is not None and condition.get("status") == "True"


def make(kind: str, status: str, reason: str, message: str, now: float, **more: Any) -> Object:
    """A condition that changed right now; `more` adds fields such as lastUpdateTime."""
    return {
        "type": kind,
        "status": status,
        **more,
        "lastTransitionTime": instants.text(now),
        "reason": reason,
        "message": message,
    }


def put(conditions: list[Object], new: Object) -> list[Object]:
    """The list with `new` in place of the entry of its type, at the end as Kubernetes orders them.

    An entry with the same status and reason stays as it is; one with the same status keeps its lastTransitionTime.
    """
    current = find(conditions, new["type"])
    if current is not None and (current["status"], current.get("reason")) == (new["status"], new.get("reason")):
        return conditions
    return replace(conditions, new)


def replace(conditions: list[Object], new: Object) -> list[Object]:
    """Like `put`, but takes over the new times and message even if status and reason are the same."""
    current = find(conditions, new["type"])
    if current is not None and current["status"] == new["status"] and "lastTransitionTime" in current:
        new = {**new, "lastTransitionTime": current["lastTransitionTime"]}
    return [*without(conditions, new["type"]), new]


def without(conditions: list[Object], kind: str) -> list[Object]:
    """The list without the entry of a type."""
    return [condition for condition in conditions if condition.get("type") != kind]
