"""`wherry logs`: what containers printed, from the LOGS stream.

Why the stream and not the nodes: lines of pods, containers and nodes that are gone are still there, and one reader sees
a whole namespace. `kubectl logs` asks the node and knows only what its files hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.bus.consumer import Delivery, PullConsumer
from shared.bus.jetstream import NO_MESSAGE, JetStream
from shared.cli import durations
from shared.cli.bus import admin, reach
from shared.cli.cluster import Cluster, ClusterError, data_directory, existing
from shared.errors import BrokerError, BusTimeout, Disconnected, NoResponders
from shared.events.subjects import token
from shared.objects.selectors import LabelSelector, parse_labels
from shared.settings import BusSettings, Settings
from shared.state.streams import LOGS

RETRY_S = 0.5
"""Pause before reading on after the broker went away in the middle of a request."""
_KNOWN_IDS = 20_000


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `logs`."""
    parser = subparsers.add_parser("logs", help="print container logs, also of pods that are gone")
    parser.add_argument("pod", nargs="?", default="", help="only this pod (default: all of the namespace)")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("-c", "--container", default="", help="only this container")
    parser.add_argument("-l", "--selector", default="", help="only pods with these labels, for example app=web")
    parser.add_argument("--node", default="", help="only this node")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing new lines")
    parser.add_argument("--since", default="", metavar="DURATION", help="only lines younger than this: 90s, 5m, 1h30m")
    parser.add_argument("--tail", type=int, default=-1, metavar="N", help="only the last N lines of each container")
    parser.add_argument("--timestamps", action="store_true", help="begin each line with its time")
    parser.add_argument("--prefix", action="store_true", help="begin each line with pod and container")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--data", help="the cluster's data directory")
    parser.set_defaults(func=show)


@dataclass(slots=True)
class Query:
    """What to print. `since` is nanoseconds since 1970, `tail` lines for each container or -1 for all."""

    filters: list[str]
    labels: LabelSelector | None = None
    since: int = 0
    tail: int = -1
    follow: bool = False
    timestamps: bool = False
    prefix: bool = False
    as_json: bool = False


@dataclass(slots=True)
class Printer:
    """Turns messages into lines. With `tail` they are held back until `release`."""

    query: Query
    out: Any
    held: dict[tuple[str, ...], deque[tuple[int, str]]] | None = None
    _known: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def take(self, delivery: Delivery) -> None:
        """Print or hold the records of one message that the query wants."""
        if self._is_repeated((delivery.headers or {}).get("Nats-Msg-Id", "")):
            return
        document = msgspec.msgpack.decode(delivery.data)
        pod = document["kubernetes"]
        if self.query.labels is not None and not self.query.labels.matches(pod.get("labels") or {}):
            return
        for record in document["records"]:
            if record["time"] and record["time"] < self.query.since:
                continue
            line = self._line(record, pod)
            if self.held is None:
                self.out.write(line)
            else:
                key = (pod["namespace_name"], pod["pod_name"], pod["pod_id"], pod["container_name"])
                lines = self.held.setdefault(key, deque(maxlen=self.query.tail))
                lines.append((record["time"], line))
        self.out.flush()

    def release(self) -> None:
        """Print what was held back, in the order of time, and hold nothing any more."""
        if self.held is not None:
            for _, line in sorted((entry for lines in self.held.values() for entry in lines), key=lambda e: e[0]):
                self.out.write(line)
            self.held = None
            self.out.flush()

    def _line(self, record: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
        if self.query.as_json:
            return json.dumps({**record, "kubernetes": pod}, ensure_ascii=False) + "\n"
        parts = []
        if self.query.prefix:
            parts.append(f"[{pod['pod_name']}/{pod['container_name']}]")
        if self.query.timestamps:
            parts.append(timestamp(record["time"]))
        parts.append(record["log"])
        return " ".join(parts) + "\n"

    def _is_repeated(self, message_id: str) -> bool:
        """A collector that was killed may have sent a batch again after the stream's own memory for ids had ended."""
        if not message_id:
            return False
        if message_id in self._known:
            return True
        self._known[message_id] = None
        if len(self._known) > _KNOWN_IDS:
            self._known.popitem(last=False)
        return False


def show(args: argparse.Namespace) -> int:
    """Run the command."""
    selector = parse_labels(args.selector) if args.selector else None
    query = Query(
        [subject_filter(args.node, "" if args.all_namespaces else args.namespace, args.pod, args.container)],
        selector,
        time.time_ns() - durations.seconds(args.since, "--since") * 1_000_000_000 if args.since else 0,
        args.tail,
        args.follow,
        args.timestamps,
        args.prefix or not args.pod,
        args.output == "json",
    )
    # lines may hold anything a container printed
    out = open(sys.stdout.fileno(), "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    asyncio.run(read(_bus(args.data), query, out))
    return 0


async def read(settings: BusSettings, query: Query, out: Any) -> None:
    """Print what the query asks for; with `follow` until cancelled."""
    async with reach(settings, "wherry logs") as bus:
        jetstream = JetStream(bus)
        start = await first_sequence(jetstream, query.since)
        printer = Printer(query, out, {} if query.tail >= 0 else None)
        last = start - 1

        def take(delivery: Delivery) -> None:
            nonlocal last
            last = delivery.sequence
            printer.take(delivery)
            if delivery.pending == 0:
                caught_up()

        done = asyncio.Event()

        def caught_up() -> None:
            printer.release()
            done.set()

        reading = asyncio.create_task(_consume(bus, query, take, caught_up, lambda: last + 1), name="logs")
        waiting = asyncio.create_task(asyncio.Event().wait() if query.follow else done.wait(), name="end of the logs")
        try:
            await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                # not in a group, whose error would be no sentence
                reading.result()
        finally:
            reading.cancel()
            waiting.cancel()
            await asyncio.wait((reading, waiting))


async def _consume(bus: Any, query: Query, take: Any, caught_up: Any, following: Any) -> None:
    """Read on across lost connections, from the sequence that `following` tells."""
    while True:
        consumer = PullConsumer(bus, LOGS, query.filters, following(), take)
        await bus.wait_connected()
        try:
            await consumer.run(lambda waiting: None if waiting else caught_up())
        except (BusTimeout, Disconnected, NoResponders):
            if not query.follow:
                raise
            await asyncio.sleep(RETRY_S)


async def first_sequence(jetstream: JetStream, since: int) -> int:
    """The first message stored at or after `since` (ns): a line reaches the stream after it was printed, never before.

    Found by bisection, because the messages of a stream that only ages lie in a row.
    """
    try:
        state = (await jetstream.stream_info(LOGS))["state"]
    except BrokerError as exc:
        raise ClusterError(f"the cluster has no logs yet: {exc}") from exc
    low, high = int(state["first_seq"]), int(state["last_seq"]) + 1
    if not since:
        return max(low, 1)
    while low < high:
        middle = (low + high) // 2
        stored = await _stored_at(jetstream, middle)
        if stored is not None and stored >= since:
            high = middle
        else:
            low = middle + 1
    return max(low, 1)


async def _stored_at(jetstream: JetStream, sequence: int) -> int | None:
    try:
        message = (await jetstream.api(f"STREAM.MSG.GET.{LOGS}", {"seq": sequence}))["message"]
    except BrokerError as exc:
        if exc.code == NO_MESSAGE:
            return None  # aged out in the meantime, so it is older
        raise
    return nanoseconds(str(message["time"]))


def subject_filter(node: str, namespace: str, pod: str, container: str) -> str:
    """The LOGS subjects of what is named; "" stands for any."""
    return ".".join(["logs", *(token(part) if part else "*" for part in (node, namespace, pod, container))])


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time with any number of digits."""
    main, _, rest = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{main}+00:00").timestamp()) * 1_000_000_000 + int(rest.ljust(9, "0")[:9] or 0)


def _bus(data: str | None) -> BusSettings:
    """The admin's way to the bus: WHERRY_BUS_* if set, else what `wherry up` wrote in the data directory."""
    if data or not os.environ.get("WHERRY_BUS_URL"):
        return admin(Cluster.load(data_directory(data)) or existing(data))
    return Settings.from_environment().bus()
