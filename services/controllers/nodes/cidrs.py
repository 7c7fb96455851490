"""Pod address ranges: each node gets one, written into its spec before any pod needs an address.

All nodes are allocated in one decision, from what every Node's spec says, so the spec is the only record there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from services.controllers.actions import NOTHING, Key, Moment, Note, Object, Patch, Plan
from services.controllers.claims import ref_of
from services.controllers.view import NODES, View
from shared.events.subjects import Ref
from shared.objects import meta

NODE_PREFIX = 24


def decide(nodes: Iterable[Object], cluster: IPv4Network) -> Plan:
    """Give every node without a range the lowest free one; record on those that get none."""
    known = list(nodes)
    used = {ip_network(text) for node in known for text in ranges(node)}
    # ranges that people wrote by hand may be of any size
    odd = [one for one in used if one.prefixlen != NODE_PREFIX]
    free = (
        one
        for one in cluster.subnets(new_prefix=NODE_PREFIX)
        if one not in used and not any(one.overlaps(other) for other in odd)
    )
    actions: list[Patch | Note] = []
    for node in known:
        if ranges(node) or meta.is_deleting(node):
            continue
        found = next(free, None)
        if found is None:
            text = f"Node {meta.name(node)} status is now: CIDRNotAvailable"
            actions.append(Note(node, "CIDRNotAvailable", text))
            continue
        metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
        spec = {"podCIDR": str(found), "podCIDRs": [str(found)]}
        actions.append(Patch(ref_of(*NODES, node), {"metadata": metadata, "spec": spec}))
    return Plan(tuple(actions)) if actions else NOTHING


def ranges(node: Object) -> list[str]:
    """The pod ranges in a node's spec."""
    spec = node.get("spec", {})
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


class NodeRanges:
    """One key for all nodes: two allocations must never run side by side."""

    name = "node_ipam"
    workers = 1

    def __init__(self, cluster: IPv4Network) -> None:
        self._cluster = cluster

    def keys(self, view: View) -> Iterable[Key]:
        """The one key."""
        return [("", "")]

    def affected(self, ref: Ref, obj: Object | None, previous: Object | None, view: View) -> Iterable[Key]:
        """Any node without a range, and any end of a node, which frees one."""
        if ref[:2] != NODES or (obj is not None and ranges(obj)):
            return []
        return [("", "")]

    def plan(self, key: Key, view: View, moment: Moment) -> Plan:
        """Allocate."""
        return decide(view.every(*NODES), self._cluster)
