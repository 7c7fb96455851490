"""Namespaces that a pod asks for beyond the usual ones: its own users, its own clocks. Pure.

Source: KEP-127 (`hostUsers: false`): 65536 ids a pod, ranges that do not overlap and are kept over restarts. Kubernetes
has no field for time namespaces; an annotation gives what the OCI runtime specification has as linux.timeOffsets.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from services.nodeagent.environment import ConfigurationError

TIME_OFFSETS = "wherry.io/time-offsets"

IDS_PER_POD = 65536
# The first range is that of the node's own users; the last would end in the id that means none.
FIRST, LAST = 1, 65534


def own_users(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has a user namespace of its own."""
    return pod["spec"].get("hostUsers") is False


def choose_range(taken: Collection[int], node: str) -> int:
    """The first id of a free range; `taken` are those of the other pods.

    Nodes that share a machine begin at different places, so that their pods seldom meet.
    """
    begin = int.from_bytes(hashlib.sha256(node.encode()).digest()[:4], "big") % LAST
    for offset in range(LAST):
        first = (FIRST + (begin + offset) % LAST) * IDS_PER_POD
        if first not in taken:
            return first
    raise ConfigurationError(f"no free range of {IDS_PER_POD} user ids is left on this node")


def time_offsets(pod: Mapping[str, Any]) -> dict[str, int]:
    """Nanoseconds by clock from the annotation, {} without it. Raises ConfigurationError if it is malformed."""
    text = (pod["metadata"].get("annotations") or {}).get(TIME_OFFSETS)
    if not text:
        return {}
    try:
        document = json.loads(text)
        offsets = {
            clock: int(value.get("secs") or 0) * 10**9 + int(value.get("nanosecs") or 0)
            for clock, value in document.items()
        }
    except (ValueError, AttributeError, TypeError) as exc:
        form = '{"boottime": {"secs": 60, "nanosecs": 0}}'
        raise ConfigurationError(f"annotation {TIME_OFFSETS} {text!r} is not of the form {form}") from exc
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            raise ConfigurationError(f"annotation {TIME_OFFSETS}: clock {clock!r} is neither monotonic nor boottime")
    return offsets
