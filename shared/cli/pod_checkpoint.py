"""`wherry pod checkpoint` and `wherry pod restore`: a running pod into a file, and a pod that goes on from one."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from shared.bus.connection import connect
from shared.bus.streams import open_stream
from shared.cli.bus import admin
from shared.cli.client import ApiSession
from shared.cli.cluster import ClusterError, existing
from shared.errors import BusError, api_error_from_status
from shared.settings import BusSettings

ANNOTATION = "wherry.io/checkpoint"
MANIFEST = "checkpoint.json"
MANIFEST_LIMIT_BYTES = 16 << 20
LIMIT_S = 900.0
CHUNK = 256 * 1024
INWARD, END = 0, 2
# the server's, the node's or the first pod's own, and no part of what a pod made from it is asked to be
_OWN_METADATA = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences")


def add_parsers(commands: Any) -> None:
    taking = commands.add_parser("checkpoint", help="write a running pod, with its processes' memory, to a file")
    taking.add_argument("name", help="the pod; it runs on afterwards")
    taking.add_argument("file", nargs="?", metavar="FILE", help="default: <namespace>-<name>-<time>.tar")
    taking.add_argument("--export", action="store_true", help="write the archive to standard output")
    taking.add_argument("-n", "--namespace", default="default")
    taking.add_argument("--data", help="the cluster's data directory")
    taking.set_defaults(func=checkpoint)
    restoring = commands.add_parser("restore", help="make a pod whose processes go on from a checkpoint's file")
    restoring.add_argument("file", metavar="FILE")
    restoring.add_argument("--name", help="the new pod's name (default: as it was)")
    restoring.add_argument("--node", help="where it is to run (default: as it was, or any that is ready)")
    restoring.add_argument("-n", "--namespace", help="default: as it was")
    restoring.add_argument("--data", help="the cluster's data directory")
    restoring.set_defaults(func=restore)


def checkpoint(args: argparse.Namespace) -> int:
    """Run `wherry pod checkpoint`. The file appears when it is whole. ApiError, ClusterError."""
    if args.export and args.file:
        raise ClusterError("give either FILE or --export")
    path = f"/api/v1/namespaces/{args.namespace}/pods/{args.name}/checkpoint"
    with ApiSession(existing(args.data), LIMIT_S) as session:
        if args.export:
            session.download("POST", path, sys.stdout.buffer)
            return 0
        target = Path(args.file or f"{args.namespace}-{args.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar")
        partial = target.with_name(f".{target.name}.partial")
        try:
            # memory holds secrets
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                size = session.download("POST", path, file)
            partial.replace(target)
        except OSError as exc:
            raise ClusterError(f"{target} cannot be written: {exc.strerror}") from exc
        finally:
            partial.unlink(missing_ok=True)
    print(f"{target}: {size} bytes")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Run `wherry pod restore`: the node gets the archive first, then the pod is made there. ApiError, ClusterError."""
    cluster = existing(args.data)
    manifest = read_manifest(Path(args.file))
    identity = secrets.token_hex(16)
    with ApiSession(cluster, LIMIT_S) as session:
        node = choose_node(session.get("/api/v1/nodes")["items"], args.node, manifest["node"])
        pod = pod_from(manifest["pod"], identity, node, name=args.name, namespace=args.namespace)
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"
        session.request("POST", path, pod, {"dryRun": "All"})  # what is wrong with it is told before anything is sent
        try:
            owner = {key: pod["metadata"][key] for key in ("namespace", "name")}
            asyncio.run(upload(admin(cluster), node, {"id": identity, "owner": owner}, Path(args.file)))
        except BusError as exc:
            raise ClusterError(f"the checkpoint cannot be sent to node {node}: {exc}") from exc
        session.request("POST", path, pod)
    print(f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']} is being restored on {node}")
    return 0


def read_manifest(path: Path) -> dict[str, Any]:
    """What a checkpoint's file says of itself. ClusterError if it is none."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.removeprefix("./") == MANIFEST and member.size < MANIFEST_LIMIT_BYTES:
                    content = archive.extractfile(member)
                    document: dict[str, Any] = json.loads(content.read()) if content else {}
                    if document["pod"]["kind"] and document["node"]:
                        return document
    except tarfile.ReadError as exc:
        raise ClusterError(f"{path} is no checkpoint of a pod: it is no tar archive") from exc
    except OSError as exc:
        raise ClusterError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (tarfile.TarError, ValueError, KeyError, TypeError) as exc:
        raise ClusterError(f"{path} is no checkpoint of a pod: {exc}") from exc
    raise ClusterError(f"{path} is no checkpoint of a pod: it has no {MANIFEST}")


def choose_node(nodes: list[dict[str, Any]], wanted: str | None, before: str) -> str:
    """The node asked for, else the one it was on, else the first that may take pods. ClusterError if there is none."""
    usable = [node["metadata"]["name"] for node in nodes if _is_usable(node)]
    if wanted:
        if wanted not in usable:
            raise ClusterError(f"node {wanted} is not ready; these are: {', '.join(usable) or 'none'}")
        return wanted
    if not usable:
        raise ClusterError("no node is ready to take the pod")
    return before if before in usable else str(usable[0])


def _is_usable(node: dict[str, Any]) -> bool:
    ready = any(
        c["type"] == "Ready" and c["status"] == "True" for c in (node.get("status") or {}).get("conditions") or ()
    )
    return ready and not (node.get("spec") or {}).get("unschedulable")


def pod_from(
    old: dict[str, Any], identity: str, node: str, *, name: str | None = None, namespace: str | None = None
) -> dict[str, Any]:
    """The pod to be made from a checkpoint: its spec and labels, bound to a node, owned by nobody."""
    metadata = {key: value for key, value in old["metadata"].items() if key not in _OWN_METADATA}
    metadata |= {"name": name or metadata["name"], "namespace": namespace or metadata["namespace"]}
    metadata["annotations"] = (metadata.get("annotations") or {}) | {ANNOTATION: identity}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": old["spec"] | {"nodeName": node}}


async def upload(settings: BusSettings, node: str, parameters: dict[str, Any], path: Path) -> None:
    """Send a file to a node's agent, which keeps it for the pod that `parameters` name.

    The ApiError of the agent, ClusterError if it ends before it has all.
    """
    async with connect(settings, "wherry pod restore") as bus:
        stream = await open_stream(bus, node, "restore", parameters)
        try:
            seen = hashlib.sha256()
            with path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, CHUNK):
                    seen.update(data)
                    await stream.send(INWARD, data)
            await stream.send(END, json.dumps({"sha256": seen.hexdigest()}).encode())
            async for _ in stream:
                pass
        finally:
            await stream.close()
        status = stream.status or {}
        if status.get("status") == "Failure":
            raise api_error_from_status(status)
        if status.get("status") != "Success":
            raise ClusterError(f"node {node} ended before it had the whole checkpoint")
