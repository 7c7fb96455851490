"""`wherry node shutdown` and `wherry node start`: take a node out of service gracefully, and back in.

The wish is an annotation of the Node, so it reaches a node wherever it is, and any client could write it.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from shared.cli.client import ApiSession
from shared.cli.cluster import ClusterError, existing
from shared.errors import NotFound

ANNOTATION = "wherry.io/shutdown"
REQUESTED, DONE = "requested", "done"
POLL_S = 0.2


def add_parsers(commands: Any) -> None:
    parser = commands.add_parser("node", help="shut a node down gracefully, or take it back into service")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    down = actions.add_parser("shutdown", help="end the node's pods in order of priority; it takes no more until start")
    down.add_argument("node", help="name of the node")
    down.add_argument("--timeout", type=float, default=300.0, help="seconds to wait for the end (default 300)")
    down.add_argument("--data", help="the cluster's data directory")
    down.set_defaults(func=shutdown)
    up = actions.add_parser("start", help="let the node take pods again")
    up.add_argument("node", help="name of the node")
    up.add_argument("--data", help="the cluster's data directory")
    up.set_defaults(func=start)


def shutdown(args: argparse.Namespace) -> int:
    """Ask for the shutdown and wait until the node says that its pods have ended."""
    with ApiSession(existing(args.data)) as session:
        _annotate(session, args.node, REQUESTED)
        deadline = time.monotonic() + args.timeout
        while _annotation(session, args.node) != DONE:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"node {args.node} has not ended its pods within {args.timeout:g} s; see `kubectl get pods -A "
                    f"--field-selector spec.nodeName={args.node}`, or take it back with `wherry node start {args.node}`"
                )
            time.sleep(POLL_S)
    print(f"node {args.node} is shut down; take it back into service with `wherry node start {args.node}`")
    return 0


def start(args: argparse.Namespace) -> int:
    """Take the wish back."""
    with ApiSession(existing(args.data)) as session:
        _annotate(session, args.node, None)
    print(f"node {args.node} takes pods again")
    return 0


def _annotate(session: ApiSession, node: str, value: str | None) -> None:
    body = {"metadata": {"annotations": {ANNOTATION: value}}}
    try:
        session.request("PATCH", f"/api/v1/nodes/{node}", body, content_type="application/merge-patch+json")
    except NotFound as exc:
        raise ClusterError(f"there is no node {node}; see `kubectl get nodes`") from exc


def _annotation(session: ApiSession, node: str) -> str:
    found = session.get(f"/api/v1/nodes/{node}")["metadata"].get("annotations") or {}
    return str(found.get(ANNOTATION) or "")
