"""`wherry status`: what runs, what it costs, and whether the nodes are ready."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError, existing
from shared.cli.plan import processes
from shared.cli.supervise import running
from shared.cli.up import is_ready
from shared.errors import ApiError


def add_parser(commands: Any) -> None:
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
    """The status as JSON: processes (pid and memory in bytes), nodes and the number of pods by phase."""
    alive = running(cluster.run)
    listed = [
        {"name": name, "pid": alive.get(name, 0), "memory": resident_bytes(alive[name]) if name in alive else 0}
        for name in ["supervisor", *(spec.name for spec in processes(cluster))]
    ]
    nodes: list[dict[str, Any]] = []
    pods: dict[str, int] = {}
    problem = ""
    try:
        with ApiSession(cluster, timeout_s=3) as session:
            for node in session.get("/api/v1/nodes")["items"]:
                nodes.append({"name": node["metadata"]["name"], "ready": is_ready(node)})
            for pod in session.get("/api/v1/pods")["items"]:
                phase = pod.get("status", {}).get("phase", "Unknown")
                pods[phase] = pods.get(phase, 0) + 1
    except (ClusterError, ApiError) as exc:
        problem = str(exc)
    healthy = not problem and all(p["pid"] for p in listed) and bool(nodes) and all(n["ready"] for n in nodes)
    return {
        "cluster": cluster.name,
        "healthy": healthy,
        "problem": problem,
        "processes": listed,
        "nodes": nodes,
        "pods": pods,
    }


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
    if state["problem"]:
        print(state["problem"])
        return
    for node in state["nodes"]:
        print(f"node {node['name']:20} {'Ready' if node['ready'] else 'NotReady'}")
    print("pods " + (", ".join(f"{count} {phase}" for phase, count in sorted(state["pods"].items())) or "none"))
