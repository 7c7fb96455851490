"""Which server of a replicated bus leads a stream, which follow and how far behind they are.

Nothing here hands leaderships over before a planned stop: nats-server does so by itself on SIGTERM, within a tenth of a
second, while its lame duck mode (SIGUSR2) was measured to hold writes up for three.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from shared.bus.jetstream import JetStream
from shared.errors import BrokerError, BusTimeout, NoResponders

LEADER = "leader"
FOLLOWER = "follower"
OFFLINE = "offline"

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Replica:
    """A server's copy of a stream: its role, and how many entries of the replicated log it lacks."""

    server: str
    role: str
    lag: int = 0

    @property
    def current(self) -> bool:
        return self.role != OFFLINE and self.lag == 0


async def replicas(jetstream: JetStream, stream: str, timeout: float = 2.0) -> list[Replica]:
    """The copies of a stream, sorted by server; empty if there is one copy, on a server that replicates nothing.

    Raises NoResponders or BusTimeout while the stream has no leader.
    """
    return read((await jetstream.stream_info(stream, timeout)).get("cluster"))


def read(cluster: dict[str, Any] | None) -> list[Replica]:
    """The copies that a stream's information tells of (the `cluster` object of JetStream's StreamInfo)."""
    if not cluster:
        return []
    found = [Replica(cluster["leader"], LEADER)] if cluster.get("leader") else []
    for peer in cluster.get("replicas") or ():
        lag = int(peer.get("lag", 0))
        # a copy that is being filled is not current, even before the leader knows how much it lacks
        behind = 0 if peer.get("current") else max(lag, 1)
        found.append(Replica(peer["name"], OFFLINE if peer.get("offline") else FOLLOWER, behind))
    return sorted(found, key=lambda one: one.server)


async def streams(jetstream: JetStream, timeout: float = 5.0) -> list[str]:
    """The names of all streams."""
    names: list[str] = []
    while True:
        page = await jetstream.api("STREAM.NAMES", {"offset": len(names)}, timeout)
        names += page.get("streams") or ()
        if len(names) >= int(page.get("total", 0)):
            return names


async def wait_current(jetstream: JetStream, stream: str, size: int, timeout: float = 60.0) -> None:
    """Wait until a stream has `size` copies that lack nothing. TimeoutError."""
    async with asyncio.timeout(timeout):
        while True:
            try:
                found = await replicas(jetstream, stream)
                if (len(found) == size or (size == 1 and not found)) and all(one.current for one in found):
                    return
            except (BusTimeout, NoResponders, BrokerError):
                pass
            await asyncio.sleep(_POLL_S)
