"""The pod network of one node: addresses, veth pairs, routes to other nodes, masquerading, host ports."""

from services.nodeagent.network.leases import HostPort
from services.nodeagent.network.links import Bandwidth
from services.nodeagent.network.node import NodeNetwork, PodAddress

__all__ = ["Bandwidth", "HostPort", "NodeNetwork", "PodAddress"]
