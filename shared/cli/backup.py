"""`wherry backup`: everything that a cluster needs to live again, in one file, while it runs or after it was stopped.

Each stream comes out as it was at one moment. Leases are left out, because they live for seconds, and so are container
logs, images and volumes, which are the nodes' and not the cluster's; images that were pushed to the registry are in.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from shared.bus import snapshots, tails
from shared.bus.connection import Connection, connect
from shared.bus.jetstream import JetStream
from shared.bus.offline import offline_bus
from shared.bus.port import Bus
from shared.bus.replicas import streams
from shared.cli import archive
from shared.cli.archive import ArchiveWriter
from shared.cli.bus import admin, run, servers
from shared.cli.cluster import Cluster, ClusterError, existing
from shared.cli.progress import Progress
from shared.cli.supervise import running
from shared.errors import BusError
from shared.state import watermark

LEFT_OUT_STREAMS = ("LEASE", "NODES", "LOGS")
# of the data directory: what is the nodes', what processes print, and the streams, which come through the broker
LEFT_OUT = ("nodes", "log", "bus", watermark.NAME)
KEPT_OF_BUS = "bus/credentials"


def add_parsers(commands: Any) -> None:
    parser = commands.add_parser("backup", help="write all state, keys and settings of the cluster to one file")
    parser.add_argument(
        "file", type=Path, help="the file to write; it holds secrets and is readable by its owner alone"
    )
    parser.add_argument("--data", help="the cluster's data directory")
    parser.set_defaults(func=backup)


def backup(args: argparse.Namespace) -> int:
    cluster = existing(args.data)
    target: Path = args.file.absolute()
    if target.is_dir() or not target.parent.is_dir():
        raise ClusterError(f"{target} cannot be written; name a file in a directory that exists")
    about = {
        "cluster": cluster.name,
        "wherry": metadata.version("wherry"),
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    progress = Progress()
    try:
        with archive.writing(target, about) as writer:
            with progress.step("settings, keys and credentials"):
                for name, path in files(cluster.data):
                    writer.add_file(f"data/{name}", path)
            with progress.step("streams") as update, tempfile.TemporaryDirectory(dir=target.parent) as directory:
                run(_add_streams(cluster, writer, Path(directory), update))
    except (BusError, TimeoutError) as exc:
        raise ClusterError(f"the streams could not be read, no backup was written: {exc}; try again") from exc
    except OSError as exc:
        raise ClusterError(f"{target} could not be written: {exc.strerror} ({exc.filename or target})") from exc
    print(f"wrote {target} ({target.stat().st_size / 2**20:.1f} MiB); it holds the keys of the cluster, keep it safe")
    return 0


def files(data: Path) -> Iterator[tuple[str, Path]]:
    """Name below the data directory, and path, of every file that belongs into a backup."""
    for top in sorted(data.iterdir()):
        if top.name in LEFT_OUT:
            continue
        yield from _below(data, top)
    yield from _below(data, data / KEPT_OF_BUS)


def _below(data: Path, top: Path) -> Iterator[tuple[str, Path]]:
    if top.is_symlink() or top.name.endswith(".partial") or top.name == ".lock":
        return
    if top.is_dir():
        for path in sorted(top.iterdir()):
            yield from _below(data, path)
    elif top.is_file():
        yield top.relative_to(data).as_posix(), top


def online(cluster: Cluster) -> AbstractAsyncContextManager[Connection]:
    """The cluster's bus, or servers on its stores if none of its own runs."""
    alive = running(cluster.run)
    if any(server.process in alive for server in servers(cluster)):
        return connect(admin(cluster), "backup")
    return offline_bus([(server.name, server.store) for server in servers(cluster)], cluster.name)


async def _add_streams(cluster: Cluster, writer: ArchiveWriter, directory: Path, update: Callable[[str], None]) -> None:
    async with online(cluster) as bus:
        # sorted, so that the registry's names (KV) are read before the blobs (OBJ) that must be there for them
        for name in sorted(await streams(JetStream(bus))):
            if name not in LEFT_OUT_STREAMS:
                update(name)
                await add_stream(bus, name, writer, directory)


async def add_stream(bus: Bus, name: str, writer: ArchiveWriter, directory: Path) -> None:
    """Add a stream as it is at one moment during this call, others writing to it or not."""
    before = await JetStream(bus).stream_info(name)
    snapshot = await snapshots.take(bus, name, directory / name)
    tail = await tails.read_tail(bus, name, int(before["state"]["last_seq"]) + 1)
    writer.add_json(f"streams/{name}/stream.json", {"config": snapshot.config, "state": snapshot.state})
    writer.add_file(f"streams/{name}/snapshot", snapshot.path)
    writer.add_bytes(f"streams/{name}/tail", tails.encode(tail))
    os.unlink(snapshot.path)
