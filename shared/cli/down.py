"""`wherry down`: stop the cluster and leave nothing behind on the machine but its state."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

from shared.cli.cluster import Cluster, ClusterError, data_directory
from shared.cli.plan import underlay
from shared.cli.progress import Progress, wait_for
from shared.cli.supervise import running
from shared.kernel import mounts
from shared.kernel.cgroups import groups as cgroups

STOP_LIMIT_S = 90.0


def add_parsers(commands: Any) -> None:
    parser = commands.add_parser("down", help="stop the cluster; its state stays for the next `wherry up`")
    parser.add_argument("--data", help="the cluster's data directory")
    parser.add_argument("--wipe", action="store_true", help="also remove all state, which cannot be undone")
    parser.set_defaults(func=down)


def down(args: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise ClusterError("wherry down needs root to remove namespaces and mounts; run it with sudo")
    data = data_directory(args.data)
    cluster = Cluster.load(data)
    if cluster is None:
        print(f"there is no cluster in {data}; nothing to do")
        return 0
    progress = Progress()
    with progress.step("processes stopped"):
        stop_processes(cluster)
    with progress.step("containers, mounts and cgroups removed"):
        groups = cgroups.below(f"/{cluster.name}", parent_group(cluster))
        groups.kill("")
        mounts.unmount_below(cluster.data)
        mounts.unmount_below(cluster.run)
        # A group is busy until the last of the killed processes has been reaped.
        wait_for(groups.remove_all, 10, lambda: f"cgroups of {cluster.name} are still in use; run `wherry down` again")
    with progress.step("network removed"):
        underlay(cluster).down()
    shutil.rmtree(cluster.run, ignore_errors=True)
    if args.wipe:
        with progress.step(f"state in {cluster.data} removed"):
            # A mount that could not be removed would be emptied along with the tree.
            if mounts.unmount_below(cluster.data):
                raise ClusterError(
                    f"{cluster.data} had something mounted, so {cluster.data} was not removed; unmount it and try again"
                )
            shutil.rmtree(cluster.data)
    return 0


def parent_group(cluster: Cluster) -> str:
    """Where `wherry up` made the cluster's groups; a cluster that never started has none to look for."""
    with contextlib.suppress(FileNotFoundError):
        return cluster.cgroup_record.read_text()
    return cgroups.delegated()


def stop_processes(cluster: Cluster) -> None:
    """Stop the supervisor, which stops the rest; what outlived a killed supervisor is stopped here."""
    if pid := running(cluster.run).get("supervisor"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_for(
            lambda: "supervisor" not in running(cluster.run),
            STOP_LIMIT_S,
            lambda: f"the supervisor (pid {pid}) does not stop; kill it and run `wherry down` again",
            0.05,
        )
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for pid in running(cluster.run).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        settle(lambda: not running(cluster.run), 10)


def settle(done: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
