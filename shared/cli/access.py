"""`wherry kubeconfig` and `wherry token`: how clients get in."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import yaml

from shared.cli import durations
from shared.cli.cluster import Cluster, ClusterError, existing
from shared.identity import tokens
from shared.identity.kubeconfig import admin_kubeconfig
from shared.identity.places import Pki


def add_parsers(commands: Any) -> None:
    kubeconfig = commands.add_parser("kubeconfig", help="print the path of the cluster's kubeconfig")
    kubeconfig.add_argument("--data", help="the cluster's data directory")
    kubeconfig.add_argument("--merge", action="store_true", help="also add the cluster to ~/.kube/config and select it")
    kubeconfig.set_defaults(func=show_kubeconfig)
    token = commands.add_parser("token", help="print a bearer token for any user")
    token.add_argument("name", help="the user's name")
    token.add_argument("--group", action="append", default=[], help="a group of the user; may be given several times")
    token.add_argument("--ttl", default="24h", help="how long it is good: 90s, 30m, 24h, 365d (default 24h)")
    token.add_argument("--data", help="the cluster's data directory")
    token.set_defaults(func=show_token)


def show_kubeconfig(args: argparse.Namespace) -> int:
    cluster = existing(args.data)
    if not cluster.kubeconfig.exists():
        write_kubeconfig(cluster)
    if args.merge:
        target = Path(os.environ.get("KUBECONFIG", "").split(":")[0] or Path.home() / ".kube" / "config")
        merge_kubeconfig(cluster.kubeconfig, target)
    print(cluster.kubeconfig)
    return 0


def show_token(args: argparse.Namespace) -> int:
    cluster = existing(args.data)
    ttl_s = durations.seconds(args.ttl, "--ttl")
    print(tokens.issue(tokens.load_key(cluster.pki / "sa.key"), args.name, args.group, ttl_s))
    return 0


def write_kubeconfig(cluster: Cluster) -> None:
    """Write the administrator's kubeconfig, readable by its owner alone."""
    document = admin_kubeconfig(Pki(cluster.pki), cluster.api_url, cluster=cluster.name, user=f"{cluster.name}-admin")
    _write_private(cluster.kubeconfig, document)


def merge_kubeconfig(source: Path, target: Path) -> None:
    """Put the entries of one kubeconfig into another, replacing those of the same name, and make it current.

    Raises:
        ClusterError: the target is no kubeconfig.
    """
    new = yaml.safe_load(source.read_text())
    try:
        merged = yaml.safe_load(target.read_text()) if target.exists() else None
    except yaml.YAMLError as exc:
        raise ClusterError(f"{target} is not valid YAML, nothing was changed: {exc}") from exc
    merged = merged or {"apiVersion": "v1", "kind": "Config"}
    if not isinstance(merged, dict):
        raise ClusterError(f"{target} is no kubeconfig, nothing was changed")
    for section in ("clusters", "users", "contexts"):
        names = {entry["name"] for entry in new[section]}
        kept = [entry for entry in merged.get(section) or [] if entry.get("name") not in names]
        merged[section] = kept + new[section]
    merged["current-context"] = new["current-context"]
    target.parent.mkdir(parents=True, exist_ok=True)
    _write_private(target, merged)


def _write_private(path: Path, document: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_text(yaml.safe_dump(document, sort_keys=False))
    partial.replace(path)
