"""Suspending: a pod's annotation says which of its containers stand still, with all their processes frozen. Pure.

The wish is in the object, so it outlives the agent, is seen by everybody and can be made before the pod runs. The value
is `*` for all containers, or their names with commas between them.
"""

from collections.abc import Mapping
from typing import Any

from services.nodeagent.pods.records import PodRecord

SUSPENDED = "wherry.io/suspended"
CONDITION = "wherry.io/Suspended"
EVERY = "*"


def wanted(pod: Mapping[str, Any], name: str) -> bool:
    """Whether a container is to stand still."""
    text = (pod["metadata"].get("annotations") or {}).get(SUSPENDED) or ""
    return name in text.split(",") or text == EVERY


def condition(record: PodRecord, known: bool) -> dict[str, Any] | None:
    """The pod's condition; None for a pod that has never been suspended (`known`: it has the condition)."""
    names = sorted(name for name, container in record.containers.items() if container.suspended)
    if names:
        message = f"containers whose processes are frozen: [{' '.join(names)}]"
        return {"type": CONDITION, "status": "True", "reason": "Requested", "message": message}
    return {"type": CONDITION, "status": "False"} if known else None
