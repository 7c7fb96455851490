"""`wherry restore`: a cluster from the file that `wherry backup` wrote.

The file is read to its end and the new state is built beside the old one, in DATA/.restoring, before anything that is
there is touched; `cluster.json`, which makes a directory a cluster, is put there last. Revisions go on far behind those
of the backup, so that none that the lost cluster still handed out is ever handed out again for something else.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from shared.bus import snapshots, tails
from shared.bus.offline import offline_bus
from shared.bus.port import Bus
from shared.bus.snapshots import Snapshot
from shared.cli import archive
from shared.cli.bus import run, servers
from shared.cli.cluster import Cluster, ClusterError, data_directory
from shared.cli.progress import Progress
from shared.cli.supervise import running
from shared.errors import BusError
from shared.state.streams import STATE
from shared.state.watermark import watermark_path

# revisions that a cluster may have handed out after its backup: ten changes a second for seven hours
LEFT_OUT_REVISIONS = 250_000
STAGING = ".restoring"
REPLACED = ".replaced"


def add_parsers(commands: Any) -> None:
    parser = commands.add_parser("restore", help="make a cluster from the file that `wherry backup` wrote")
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", help="the directory of the new cluster")
    parser.add_argument("--force", action="store_true", help="replace the cluster that is there, which must be stopped")
    parser.add_argument("--name", help="another name than the cluster had")
    parser.add_argument("--port", type=int, dest="api_port", help="another port of the API server")
    parser.add_argument("--underlay", help="another network between the nodes")
    parser.add_argument(
        "--revision-gap",
        type=int,
        default=LEFT_OUT_REVISIONS,
        help="more than the changes that were made after the backup (default %(default)s)",
    )
    parser.set_defaults(func=restore)


def restore(args: argparse.Namespace) -> int:
    source: Path = args.file.absolute()
    data = data_directory(args.data)
    progress = Progress()
    refuse_present(data, force=args.force)
    with progress.step(f"{source.name} checked") as update:
        manifest = archive.check(source, update)
    staging = data / STAGING
    try:
        with progress.step("files unpacked"):
            data.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(mode=0o700)
            unpack(source, staging)
            cluster = changed(staging, data, args)
        with progress.step("streams") as update:
            run(fill(staging, cluster, update, args.revision_gap))
        with progress.step("put in place"):
            put_in_place(staging, data, cluster)
    except (BusError, TimeoutError) as exc:
        raise ClusterError(f"the streams could not be restored, nothing was changed: {exc}") from exc
    except OSError as exc:
        raise ClusterError(f"{data} cannot be written: {exc.strerror} ({exc.filename})") from exc
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    print(
        f"the cluster {cluster.name} of {manifest.get('created')} is in {data}; start it with `wherry up --data {data}`"
    )
    return 0


def refuse_present(data: Path, *, force: bool) -> None:
    """Refuse a directory whose content would be lost.

    Raises:
        ClusterError: it holds a cluster and `force` is not given, or one that runs, or something else.
    """
    if not data.exists():
        return
    if not data.is_dir():
        raise ClusterError(f"{data} is no directory; name another with --data")
    held = {path.name for path in data.iterdir()} - {"lost+found", STAGING, REPLACED}
    if not held:
        return
    try:
        present = Cluster.load(data)
    except ClusterError:
        # a damaged cluster is what a backup is for
        present = Cluster(data)
    # without cluster.json it may be what a restore left that was interrupted while it put things in place
    if present is None and not (data / REPLACED).exists():
        raise ClusterError(
            f"{data} is not empty and holds no cluster ({sorted(held)[0]}); name an empty directory with --data"
        )
    if not force:
        raise ClusterError(f"{data} holds a cluster; name an empty directory with --data, or replace it with --force")
    if present and present.nodes and running(present.run):
        raise ClusterError(f"the cluster in {data} runs; stop it with `wherry down --data {data}`")


def unpack(source: Path, staging: Path) -> None:
    """Write the members below the staging directory, with the modes that they had."""
    for name, mode, content in archive.members(source):
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            _copy(content, file)


def _copy(content: IO[bytes], file: IO[bytes]) -> None:
    shutil.copyfileobj(content, file, 1 << 20)
    file.flush()
    os.fsync(file.fileno())


def changed(staging: Path, data: Path, args: argparse.Namespace) -> Cluster:
    """The cluster of the backup in its new directory, under the name, port and underlay that were asked for.

    Pod and Service networks stay: their addresses stand in the objects.
    """
    cluster = Cluster.load(staging / "data")
    if cluster is None:
        raise ClusterError(f"{args.file} holds no cluster.json; it is no backup of a cluster")
    asked = {
        name: value for name in ("name", "api_port", "underlay") if (value := getattr(args, name, None)) is not None
    }
    if "api_port" in asked or "name" in asked:
        # `wherry up` writes a new one; the certificates and tokens of the old one stay valid
        (staging / "data" / "kubeconfig").unlink(missing_ok=True)
    return dataclasses.replace(cluster, data=data, **asked).checked()


async def fill(staging: Path, cluster: Cluster, update: Callable[[str], None], gap: int) -> None:
    """Make the streams in the stores of the new cluster's bus."""
    stores = [(server.name, staging / "data" / server.store.relative_to(cluster.data)) for server in servers(cluster)]
    async with offline_bus(stores, cluster.name) as bus:
        for directory in sorted((staging / "streams").iterdir()):
            update(directory.name)
            await fill_stream(bus, directory, cluster.bus_replicas, gap)


async def fill_stream(bus: Bus, directory: Path, replicas: int, gap: int) -> int:
    """Make one stream from its members in a directory; its last sequence."""
    described = json.loads((directory / "stream.json").read_text())
    snapshot = Snapshot(described["config"], described["state"], directory / "snapshot")
    await snapshots.put_back(bus, snapshot, replicas)
    last = await tails.replay(bus, snapshot.config, tails.decode((directory / "tail").read_bytes()))
    if snapshot.name == STATE:
        last = await tails.advance(bus, snapshot.config, gap)
    return last


def put_in_place(staging: Path, data: Path, cluster: Cluster) -> None:
    """Exchange what is there for what was built; `cluster.json` goes first and comes last."""
    replaced = data / REPLACED
    shutil.rmtree(replaced, ignore_errors=True)
    replaced.mkdir(mode=0o700)
    names = ["cluster.json", *sorted(path.name for path in (staging / "data").iterdir() if path.name != "cluster.json")]
    for name in names:
        if (data / name).exists():
            (data / name).rename(replaced / name)
    for name in names[1:]:
        (staging / "data" / name).rename(data / name)
    (data / "log").mkdir(exist_ok=True)
    # the log that it tells of was replaced
    watermark_path(data).unlink(missing_ok=True)
    cluster.save()
    os.sync()
    shutil.rmtree(replaced)
