"""nf_tables over netlink: tables, chains, rules, sets and maps, changed in atomic transactions.

Exists so that nothing has to start the `nft` program: it is missing on a fresh Debian, starting it costs several
milliseconds, and it reads the whole rule set before it changes one element.
"""

from shared.kernel.nftables.listing import chains, elements, rules, sets, table_comment, tables
from shared.kernel.nftables.model import Chain, Element, Set, Verdict, accept, drop, goto, jump
from shared.kernel.nftables.probe import nf_tables_available
from shared.kernel.nftables.transaction import Transaction

__all__ = [
    "Chain",
    "Element",
    "Set",
    "Transaction",
    "Verdict",
    "accept",
    "chains",
    "drop",
    "elements",
    "goto",
    "jump",
    "nf_tables_available",
    "rules",
    "sets",
    "table_comment",
    "tables",
]
