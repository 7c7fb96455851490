"""Which pods go first when there are too many: those whose loss costs least.

The order is Kubernetes' (ActivePodsWithRanks): not bound, pending, not ready, lower pod-deletion-cost, more siblings
on the same node, ready for less time, more restarts, younger. Times are compared by their logarithm, so that among
pods of about the same age the choice falls by uid and not always on the newest (KEP-2185).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from services.controllers import instants, pods
from services.controllers.actions import Object
from shared.objects import meta

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_cost(pod: Object) -> int:
    """The int32 in the pod-deletion-cost annotation; 0 if absent or malformed (KEP-2255)."""
    text = meta.annotations(pod).get(DELETION_COST, "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def expendable_first(candidates: Iterable[Object], related: Iterable[Object], now: float) -> list[Object]:
    """Candidates in the order in which they should be deleted.

    `related` are the active pods of the same workload on any revision; they spread the deletions over nodes.
    """
    on_node = Counter(pod["spec"].get("nodeName", "") for pod in related if meta.pod_active(pod))

    def rank(pod: Object) -> tuple[Any, ...]:
        node = pod["spec"].get("nodeName", "")
        ready = pods.ready_since(pod)
        return (
            bool(node),
            _PHASES.get(meta.pod_phase(pod), 2),
            ready is not None,
            deletion_cost(pod),
            -on_node[node] if node else 0,
            _age_class(ready, now),
            -pods.restarts(pod),
            _age_class(instants.seconds(pod["metadata"].get("creationTimestamp")), now),
            pod["metadata"]["uid"],
        )

    return sorted(candidates, key=rank)


def first(candidates: Sequence[Object], related: Iterable[Object], count: int, now: float) -> list[Object]:
    """The `count` most expendable candidates."""
    if count >= len(candidates):
        return list(candidates)
    return expendable_first(candidates, related, now)[:count]


def _age_class(since: float | None, now: float) -> int:
    if since is None or now - since < 1:
        return 0
    return 1 + int(math.log2(now - since))
