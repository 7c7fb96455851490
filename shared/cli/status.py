"""`wherry status`: what runs, what it costs, and whether the nodes are ready."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from shared.bus.connection import connect
from shared.bus.jetstream import JetStream
from shared.bus.replicas import LEADER, OFFLINE, Replica, replicas
from shared.cli.bus import admin, run, servers
from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError, existing
from shared.cli.plan import processes
from shared.cli.supervise import running
from shared.errors import ApiError, WherryError
from shared.objects import meta
from shared.state.streams import STATE
from shared.state.watermark import Watermark, watermark_path

BUS_LIMIT_S = 3.0


def add_parsers(commands: Any) -> None:
    parser = commands.add_parser("status", help="show the cluster's processes, nodes and pods")
    parser.add_argument("--data", help="the cluster's data directory")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    parser.set_defaults(func=show)


def show(args: argparse.Namespace) -> int:
    """Print the status; the exit code is 0 only if everything runs and every node is ready."""
    cluster = existing(args.data)
    state = collect(cluster)
    if args.output == "json":
        print(json.dumps(state, indent=2))
    else:
        print_text(cluster, state)
    return 0 if state["healthy"] else 1


def collect(cluster: Cluster) -> dict[str, Any]:
    """The status as JSON: processes (pid and memory in bytes), servers of the bus, nodes, number of pods by phase."""
    alive = running(cluster.run)
    listed = [
        {"name": name, "pid": alive.get(name, 0), "memory": resident_bytes(alive[name]) if name in alive else 0}
        for name in ["supervisor", *(spec.name for spec in processes(cluster))]
    ]
    nodes: list[dict[str, Any]] = []
    pods: dict[str, int] = {}
    problem = ""
    bus = bus_servers(cluster)
    try:
        with ApiSession(cluster, timeout_s=3) as session:
            for node in session.get("/api/v1/nodes")["items"]:
                nodes.append({"name": node["metadata"]["name"], "ready": meta.condition_true(node, "Ready")})
            for pod in session.get("/api/v1/pods")["items"]:
                phase = pod.get("status", {}).get("phase", "Unknown")
                pods[phase] = pods.get(phase, 0) + 1
    except (ClusterError, ApiError) as exc:
        problem = Watermark(watermark_path(cluster.data)).complaint() or str(exc)
    healthy = (
        not problem
        and all(p["pid"] for p in listed)
        and all(server["role"] != OFFLINE for server in bus)
        and bool(nodes)
        and all(n["ready"] for n in nodes)
    )
    return {
        "cluster": cluster.name,
        "healthy": healthy,
        "problem": problem,
        "processes": listed,
        "bus": bus,
        "nodes": nodes,
        "pods": pods,
    }


def bus_servers(cluster: Cluster) -> list[dict[str, Any]]:
    """Each server of the bus with its role for STATE and the entries of the log that it lacks; without a leader, or
    without an answer, all are as if they were offline."""
    found: dict[str, Replica] = {}
    with contextlib.suppress(WherryError, TimeoutError):
        found = {one.server: one for one in run(_replicas(cluster))}
    listed = []
    for server in servers(cluster):
        replica = found.get(server.name, Replica(server.name, OFFLINE))
        listed.append({"name": server.process, "address": server.address, "role": replica.role, "lag": replica.lag})
    return listed


async def _replicas(cluster: Cluster) -> list[Replica]:
    async with asyncio.timeout(BUS_LIMIT_S), connect(admin(cluster), "status") as bus:
        # a server on its own tells of no copies: it leads
        return await replicas(JetStream(bus), STATE) or [Replica(servers(cluster)[0].name, LEADER)]


def resident_bytes(pid: int) -> int:
    """Proportional set size of a process: shared pages are divided among those who share them (proc_pid_smaps(5))."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def print_text(cluster: Cluster, state: dict[str, Any]) -> None:
    print(f"cluster {cluster.name}, API {cluster.api_url}, state in {cluster.data}\n")
    print(f"{'PROCESS':26}{'PID':>8}{'MEMORY':>12}")
    for process in state["processes"]:
        memory = f"{process['memory'] / 2**20:.1f} MiB" if process["pid"] else "down"
        print(f"{process['name']:26}{process['pid'] or '-':>8}{memory:>12}")
    total = sum(process["memory"] for process in state["processes"])
    print(f"{'total':26}{'':>8}{total / 2**20:>8.1f} MiB\n")
    for server in state["bus"]:
        lag = f", {server['lag']} behind" if server["lag"] else ""
        print(f"bus {server['name']:21} {server['role']}{lag} at {server['address']}")
    if state["problem"]:
        print(state["problem"])
        return
    for node in state["nodes"]:
        print(f"node {node['name']:20} {'Ready' if node['ready'] else 'NotReady'}")
    print("pods " + (", ".join(f"{count} {phase}" for phase, count in sorted(state["pods"].items())) or "none"))
