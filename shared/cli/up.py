"""`wherry up`: from nothing, or from what an earlier run left, to a cluster whose nodes are all Ready."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from shared.cli import access, bus, durations, example
from shared.cli.check import failed_features
from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError, data_directory
from shared.cli.migration import migrate
from shared.cli.plan import bus_users, processes, underlay
from shared.cli.progress import Progress
from shared.cli.readiness import Readiness
from shared.cli.supervise import running
from shared.identity.bus_users import ensure_users
from shared.identity.pki import ensure_pki
from shared.kernel.cgroups import groups

DEFAULT_NODES = 3
READY_LIMIT = "2m"
AUDIT = (
    "audit_policy_file",
    "audit_log_path",
    "audit_log_maxsize",
    "audit_log_maxbackup",
    "audit_log_maxage",
    "audit_webhook_config_file",
    "audit_webhook_batch_buffer_size",
    "audit_webhook_batch_max_size",
    "audit_webhook_batch_max_wait",
)
LATER = ("workers", "token_auth_file", *AUDIT)
CHANGEABLE = ("bus_replicas", *LATER)


def add_parsers(commands: Any) -> None:
    parser = commands.add_parser("up", help="start the cluster on this machine, or report the one that runs")
    parser.add_argument("--nodes", type=int, help=f"how many nodes (default: as before, at first {DEFAULT_NODES})")
    parser.add_argument("--data", help="directory of all state (default $WHERRY_DATA or /var/lib/wherry)")
    parser.add_argument("--name", help="the cluster's name, part of every link and namespace (default wherry)")
    parser.add_argument("--port", type=int, dest="api_port", help="port of the API server (default 6443)")
    parser.add_argument("--underlay", help="network between the nodes (default 10.89.0.0/24)")
    parser.add_argument("--pod-cidr", help="network of the pods, a /24 a node (default 10.244.0.0/16)")
    parser.add_argument("--service-cidr", help="network of the Services (default 10.96.0.0/16)")
    parser.add_argument(
        "--bus-replicas", type=int, help="servers that each keep all state, 1 or 3 (default: as before, at first 1)"
    )
    parser.add_argument(
        "--workers", type=int, help="processes of the API server, which share its port (default: as before, at first 1)"
    )
    parser.add_argument(
        "--token-auth-file", type=_absolute, help='static tokens: lines of token,user,uid,"group,group"; "" ends them'
    )
    parser.add_argument(
        "--audit-policy-file", type=_absolute, help='what the audit log records (audit.k8s.io/v1 Policy); "" ends it'
    )
    parser.add_argument("--audit-log-path", type=_absolute, help="the audit log (default DATA/log/audit.log)")
    parser.add_argument("--audit-log-maxsize", type=int, help="MiB after which a new file begins (at first 100)")
    parser.add_argument("--audit-log-maxbackup", type=int, help="how many old files are kept (at first 10; 0: all)")
    parser.add_argument("--audit-log-maxage", type=int, help="days an old file is kept (at first 30; 0: for ever)")
    parser.add_argument(
        "--audit-webhook-config-file",
        type=_absolute,
        help='kubeconfig of the server that audit events are sent to as well; "" ends that',
    )
    batch = "--audit-webhook-batch"
    parser.add_argument(f"{batch}-buffer-size", type=int, help="events that may wait to be sent (at first 10000)")
    parser.add_argument(f"{batch}-max-size", type=int, help="events that are sent at once (at first 400)")
    parser.add_argument(f"{batch}-max-wait", type=int, help="seconds until fewer are sent (at first 30)")
    parser.add_argument(
        "--example", type=Path, metavar="DIR", help="also build and deploy the example in this directory"
    )
    parser.add_argument(
        "--timeout",
        default=READY_LIMIT,
        metavar="DURATION",
        help=f"how long to wait until the API server and all nodes are ready: 90s, 5m (default {READY_LIMIT})",
    )
    parser.set_defaults(func=up)


def _absolute(text: str) -> str:
    """The path as the API server, which runs elsewhere, will find it; "" stays."""
    return str(Path(text).absolute()) if text else ""


def up(args: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise ClusterError("wherry up needs root to make namespaces and mounts; run it with sudo")
    limit_s = durations.seconds(args.timeout, "--timeout")
    data = data_directory(args.data)
    before = Cluster.load(data)
    cluster = wanted(before or Cluster(data=data), args)
    if before == cluster and "supervisor" in running(cluster.run):
        print(f"the cluster {cluster.name} already runs:")
    else:
        print(f"starting the cluster {cluster.name} with {len(cluster.nodes)} nodes, state in {cluster.data}")
    progress = Progress()
    if cluster.audit_policy_file and not Path(cluster.audit_policy_file).is_file():
        raise ClusterError(
            f"the audit policy {cluster.audit_policy_file} is no file; --audit-policy-file names another"
        )
    if cluster.audit_webhook_config_file and not Path(cluster.audit_webhook_config_file).is_file():
        raise ClusterError(
            f"the kubeconfig {cluster.audit_webhook_config_file} is no file; --audit-webhook-config-file names another"
        )
    if cluster.token_auth_file and not Path(cluster.token_auth_file).is_file():
        raise ClusterError(f"the token file {cluster.token_auth_file} is no file; --token-auth-file names another")
    if before and before.bus_replicas != cluster.bus_replicas:
        migrate(before, cluster, progress)
    start(cluster, progress, limit_s)
    with ApiSession(cluster) as session:
        answer = example.deploy(cluster, session, args.example, progress) if args.example else None
    print_next_steps(cluster, answer)
    return 0


def wanted(cluster: Cluster, args: argparse.Namespace) -> Cluster:
    """The cluster as the arguments ask for it.

    Raises:
        ClusterError: an argument would change what cannot change in a cluster that exists.
    """
    asked = {
        name: value
        for name in ("name", "api_port", "underlay", "pod_cidr", "service_cidr", "bus_replicas", *LATER)
        if (value := getattr(args, name)) is not None
    }
    if cluster.nodes:
        for name, value in asked.items():
            if getattr(cluster, name) != value and name not in CHANGEABLE:
                raise ClusterError(
                    f"the cluster in {cluster.data} has {name.replace('_', ' ')} {getattr(cluster, name)}, which "
                    f"cannot become {value}; use another --data, or remove this one with `wherry down --wipe`"
                )
    cluster = dataclasses.replace(cluster, **asked).checked()
    return cluster.with_nodes(args.nodes or len(cluster.nodes) or DEFAULT_NODES)


def start(cluster: Cluster, progress: Progress, limit_s: float) -> None:
    """Start or complete the cluster; returns when the API server and every node are ready.

    Raises:
        ClusterError: something is in the way, or not everything was ready within `limit_s` seconds.
    """
    alive = running(cluster.run)
    groups.settle()
    if failed := failed_features():
        raise ClusterError(f"this machine lacks {', '.join(failed)}; `wherry check` says what to do")
    prepare_directories(cluster)
    if not any(name.startswith("apiserver") for name in alive):
        refuse_taken_port(cluster.api_port)
    with progress.step("keys, certificates and bus users"):
        ensure_pki(
            cluster.data,
            addresses=["127.0.0.1", cluster.gateway, cluster.kubernetes_address],
            names=["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                   "kubernetes.default.svc.cluster.local"],
        )  # fmt: skip
        changed = bus.configure(cluster, ensure_users(cluster.data, bus_users(cluster)))
        if not cluster.kubeconfig.exists():
            access.write_kubeconfig(cluster)
    with progress.step("network of the nodes"):
        underlay(cluster).up(list(cluster.nodes))
    cluster.save()
    with progress.step("state log, API server, controllers, scheduler, registry"):
        for pid in (alive[name] for name in changed if name in alive):
            os.kill(pid, signal.SIGHUP)
        supervise(cluster)
        readiness = Readiness(cluster, limit_s)
        readiness.wait_api()
    with progress.step("nodes ready") as update:
        nodes = readiness.wait_nodes(update)
        underlay(cluster).set_pod_routes(
            {node["spec"]["podCIDR"]: cluster.node_address(node["metadata"]["name"]) for node in nodes}
        )


def prepare_directories(cluster: Cluster) -> None:
    """Make the directories; refuse a data directory that cannot hold state or holds something else."""
    data = cluster.data
    try:
        data.mkdir(parents=True, exist_ok=True)
        stray = [path.name for path in data.iterdir() if path.name not in ("pki", "lost+found")]
        if stray and not (data / "cluster.json").exists():
            raise ClusterError(
                f"{data} is not empty and holds no cluster ({stray[0]}); name an empty directory with --data"
            )
        for directory in (data, cluster.logs, data / "nodes", cluster.run):
            directory.mkdir(parents=True, exist_ok=True)
        data.chmod(0o711)
        probe = data / ".writable"
        probe.write_text("")
        probe.unlink()
        if not running(cluster.run):
            cluster.cgroup_record.write_text(groups.delegated())
    except OSError as exc:
        raise ClusterError(f"the data directory {data} cannot be used: {exc.strerror} ({exc.filename})") from exc


def refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise ClusterError(f"port {port} on 127.0.0.1 is taken by another program; choose one with --port") from exc


def supervise(cluster: Cluster) -> None:
    """Hand the plan to the supervisor, starting it if none runs."""
    plan = json.dumps([spec.as_json() for spec in processes(cluster, cluster.cgroup_record.read_text())], indent=1)
    path = cluster.run / "plan.json"
    same = path.exists() and path.read_text() == plan
    partial = path.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(plan)
    partial.replace(path)
    if pid := running(cluster.run).get("supervisor"):
        if not same:
            os.kill(pid, signal.SIGHUP)
        return
    with (cluster.logs / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "shared.cli.supervise", str(cluster.run), str(cluster.logs)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def print_next_steps(cluster: Cluster, answer: str | None) -> None:
    print(f"\nthe cluster {cluster.name} is ready: {cluster.api_url}")
    if answer:
        print(f"the example answers at http://{cluster.node_address(cluster.nodes[0])}:30080/ : {answer}")
    program = Path(sys.argv[0])
    with contextlib.suppress(ValueError):
        program = program.absolute().relative_to(Path.cwd())
    clients = (
        ""
        if shutil.which("kubectl")
        else "\n  make clients && export PATH=$PATH:$PWD/.cache/tools   # kubectl and helm"
    )
    print(f"""
try next:{clients}
  export KUBECONFIG={cluster.kubeconfig}
  kubectl get nodes,pods -A -o wide
  kubectl -n hello logs -f daemonset/ticker
  kubectl create deployment web --image=example:1 --replicas=3
  {program} status
  {program} logs -f -n hello
stop it with `make down` (or `{program} down`); the state stays for the next start""")
