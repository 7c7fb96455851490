"""What the kernel holds of the table, mirrored, so that only differences are sent and a restart changes nothing
needlessly.
"""

import logging
import socket
from collections import Counter
from collections.abc import Mapping

from services.nodeagent.proxy import table
from services.nodeagent.proxy.endpoints import Target
from services.nodeagent.proxy.ledger import Place
from services.nodeagent.proxy.plan import Data, position_key
from services.nodeagent.proxy.table import Networks
from shared.kernel import nftables
from shared.kernel.netlink import NetlinkError, NetlinkSocket
from shared.kernel.nftables import Element, Transaction, Verdict

log = logging.getLogger(__name__)

# the wanted data and a comment for people; None to remove the element
Change = tuple[Data, str] | None


class Mirror:
    """The table of one network namespace. Not safe for several threads at once; raises NetlinkError."""

    def __init__(self, connection: NetlinkSocket, networks: Networks) -> None:
        self._connection = connection
        self._networks = networks
        self._held: dict[str, dict[bytes, Data]] = {item.name: {} for item in table.SETS}
        self._chains: set[str] = set()
        self._uses: Counter[str] = Counter()
        self._fresh: Transaction | None = None

    def load(self) -> None:
        """Read the kernel's table; if there is none of this version, the next commit creates it."""
        self._held = {item.name: {} for item in table.SETS}
        self._chains.clear()
        self._uses.clear()
        self._fresh = None
        comment = nftables.table_comment(self._connection, table.TABLE)
        if comment != table.fingerprint(self._networks):
            log.info("creating nf_tables table %s, present: %s", table.TABLE, comment)
            self._fresh = table.create(self._networks)
            return
        for item in table.SETS:
            held = self._held[item.name]
            for element in nftables.elements(self._connection, table.TABLE, item.name):
                held[element.key] = element.data
                self._count(element.data, 1)
        self._chains = set(nftables.chains(self._connection, table.TABLE))
        # those that nothing refers to are removed by the next commit
        self._uses.update(dict.fromkeys((name for name in self._chains if table.is_pick_chain(name)), 0))

    @property
    def has_affinity(self) -> bool:
        """Whether any service keeps its clients on one endpoint."""
        return any(table.is_sticky(name) for name in self._uses)

    def __contains__(self, place: Place) -> bool:
        return place[1] in self._held[place[0]]

    def places(self) -> set[Place]:
        """Every element the kernel holds."""
        return {(name, key) for name, held in self._held.items() for key in held}

    def targets(self, frontends: str, key: bytes) -> list[Target]:
        """The targets of a frontend by position."""
        held = self._held[table.endpoints_of(frontends)]
        found: list[Target] = []
        while isinstance(target := held.get(position_key(key, len(found))), bytes):
            found.append(target)
        return found

    def commit(self, changes: Mapping[Place, Change]) -> int:
        """Make the kernel hold these elements, atomically; returns how many had to be changed."""
        removed: dict[str, list[bytes]] = {}
        added: dict[str, list[Element]] = {}
        for (name, key), change in changes.items():
            held = self._held[name]
            if change is None:
                if key in held:
                    removed.setdefault(name, []).append(key)
            elif key not in held or held[key] != change[0]:
                if key in held:
                    removed.setdefault(name, []).append(key)
                added.setdefault(name, []).append(Element(key, *change))
        transaction = self._fresh or Transaction(table.TABLE)
        uses = self._uses.copy()
        for name, keys in removed.items():
            transaction.delete_elements(name, keys)
            uses.subtract(_chain(self._held[name][key]) for key in keys)
        wanted = Counter(_chain(element.data) for elements in added.values() for element in elements)
        uses.update(wanted)
        known = set(self._chains)
        for chain in sorted(wanted.keys() - known - {"", table.REFUSE.chain}):
            table.add_pick_chain(transaction, chain)
            known.add(chain)
        for name, elements in added.items():
            transaction.add_elements(name, elements)
        for chain in [
            chain for chain, count in uses.items() if count == 0 and chain in known and table.is_pick_chain(chain)
        ]:
            transaction.delete_chain(chain)
            known.discard(chain)
        transaction.commit(self._connection)
        self._fresh = None
        self._chains = known
        self._uses = +uses
        for name, keys in removed.items():
            for key in keys:
                del self._held[name][key]
        for name, elements in added.items():
            self._held[name].update((element.key, element.data) for element in elements)
        return sum(map(len, removed.values())) + sum(map(len, added.values()))

    def forget_affinity(self) -> int:
        """Delete the affinities of clients to targets that their frontend no longer has; returns how many."""
        deleted = 0
        for element in nftables.elements(self._connection, table.TABLE, table.AFFINITY):
            frontend = element.key[4:]
            if element.data in self.allowed(frontend):
                continue
            change = Transaction(table.TABLE)
            change.delete_elements(table.AFFINITY, [element.key])
            try:
                change.commit(self._connection)
                deleted += 1
            except NetlinkError as exc:
                # it expired meanwhile
                log.debug("affinity: %s", exc)
        return deleted

    def allowed(self, frontend: bytes) -> set[Target]:
        """The targets that a connection to this address, protocol and port may have got."""
        found: set[Target] = set()
        for name in (table.SERVICES, table.INNER_SERVICES):
            found.update(self.targets(name, frontend))
        if not found:
            for name in (table.NODE_PORTS, table.INNER_NODE_PORTS):
                found.update(self.targets(name, frontend[4:]))
        return found

    def is_frontend(self, frontend: bytes) -> bool:
        """Whether connections to this address, protocol and port are translated."""
        return any((name, frontend) in self for name in (table.SERVICES, table.INNER_SERVICES))

    def is_node_port(self, frontend: bytes) -> bool:
        """Whether connections to this protocol and port of the node are translated."""
        return any((name, frontend[4:]) in self for name in (table.NODE_PORTS, table.INNER_NODE_PORTS))

    def _count(self, data: Data, step: int) -> None:
        self._uses[_chain(data)] += step


def _chain(data: Data) -> str:
    return data.chain if isinstance(data, Verdict) else ""


def is_udp(name: str, key: bytes) -> bool:
    """Whether an element concerns UDP connections."""
    if name == table.HAIRPINS:
        return False
    return key[0 if "node_ports" in name else 4] == socket.IPPROTO_UDP
