"""Whether a pod may be on this node by its node selector and required node affinity.

The scheduler sees to it, but whoever writes `spec.nodeName` passes it by. The node is read anew: what its labels were a
moment ago would refuse a pod that was placed here because they have changed.

Source: kubelet's admission (predicate NodeAffinity).
"""

from collections.abc import Mapping
from typing import Any

from services.nodeagent.link import Api
from services.nodeagent.pods.admission import Rejection
from shared.errors import ApiError, BusError
from shared.objects import placement


async def refuse(api: Api, node: str, pod: Mapping[str, Any]) -> Rejection | None:
    """(reason, message) if the pod is not for the node called `node`; without an answer of the API it is let in."""
    spec = pod["spec"]
    if not spec.get("nodeSelector") and not (spec.get("affinity") or {}).get("nodeAffinity"):
        return None
    try:
        found = await api.get(f"/api/v1/nodes/{node}")
    except (ApiError, BusError):
        return None
    if placement.selects(spec, found):
        return None
    return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
