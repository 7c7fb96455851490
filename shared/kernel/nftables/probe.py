"""Find out whether this kernel can do what the network needs, for `wherry check`."""

from shared.kernel import netns
from shared.kernel.netlink import namespaces
from shared.kernel.netlink.connection import NETFILTER, NetlinkSocket
from shared.kernel.nftables import expressions, model
from shared.kernel.nftables.model import Chain, Set
from shared.kernel.nftables.transaction import Transaction


def nf_tables_available() -> tuple[bool, str]:
    """Whether nf_tables with NAT, maps and numgen works here, and what was tried or why it failed. Tries it in
    a network namespace of its own.
    """
    try:
        namespaces.in_thread(_try)
    except OSError as exc:
        return False, f"nf_tables: {exc}"
    return True, "a table with NAT, maps and random choice was made"


def _try() -> None:
    with netns.fresh(), NetlinkSocket(NETFILTER) as connection:
        trial = Transaction("wherry-check")
        trial.add_table()
        trial.add_chain(Chain("prerouting", "nat", model.HOOK_PREROUTING, model.PRIORITY_DSTNAT))
        trial.add_chain(Chain("postrouting", "nat", model.HOOK_POSTROUTING, model.PRIORITY_SRCNAT))
        trial.add_chain(Chain("forward", "filter", model.HOOK_FORWARD))
        trial.add_set(Set("endpoints", key=(model.MARK,), data=(model.IPV4_ADDRESS, model.INET_SERVICE)))
        trial.add_rule(
            "prerouting",
            expressions.fib_type(expressions.R0),
            expressions.is_type(expressions.R0, expressions.TYPE_LOCAL),
            expressions.meta(expressions.META_L4PROTO, expressions.R0),
            expressions.equal(expressions.R0, b"\x06"),
            expressions.random_number(expressions.R0, 2),
            expressions.lookup("endpoints", expressions.R0, target=expressions.R1),
            expressions.dnat(expressions.R1, expressions.R2),
        )
        trial.add_rule("postrouting", expressions.masquerade())
        trial.add_rule("forward", expressions.reject_port())
        trial.commit(connection)
