"""The service proxy of one node: cluster IPs, node ports and external IPs as nf_tables maps."""

from services.nodeagent.proxy.proxy import ServiceProxy

__all__ = ["ServiceProxy"]
