"""`wherry history`, `wherry diff` and `wherry get --at`: what the cluster was, and who made it what it is.

Author and cause are in the log and nowhere in the Kubernetes API, so these commands read the log itself, as the
cluster's administrator; only the listing of a past state is the API server's work, for it draws the tables.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import uvloop
import yaml

from shared.bus.jetstream import JetStream
from shared.cli import kinds, moments
from shared.cli.bus import admin, reach
from shared.cli.client import ApiSession
from shared.cli.cluster import Cluster, ClusterError, existing
from shared.cli.differences import bare, differences
from shared.cli.kinds import Kind
from shared.errors import Gone
from shared.events.subjects import Ref
from shared.state import floors
from shared.state.cache import Cache
from shared.state.history import History, revision_at
from shared.state.record import Record

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_AT = "a revision, or a time: 14:03, 2026-03-01T14:03:00Z, 10m (ago)"
# changed places shown for a revision, before "and more"
_SHOWN = 6


def add_parsers(commands: Any) -> None:
    """Add the commands `history`, `diff` and `get`."""
    history = commands.add_parser("history", help="who changed an object, when, how and what")
    _add_object(history)
    history.add_argument("--all-fields", action="store_true", help="show every changed field of every revision")
    history.add_argument("-o", "--output", choices=("text", "json"), default="text")
    history.set_defaults(func=show_history)
    diff = commands.add_parser("diff", help="how an object differed between two points in time")
    _add_object(diff)
    diff.add_argument("--at", required=True, metavar="MOMENT", help=f"the earlier state: {_AT}")
    diff.add_argument("--to", default="", metavar="MOMENT", help="the later state (default: now)")
    diff.set_defaults(func=show_diff)
    get = commands.add_parser("get", help="the cluster as it was: objects at a revision or a time")
    get.add_argument("kind", help="pods, po, Deployment, deployments.apps ...")
    get.add_argument("name", nargs="?", default="")
    get.add_argument("--at", required=True, metavar="MOMENT", help=_AT)
    get.add_argument("-n", "--namespace", default="default")
    get.add_argument("-A", "--all-namespaces", action="store_true")
    get.add_argument("-l", "--selector", default="", help="only objects with these labels")
    get.add_argument("-o", "--output", choices=("table", "yaml", "json", "name"), default="table")
    get.add_argument("--data", help="the cluster's data directory")
    get.set_defaults(func=show_past)


def _add_object(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", help="pod, deploy, Deployment, deployments.apps ...")
    parser.add_argument("name")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--data", help="the cluster's data directory")


def show_history(args: argparse.Namespace) -> int:
    """Print the revisions of an object, oldest first."""
    cluster = existing(args.data)
    kind = _kind(cluster, args.kind)
    records = uvloop.run(_revisions(cluster, kind, args))
    if not records:
        raise _unknown(kind, args)
    entries = [entry(record, before) for record, before in zip(records, [None, *records], strict=False)]
    if args.output == "json":
        print(json.dumps(entries, ensure_ascii=False, indent=1))
        return 0
    rows = [("REVISION", "TIME", "USER", "AGENT", "MANAGER", "CAUSE")]
    rows += [
        (str(one["revision"]), *(one[key] for key in ("time", "user", "agent", "manager", "cause"))) for one in entries
    ]
    lines = aligned(rows)
    print(lines[0])
    for line, one in zip(lines[1:], entries, strict=True):
        print(line)
        shown = one["changes"] if args.all_fields else one["changes"][:_SHOWN]
        for change in shown:
            print(f"    {change}")
        if len(one["changes"]) > len(shown):
            print(f"    and {len(one['changes']) - len(shown)} more (--all-fields shows them)")
    return 0


def entry(record: Record, before: Record | None) -> dict[str, Any]:
    """One revision as it is shown; `before` is the revision that it replaced, if that is kept."""
    if record.deleted:
        changes = []
    elif before is None or before.deleted:
        changes = [] if record.predecessor == 0 or before is not None else ["earlier revisions are no longer kept"]
    else:
        changes = [str(one) for one in differences(before.object, record.object)]
    cause = record.cause or "-"
    return {
        "revision": record.revision,
        "time": datetime.fromtimestamp(record.time, UTC).astimezone().isoformat(timespec="seconds"),
        "user": record.author.user or "-",
        "agent": record.author.agent.partition(" ")[0] or "-",
        "manager": record.author.manager or "-",
        "cause": f"{cause} (the object is gone)" if record.deleted else cause,
        "deleted": record.deleted,
        "changes": changes,
    }


def show_diff(args: argparse.Namespace) -> int:
    """Print a unified diff of two states; exit code 1 if they differ, as diff(1) has it."""
    cluster = existing(args.data)
    kind = _kind(cluster, args.kind)
    name = f"{kind.plural}/{args.name}"
    old, new = uvloop.run(_two(cluster, kind, args))
    lines = list(difflib.unified_diff(_lines(old), _lines(new), f"{name} {_label(old)}", f"{name} {_label(new)}"))
    sys.stdout.writelines(lines)
    return 1 if lines else 0


def show_past(args: argparse.Namespace) -> int:
    """Print objects as they were."""
    cluster = existing(args.data)
    with ApiSession(cluster) as session:
        kind = kinds.find(session, args.kind)
        moment = moments.parse(args.at, datetime.now().astimezone())
        revision = moment if isinstance(moment, int) else uvloop.run(_revision_at(cluster, moment))
        namespace = "" if args.all_namespaces else args.namespace
        query = {"resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
        if args.selector:
            query["labelSelector"] = args.selector
        if args.name:
            query["fieldSelector"] = f"metadata.name={args.name}"
        try:
            answer = session.request(
                "GET",
                kind.path(namespace),
                query=query,
                accept=_TABLE if args.output == "table" else "application/json",
            )
        except Gone as exc:
            raise ClusterError(f"{_named(args.at, revision)} is before the history begins: {exc}") from exc
    return _print(args, kind, answer)


def _print(args: argparse.Namespace, kind: Kind, answer: dict[str, Any]) -> int:
    items = answer.get("rows" if args.output == "table" else "items") or []
    if not items and args.name:
        raise ClusterError(f"there was no {kind.plural} {args.name}{_where(kind, args.namespace)} at {args.at}")
    if args.output == "table":
        if not items:
            where = "" if args.all_namespaces else _where(kind, args.namespace)
            print(f"there were no {kind.plural}{where} at {args.at}", file=sys.stderr)
            return 0
        columns = [(index, one["name"]) for index, one in enumerate(answer["columnDefinitions"]) if not one["priority"]]
        rows = [tuple(name.upper() for _, name in columns)]
        rows += [tuple(str(row["cells"][index]) for index, _ in columns) for row in items]
        if args.all_namespaces and kind.namespaced:
            spaces = ["NAMESPACE", *(row["object"]["metadata"]["namespace"] for row in items)]
            rows = [(space, *row) for space, row in zip(spaces, rows, strict=True)]
        print("\n".join(aligned(rows)))
        return 0
    for item in items:
        item.setdefault("kind", kind.kind)
        item.setdefault("apiVersion", f"{kind.group}/{kind.version}" if kind.group else kind.version)
    if args.output == "name":
        for item in items:
            print(f"{kind.plural}/{item['metadata']['name']}")
    elif args.output == "json":
        print(json.dumps(items[0] if args.name else answer, ensure_ascii=False, indent=1))
    else:
        print(yaml.safe_dump_all(items, sort_keys=False, allow_unicode=True), end="")
    return 0


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines in columns."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def chosen(records: Sequence[Record], revision: int) -> Record | None:
    """The record that was the object at a revision; None if there was no object. ClusterError if it is not known."""
    past = [record for record in records if record.revision <= revision]
    if not past:
        if records and records[0].predecessor > 0:
            raise ClusterError(
                f"what was at revision {revision} is no longer kept, the oldest is {records[0].revision}"
            )
        return None
    return None if past[-1].deleted else past[-1]


def _kind(cluster: Cluster, word: str) -> Kind:
    with ApiSession(cluster) as session:
        return kinds.find(session, word)


async def _revisions(cluster: Cluster, kind: Kind, args: argparse.Namespace) -> list[Record]:
    async with reach(admin(cluster), "wherry history") as bus:
        return await History(bus, Cache()).revisions(_ref(kind, args))


async def _two(cluster: Cluster, kind: Kind, args: argparse.Namespace) -> tuple[Record | None, Record | None]:
    async with reach(admin(cluster), "wherry diff") as bus:
        floor = (await floors.read(JetStream(bus))).revision
        records = await History(bus, Cache()).revisions(_ref(kind, args))
        if not records:
            raise _unknown(kind, args)
        states = []
        now = datetime.now().astimezone()
        for text in (args.at, args.to):
            moment = moments.parse(text, now) if text else 1 << 63
            revision = moment if isinstance(moment, int) else await revision_at(bus, moment)
            if revision < floor:
                raise ClusterError(f"{_named(text, revision)} is before the history begins, at revision {floor}")
            states.append(chosen(records, revision))
    return states[0], states[1]


async def _revision_at(cluster: Cluster, moment: float) -> int:
    async with reach(admin(cluster), "wherry get") as bus:
        return await revision_at(bus, moment)


def _ref(kind: Kind, args: argparse.Namespace) -> Ref:
    return Ref(kind.group, kind.plural, args.namespace if kind.namespaced else "", args.name)


def _unknown(kind: Kind, args: argparse.Namespace) -> ClusterError:
    elsewhere = "; name another with -n" if kind.namespaced else ""
    return ClusterError(f"the log knows no {kind.plural} {args.name}{_where(kind, args.namespace)}{elsewhere}")


def _named(text: str, revision: int) -> str:
    return f"revision {revision}" if text == str(revision) else f"{text} (revision {revision})"


def _where(kind: Kind, namespace: str) -> str:
    return f" in namespace {namespace}" if kind.namespaced else ""


def _label(record: Record | None) -> str:
    return f"at revision {record.revision}" if record else "(none)"


def _lines(record: Record | None) -> list[str]:
    if record is None:
        return []
    return yaml.safe_dump(bare(record.object), sort_keys=False, allow_unicode=True).splitlines(keepends=True)
