"""`wherry pod suspend` and `wherry pod resume`: freeze all processes of a pod, or of some containers, where they are.

The wish is written into an annotation of the pod; its node carries it out and tells by the condition
wherry.io/Suspended. Memory stays as it is, connections stay open, and no probe is made meanwhile.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from shared.cli import pod_checkpoint, pod_migrate
from shared.cli.client import ApiSession
from shared.cli.cluster import ClusterError, existing
from shared.cli.intermixed import Intermixed

ANNOTATION = "wherry.io/suspended"
CONDITION = "wherry.io/Suspended"
WAIT_S = 30.0
LOOK_AGAIN_S = 0.2


def add_parsers(commands: Any) -> None:
    """Add the command `pod`."""
    parser = commands.add_parser("pod", help="suspend, resume, checkpoint, restore and migrate the processes of a pod")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=Intermixed)
    pod_checkpoint.add_parsers(actions)
    pod_migrate.add_parser(actions)
    for name, text in (("suspend", "freeze all processes"), ("resume", "let frozen processes go on")):
        action = actions.add_parser(name, help=text)
        action.add_argument("pod", help="the pod's name")
        action.add_argument("-n", "--namespace", default="default")
        action.add_argument("-c", "--container", default="", help="only this container (default: all)")
        action.add_argument("--no-wait", action="store_true", help="do not wait until the node has done it")
        action.add_argument("--data", help="the cluster's data directory")
        action.set_defaults(func=change, suspend=name == "suspend")


def change(args: argparse.Namespace) -> int:
    """Write the wish, and wait until the pod's status shows it."""
    path = f"/api/v1/namespaces/{args.namespace}/pods/{args.pod}"
    with ApiSession(existing(args.data)) as session:
        pod = session.get(path)
        value = annotation(pod, args.container, suspend=args.suspend)
        patch = {"metadata": {"annotations": {ANNOTATION: value}}}
        session.request("PATCH", path, patch, content_type="application/merge-patch+json")
        if not args.no_wait and pod.get("status", {}).get("phase") == "Running":
            _wait(session, path, "True" if value else "False")
    print(f"pod/{args.pod} {'suspended' if args.suspend else 'resumed'}")
    return 0


def annotation(pod: dict[str, Any], container: str, *, suspend: bool) -> str | None:
    """The annotation's new value, None to remove it. Raises ClusterError for a container that the pod has not."""
    spec = pod["spec"]
    names = [
        one["name"] for key in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(key) or ()
    ]
    if container and container not in names:
        raise ClusterError(f"pod {pod['metadata']['name']} has no container {container!r}; it has {', '.join(names)}")
    present = (pod["metadata"].get("annotations") or {}).get(ANNOTATION) or ""
    if not container:
        return "*" if suspend else None
    held = set(names) if present == "*" else {name for name in present.split(",") if name}
    held = held | {container} if suspend else held - {container}
    if suspend and present == "*":
        return "*"
    return ",".join(name for name in names if name in held) or None


def _wait(session: ApiSession, path: str, status: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = session.get(path).get("status", {}).get("conditions") or ()
        if {one["type"]: one["status"] for one in found}.get(CONDITION, "False") == status:
            return
        time.sleep(LOOK_AGAIN_S)
    raise ClusterError(f"the node has not done it within {WAIT_S:g} s; see `kubectl describe` of the pod and its node")
