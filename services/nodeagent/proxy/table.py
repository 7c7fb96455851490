"""The nf_tables table `wherry-services`: its maps, its fixed rules, and the chains that pick an endpoint.

Exists so that a change of a service is a change of map elements: the fixed rules never change, and a chain exists per
number of endpoints, not per service. A rule finds a frontend's chain in a verdict map (`services`), and the chain finds
the endpoint in a data map (`services_endpoints`) under the frontend and a random number. No packet marks are used: what
has to be masqueraded is recognised by the original destination that conntrack remembers.
"""

import hashlib
import socket
from dataclasses import dataclass

from shared.kernel.nftables import Chain, Set, Transaction, goto, jump, model
from shared.kernel.nftables import expressions as nft

TABLE = "wherry-services"

_ADDRESS, _PROTOCOL, _PORT, _NUMBER = model.IPV4_ADDRESS, model.INET_PROTOCOL, model.INET_SERVICE, model.MARK
_FRONTEND = (_ADDRESS, _PROTOCOL, _PORT)
_NODE_PORT = (_PROTOCOL, _PORT)
_TARGET = (_ADDRESS, _PORT)
_VERDICT = (model.VERDICT,)

# `inner` maps apply before the others to traffic from pods and from the node itself
SERVICES = "services"
INNER_SERVICES = "inner_services"
NODE_PORTS = "node_ports"
INNER_NODE_PORTS = "inner_node_ports"
UNSERVED = "unserved"
UNSERVED_NODE_PORTS = "unserved_node_ports"
SNAT_SERVICES = "snat_services"
SNAT_NODE_PORTS = "snat_node_ports"
HAIRPINS = "hairpins"
AFFINITY = "affinity"

FRONTENDS = (SERVICES, INNER_SERVICES, NODE_PORTS, INNER_NODE_PORTS)
# sets whose elements name their service in a comment
COMMENTED = (*FRONTENDS, UNSERVED, UNSERVED_NODE_PORTS)
REFUSE = goto("refuse")
_AFFINITY_SIZE = 1 << 18


def endpoints_of(frontends: str) -> str:
    """The name of the data map that belongs to a verdict map of frontends."""
    return f"{frontends}_endpoints"


def _by_address(frontends: str) -> bool:
    return frontends in (SERVICES, INNER_SERVICES)


# the maps whose elements follow the services
SETS = (
    *(Set(name, _FRONTEND if _by_address(name) else _NODE_PORT, _VERDICT) for name in FRONTENDS),
    *(
        Set(endpoints_of(name), (*(_FRONTEND if _by_address(name) else _NODE_PORT), _NUMBER), _TARGET)
        for name in FRONTENDS
    ),
    Set(UNSERVED, _FRONTEND, _VERDICT),
    Set(UNSERVED_NODE_PORTS, _NODE_PORT, _VERDICT),
    Set(SNAT_SERVICES, _FRONTEND),
    Set(SNAT_NODE_PORTS, _NODE_PORT),
    Set(HAIRPINS, (_ADDRESS, _ADDRESS)),
)
_AFFINITY_SET = Set(AFFINITY, (_ADDRESS, *_FRONTEND), _TARGET, dynamic=True, size=_AFFINITY_SIZE)

# every rule uses the registers alike: client, address, protocol, port, number of the endpoint, target
_CLIENT, _DESTINATION, _L4, _DPORT, _INDEX, _TARGET_ADDRESS, _TARGET_PORT = range(nft.R0, nft.R0 + 7)


@dataclass(frozen=True, slots=True)
class Networks:
    """The address ranges the rules know; `local` are service addresses that the node answers itself, such as DNS."""

    pods: str
    services: str
    local: tuple[str, ...] = ()


def pick_chain(frontends: str, endpoints: int, timeout_s: int) -> str:
    """The name of the chain that picks one of so many endpoints, with ClientIP affinity if `timeout_s` is not 0."""
    return f"{frontends}-{endpoints}-{timeout_s}" if timeout_s else f"{frontends}-{endpoints}"


def is_pick_chain(name: str) -> bool:
    """Whether a chain is one that `pick_chain` named."""
    return name.partition("-")[0] in FRONTENDS


def is_sticky(name: str) -> bool:
    """Whether the chain of that name keeps clients on one endpoint."""
    return is_pick_chain(name) and name.count("-") == 2


def add_pick_chain(change: Transaction, name: str) -> None:
    """Create the chain of that name."""
    frontends, endpoints, *timeout = name.split("-")
    key = _DESTINATION if _by_address(frontends) else _L4
    load = (
        nft.source_address(_CLIENT),
        nft.destination_address(_DESTINATION),
        nft.meta(nft.META_L4PROTO, _L4),
        nft.destination_port(_DPORT),
    )
    pick = (
        nft.random_number(_INDEX, int(endpoints)),
        nft.lookup(endpoints_of(frontends), key, target=_TARGET_ADDRESS),
    )
    send = nft.dnat(_TARGET_ADDRESS, _TARGET_PORT)
    change.add_chain(Chain(name))
    if not timeout:
        change.add_rule(name, *load[key - _CLIENT :], *pick, send)
        return
    timeout_ms = int(timeout[0]) * 1000
    renew = nft.remember(AFFINITY, _CLIENT, data=_TARGET_ADDRESS, timeout_ms=timeout_ms, update=True)
    change.add_rule(name, *load, nft.lookup(AFFINITY, _CLIENT, target=_TARGET_ADDRESS), renew, send)
    change.add_rule(name, *load, *pick, renew, send)


def create(networks: Networks) -> Transaction:
    """A transaction that puts the table in place, empty of services, whatever was there before."""
    change = Transaction(TABLE)
    change.add_table()
    change.delete_table()
    change.add_table(fingerprint(networks))
    _fixed(change, networks)
    return change


def fingerprint(networks: Networks) -> str:
    """Names the fixed part of the table, so that a later version recognises that it has to replace it."""
    trial = Transaction(TABLE)
    _fixed(trial, networks)
    add_pick_chain(trial, pick_chain(SERVICES, 2, 0))
    add_pick_chain(trial, pick_chain(NODE_PORTS, 2, 10800))
    return f"services of the cluster, rules {hashlib.sha256(trial.content()).hexdigest()[:12]}"


def _fixed(change: Transaction, networks: Networks) -> None:
    for item in (*SETS, _AFFINITY_SET):
        change.add_set(item)
    for chain in ("inner", "outer", "refuse", "unserved"):
        change.add_chain(Chain(chain))
    change.add_chain(Chain("prerouting", "nat", model.HOOK_PREROUTING, model.PRIORITY_DSTNAT))
    change.add_chain(Chain("output", "nat", model.HOOK_OUTPUT, model.PRIORITY_DSTNAT))
    change.add_chain(Chain("postrouting", "nat", model.HOOK_POSTROUTING, model.PRIORITY_SRCNAT))
    change.add_chain(Chain("filter-input", "filter", model.HOOK_INPUT, model.PRIORITY_FILTER))
    change.add_chain(Chain("filter-forward", "filter", model.HOOK_FORWARD, model.PRIORITY_FILTER))
    change.add_chain(Chain("filter-output", "filter", model.HOOK_OUTPUT, model.PRIORITY_FILTER))
    change.add_rule("prerouting", *_from(networks.pods), nft.verdict(jump("inner")))
    change.add_rule("prerouting", nft.verdict(goto("outer")))
    change.add_rule("output", nft.verdict(jump("inner")))
    change.add_rule("output", nft.verdict(goto("outer")))
    _dispatch(change, "inner", INNER_SERVICES, INNER_NODE_PORTS)
    _dispatch(change, "outer", SERVICES, NODE_PORTS)
    _masquerade(change, networks)
    _refuse(change, networks)


def _from(network: str) -> tuple[bytes, ...]:
    return nft.source_address(_CLIENT), nft.within(_CLIENT, network)


def _dispatch(change: Transaction, chain: str, services: str, node_ports: str) -> None:
    protocol_and_port = (nft.meta(nft.META_L4PROTO, _L4), nft.destination_port(_DPORT))
    decide = nft.VERDICT_REGISTER
    change.add_rule(
        chain,
        nft.destination_address(_DESTINATION),
        *protocol_and_port,
        nft.lookup(services, _DESTINATION, target=decide),
    )
    local = (nft.fib_type(_CLIENT), nft.is_type(_CLIENT, nft.TYPE_LOCAL))
    change.add_rule(chain, *local, *protocol_and_port, nft.lookup(node_ports, _L4, target=decide))


def _masquerade(change: Transaction, networks: Networks) -> None:
    chain = "postrouting"
    original = (
        nft.conntrack(nft.CT_DST_IP, _DESTINATION, original=True),
        nft.meta(nft.META_L4PROTO, _L4),
        nft.conntrack(nft.CT_PROTO_DST, _DPORT, original=True),
    )
    change.add_rule(
        chain,
        nft.conntrack(nft.CT_STATUS, _CLIENT),
        nft.none_set(_CLIENT, nft.STATUS_DNAT),
        nft.verdict(model.leave),
        comment="no service",
    )
    change.add_rule(
        chain,
        nft.source_address(_CLIENT),
        nft.destination_address(_DESTINATION),
        nft.lookup(HAIRPINS, _CLIENT),
        nft.masquerade(),
        comment="a pod that reaches itself",
    )
    change.add_rule(chain, *_from(networks.pods), nft.verdict(model.leave), comment="pods keep their address")
    change.add_rule(
        chain,
        nft.fib_type(_CLIENT, source=True),
        nft.is_type(_CLIENT, nft.TYPE_LOCAL),
        nft.verdict(model.leave),
        comment="so does this node",
    )
    change.add_rule(
        chain,
        nft.conntrack(nft.CT_DST_IP, _DESTINATION, original=True),
        nft.within(_DESTINATION, networks.services),
        nft.masquerade(),
        comment="cluster IPs from outside: the answer must come back here",
    )
    change.add_rule(chain, *original, nft.lookup(SNAT_SERVICES, _DESTINATION), nft.masquerade())
    change.add_rule(chain, *original[1:], nft.lookup(SNAT_NODE_PORTS, _L4), nft.masquerade())


def _refuse(change: Transaction, networks: Networks) -> None:
    new = (nft.conntrack(nft.CT_STATE, _CLIENT), nft.any_set(_CLIENT, nft.STATE_NEW))
    for chain in ("filter-input", "filter-forward", "filter-output"):
        change.add_rule(chain, *new, nft.verdict(jump("unserved")))
    _dispatch(change, "unserved", UNSERVED, UNSERVED_NODE_PORTS)
    unknown = (
        nft.destination_address(_DESTINATION),
        nft.within(_DESTINATION, networks.services, scratch=_L4),
        *(nft.equal(_DESTINATION, socket.inet_aton(item), negate=True) for item in networks.local),
    )
    for chain in ("filter-forward", "filter-output"):
        change.add_rule(chain, *new, *unknown, nft.verdict(REFUSE), comment="no such service")
    tcp = bytes((socket.IPPROTO_TCP,))
    change.add_rule("refuse", nft.meta(nft.META_L4PROTO, _L4), nft.equal(_L4, tcp), nft.reset_connection())
    change.add_rule("refuse", nft.reject_port())
