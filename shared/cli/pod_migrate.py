"""`wherry pod migrate`: move a running pod, with the memory of its processes, to another node."""

from __future__ import annotations

import argparse
import time
from typing import Any

from shared.cli.client import ApiSession
from shared.cli.cluster import ClusterError, existing

# taking, sending and keeping an image of some gigabytes
MIGRATION_LIMIT_S = 900.0
RESTORED_LIMIT_S = 120.0


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("migrate", help="move a running pod to another node, where its processes go on")
    parser.add_argument("name", help="the pod")
    parser.add_argument("--to", required=True, metavar="NODE", help="the node that is to run it")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--data", help="the cluster's data directory")
    parser.set_defaults(func=migrate)


def migrate(args: argparse.Namespace) -> int:
    """Run the command. ApiError as the API server refuses, ClusterError if the pod does not come up again."""
    path = f"/api/v1/namespaces/{args.namespace}/pods/{args.name}"
    with ApiSession(existing(args.data), MIGRATION_LIMIT_S) as session:
        before = session.get(path)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": args.name, "namespace": args.namespace},
            "target": {"kind": "Node", "name": args.to},
        }
        session.request("POST", f"{path}/migrate", binding)
        pod = wait_running(session, path, before["metadata"]["uid"])
    old, new = before["status"].get("podIP", "none"), pod["status"]["podIP"]
    print(f"pod {args.name} runs on {args.to}; its address was {old} and is {new}")
    return 0


def wait_running(session: ApiSession, path: str, uid: str) -> dict[str, Any]:
    """Wait until the pod's node tells that its containers run. ClusterError if it does not in time, or is gone."""
    deadline = time.monotonic() + RESTORED_LIMIT_S
    while time.monotonic() < deadline:
        pod: dict[str, Any] = session.get(path)
        status = pod["status"]
        if pod["metadata"]["uid"] != uid:
            break
        if status.get("podIP") and all("running" in c["state"] for c in status.get("containerStatuses") or ()):
            return pod
        time.sleep(0.1)
    raise ClusterError(f"the pod does not run yet; `kubectl describe pod {path.rpartition('/')[2]}` says why")
