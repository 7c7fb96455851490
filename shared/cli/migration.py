"""Move a cluster's bus between one server and three: the streams of one layout are copied to the other while nobody
writes, and `DATA/cluster.json` says which of the two holds.

Nothing of the old layout is touched before the new one is complete and on the disk, so an interrupted move is repeated
from the start by the next `wherry up`. Containers run on meanwhile: only their keepers are left alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from shared.bus import snapshots
from shared.bus.jetstream import JetStream
from shared.bus.offline import offline_bus
from shared.bus.replicas import streams, wait_current
from shared.bus.snapshots import Snapshot
from shared.cli.bus import BusServer, run, servers
from shared.cli.cluster import Cluster, ClusterError
from shared.cli.progress import Progress, wait_for
from shared.cli.supervise import running
from shared.errors import BusError

# leases live for seconds and are taken anew by whoever starts
TRANSIENT = ("LEASE", "NODES")
STOP_LIMIT_S = 120.0


def migrate(before: Cluster, after: Cluster, progress: Progress) -> None:
    """Bring the streams of `before` to the servers of `after` and save it. The supervisor, if it runs, keeps nothing
    but the nodes' keepers running, and gets the new plan from whoever called this.

    Raises:
        ClusterError: it did not work; the cluster is as it was.
    """
    text = f"bus moved from {before.bus_replicas} to {after.bus_replicas} servers"
    with progress.step(text) as update:
        stop_clients(before)
        remove_layout(servers(after))
        try:
            run(_move(before, after, update))
        except (BusError, TimeoutError, OSError) as exc:
            remove_layout(servers(after))
            raise ClusterError(
                f"the bus could not be moved to {after.bus_replicas} servers ({exc}); nothing was changed, start the "
                f"cluster again with --bus-replicas {before.bus_replicas}"
            ) from exc
        after.save()
        remove_layout(servers(before))


def stop_clients(cluster: Cluster) -> None:
    """Have the supervisor stop everything but the keepers, which hold the containers."""
    pid = running(cluster.run).get("supervisor")
    path = cluster.run / "plan.json"
    if pid and path.exists():
        kept = [spec for spec in json.loads(path.read_text()) if spec["name"].endswith(".keeper")]
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(kept, indent=1))
        partial.replace(path)
        os.kill(pid, signal.SIGHUP)

    def stopped() -> bool:
        return all(name == "supervisor" or name.endswith(".keeper") for name in running(cluster.run))

    wait_for(
        stopped, STOP_LIMIT_S, lambda: "the cluster's processes do not stop; run `wherry down`, then `wherry up` again"
    )


def remove_layout(found: tuple[BusServer, ...]) -> None:
    """Remove what the servers of one layout store, and nothing of the other."""
    for server in found:
        if server.routes:
            shutil.rmtree(server.store, ignore_errors=True)
        else:
            shutil.rmtree(server.store / "jetstream", ignore_errors=True)
            for name in ("nats.conf", "nats.log"):
                (server.store / name).unlink(missing_ok=True)


async def _move(before: Cluster, after: Cluster, update: Callable[[str], None]) -> None:
    directory = before.data / "bus" / "moving"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    try:
        taken = await _take(before, directory, update)
        async with offline_bus(_stores(after), after.name) as bus:
            for snapshot in taken:
                update(snapshot.name)
                await snapshots.put_back(bus, snapshot, after.bus_replicas)
                await wait_current(JetStream(bus), snapshot.name, after.bus_replicas)
    finally:
        shutil.rmtree(directory)


async def _take(cluster: Cluster, directory: Path, update: Callable[[str], None]) -> list[Snapshot]:
    taken = []
    async with offline_bus(_stores(cluster), cluster.name) as bus:
        for name in await streams(JetStream(bus)):
            if name not in TRANSIENT:
                update(name)
                await wait_current(JetStream(bus), name, cluster.bus_replicas)
                taken.append(await snapshots.take(bus, name, directory / f"{name}.snapshot"))
    return taken


def _stores(cluster: Cluster) -> list[tuple[str, Path]]:
    return [(server.name, server.store) for server in servers(cluster)]
