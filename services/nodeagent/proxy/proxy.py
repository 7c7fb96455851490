"""`ServiceProxy`: keeps the kernel's service maps in line with services and endpoint slices.

Exists so that the agent only hands over what its informers hold; what changed, what the kernel already has, and which
connections must be forgotten is decided here.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Iterable, Mapping

from services.nodeagent.proxy import flows, metrics, table
from services.nodeagent.proxy.changes import Changes, Key
from services.nodeagent.proxy.endpoints import Object
from services.nodeagent.proxy.endpoints import Place as Location
from services.nodeagent.proxy.ledger import Ledger, Place
from services.nodeagent.proxy.mirror import Change, Mirror, is_udp
from services.nodeagent.proxy.plan import PROTOCOLS, Elements, plan
from services.nodeagent.proxy.table import Networks
from shared.errors import NetworkError
from shared.kernel.netlink import NetlinkError, conntrack, routes
from shared.kernel.netlink.connection import NETFILTER
from shared.kernel.netlink.worker import Worker

log = logging.getLogger(__name__)


class ServiceProxy:
    """The service proxy of a node. `local_addresses` are cluster IPs that the node itself answers, such as the DNS
    server's; `zone` is the node's topology.kubernetes.io/zone; `namespace` is the path of the node's network namespace,
    None if the process is in it already.
    """

    def __init__(
        self,
        node: str,
        *,
        cluster_cidr: str = "10.244.0.0/16",
        service_cidr: str = "10.96.0.0/16",
        local_addresses: Iterable[str] = (),
        zone: str = "",
        namespace: str | None = None,
    ) -> None:
        self._networks = Networks(cluster_cidr, service_cidr, tuple(sorted(local_addresses)))
        self._skip = frozenset(self._networks.local)
        self._location = Location(node, zone)
        self._worker = Worker("proxy", namespace)
        self._changes = Changes()
        self._ledger = Ledger()
        self._pending: set[Key] = set()
        self._mirror: Mirror | None = None
        self._syncing = asyncio.Lock()

    async def apply(self, services: Mapping[Key, Object], slices: Mapping[Key, Object]) -> int:
        """Make the kernel serve exactly these services, by (namespace, name); returns the number of changed elements.

        Returns when the kernel has them. Costs what changed since the last call; the first one compares with what the
        kernel holds. Raises NetworkError; the next call then tries again.
        """
        async with self._syncing:
            stale = self._changes.look(services, slices)
            started = time.perf_counter()
            changed = await self._run(stale)
        metrics.sync_duration.observe(time.perf_counter() - started)
        metrics.last_sync.set_to_current_time()
        metrics.changed_elements.inc(changed)
        metrics.service_changes.inc(self._changes.changed_services)
        metrics.endpoint_changes.inc(self._changes.changed_slices)
        now = time.time()
        for trigger in self._changes.triggers:
            metrics.programming_duration.observe(max(0.0, now - trigger))
        return changed

    async def resync(self) -> int:
        """Compare everything with what the kernel holds and repair it; returns the number of changed elements."""
        async with self._syncing:
            self._mirror = None
            return await self._run(set())

    async def close(self) -> None:
        """Give up the thread and the socket; the kernel goes on serving."""
        async with self._syncing:
            await self._worker.close()

    async def _run(self, stale: set[Key]) -> int:
        try:
            return await self._worker.run(lambda: self._sync(stale))
        except OSError as exc:
            self._mirror = None
            raise NetworkError(f"service proxy: {exc}") from exc

    def _sync(self, stale: set[Key]) -> int:
        self._pending |= stale
        first = self._mirror is None
        sticky = self._mirror is not None and self._mirror.has_affinity
        try:
            changed, touched = self._attempt()
        except NetlinkError as exc:
            if first:
                raise
            log.warning("service proxy compares all with the kernel because it refused a change: %s", exc)
            self._mirror = None
            first = True
            changed, touched = self._attempt()
        self._pending.clear()
        if first or any(is_udp(name, key) for name, key in touched):
            try:
                self._forget_flows(touched)
            except NetlinkError as exc:
                log.warning("UDP connections to endpoints that are gone may remain: %s", exc)
        if touched and (sticky or self._ready().has_affinity):
            self._ready().forget_affinity()
        return changed

    def _attempt(self) -> tuple[int, set[Place]]:
        complete = self._mirror is None
        mirror = self._ready()
        touched: set[Place] = set()
        for key in self._pending:
            touched |= self._ledger.replace("/".join(key), self._plan(key, mirror))
        if complete:
            touched = mirror.places() | set(self._ledger.places())
        changes = {place: self._wanted(place) for place in touched}
        changed = mirror.commit(changes)
        return changed, touched if changed else set()

    def _plan(self, key: Key, mirror: Mirror) -> Elements:
        service = self._changes.service(key)
        if service is None:
            return {}
        try:
            return plan(service, self._changes.slices(key), self._location, mirror.targets, self._skip)
        except (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError) as exc:
            # one malformed object must not keep all others from being served
            log.error("service %s is not served: %s: %s", "/".join(key), type(exc).__name__, exc)
            return {}

    def _wanted(self, place: Place) -> Change:
        claim = self._ledger.winner(*place)
        if claim is None:
            return None
        owner, data = claim
        return data, owner if place[0] in table.COMMENTED else ""

    def _ready(self) -> Mirror:
        if self._mirror is None:
            mirror = Mirror(self._worker.socket(NETFILTER), self._networks)
            mirror.load()
            self._mirror = mirror
        return self._mirror

    def _forget_flows(self, touched: set[Place]) -> None:
        mirror = self._ready()
        connection = self._worker.socket(NETFILTER)
        own = {socket.inet_aton(item.address) for item in routes.addresses(self._worker.socket())}
        removed = flows.vanished(touched, mirror, table.FRONTENDS)
        doomed = [
            entry
            for entry in conntrack.entries(connection, PROTOCOLS["UDP"])
            if flows.contradicts(entry, mirror, removed, own)
        ]
        if doomed:
            deleted = conntrack.delete(connection, doomed)
            log.info("forgot %d UDP connections whose endpoint is gone", deleted)
