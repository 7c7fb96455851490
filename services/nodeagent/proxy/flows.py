"""Which UDP connections contradict the maps, so that they are forgotten and the next packet is decided anew.

Exists because conntrack keeps a UDP flow's endpoint as long as packets flow, even when the endpoint is gone, and keeps
a flow untranslated that began before its service had endpoints.
"""

from collections.abc import Collection

from services.nodeagent.proxy.ledger import Place
from services.nodeagent.proxy.mirror import Mirror
from shared.kernel.netlink.conntrack import Entry


def contradicts(entry: Entry, mirror: Mirror, removed: Collection[bytes], node_addresses: Collection[bytes]) -> bool:
    """Whether the entry's endpoint is one that its frontend does not have (any more).

    `removed` are the keys of frontends that just vanished; what never was a frontend is nobody's business here.
    """
    node_port = bytes((entry.protocol, 0, 0, 0)) + entry.destination_port + b"\0\0"
    frontend = entry.destination + node_port
    answering = entry.answering + entry.answering_port + b"\0\0"
    translated = entry.answering != entry.destination or entry.answering_port != entry.destination_port
    if mirror.is_frontend(frontend):
        return answering not in mirror.allowed(frontend)
    if frontend in removed:
        return translated
    if entry.destination not in node_addresses:
        return False
    if mirror.is_node_port(frontend):
        return answering not in mirror.allowed(frontend)
    return node_port in removed and translated


def vanished(changed: Collection[Place], mirror: Mirror, frontends: Collection[str]) -> set[bytes]:
    """The keys of the frontends among the changed elements that the kernel no longer has."""
    return {key for name, key in changed if name in frontends and (name, key) not in mirror}
