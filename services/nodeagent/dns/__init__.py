"""The DNS server of one node: the cluster's names from memory, all others from upstream resolvers."""

from services.nodeagent.dns.server import DnsServer

__all__ = ["DnsServer"]
