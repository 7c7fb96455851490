"""`make bench-api`: the API server and its broker under load, beside kube-apiserver and etcd on the same machine.

Nothing else of a cluster runs. The figures of one run belong together; where others use the machine as well, the
columns of processor time tell more than the rates. Options: `--workers 1,2`, `--only NAME` (repeatable), `--scale F`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.nats import NatsServer
from tests.integration.apiserver.process import ApiServerProcess

ROOT = Path(__file__).parents[2]
PODS = "/api/v1/namespaces/bench/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
LISTS = 20
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measure:
    """A line of the table; `reference` is what kube-apiserver 1.36 with etcd 3.6 reached on such a machine."""

    name: str
    unit: str
    reference: float | None = None
    lower_is_better: bool = False


CREATE = Measure("create pods, 32 connections", "/s", 1426)
GET = Measure("get a pod, 32 connections", "/s", 3635)
GET_ANY = Measure("  the same at any revision, no barrier", "/s")
UPDATE = Measure("get, then put, 32 connections", "/s", 772)
PATCH = Measure("merge patch, 32 connections", "/s", 1170)
DELETE = Measure("delete pods, 32 connections", "/s")
LIST = Measure("list 5,000 pods, JSON", "ms", 134, True)
LIST_TABLE = Measure("list 5,000 pods, Table", "ms", 80, True)
EVENTS = Measure("50 watches x 1,000 creates", "events/s", 85_000)
LAG_50 = Measure("  lag of an event, p50", "ms", 18, True)
LAG_99 = Measure("  lag of an event, p99", "ms", 37, True)
IDLE = Measure("1,000 idle watches, memory of each", "KiB", None, True)
MEMORY = Measure("memory, 10,000 pods and 5,000 nodes", "MiB", 1119, True)
MEASURES = (CREATE, GET, GET_ANY, UPDATE, PATCH, DELETE, LIST, LIST_TABLE, EVENTS, LAG_50, LAG_99, IDLE, MEMORY)


@dataclass
class Bed:
    """A broker and API server processes in a directory of their own."""

    nats: NatsServer
    servers: list[ApiServerProcess]
    results: dict[Measure, float] = field(default_factory=dict)
    details: dict[Measure, str] = field(default_factory=dict)

    def load(self, op: str, count: int, path: str = PODS, **options: Any) -> dict[str, Any]:
        """Run one load to its end."""
        process = self.begin(op, count, path, **options)
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the load {op} failed")
        result: dict[str, Any] = json.loads(output)
        return result

    def begin(self, op: str, count: int, path: str = PODS, **options: Any) -> subprocess.Popen[str]:
        server = self.servers[0]
        load = {"port": server.port, "ca": str(server.pki.ca_certificate), "token": server.token}
        load |= {"op": op, "path": path, "count": count, **options}
        command = [sys.executable, "-m", "tests.bench.api_load"]
        process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(json.dumps(load) + "\n")
        process.stdin.flush()
        return process

    @property
    def pids(self) -> list[int]:
        return [server.pid for server in self.servers]

    def rate(self, measure: Measure, op: str, count: int, **options: Any) -> None:
        """Measure operations per second, and what of processor time each of them took."""
        servers, broker = cpu_seconds(self.pids), cpu_seconds([self.nats.pid])
        result = self.load(op, count, **options)
        servers, broker = cpu_seconds(self.pids) - servers, cpu_seconds([self.nats.pid]) - broker
        self.results[measure] = count / result["seconds"]
        latencies = result["latencies"]
        self.details[measure] = (
            f"p50 {statistics.median(latencies) * 1e3:.1f} ms, p99 {quantile(latencies, 0.99) * 1e3:.1f} ms; "
            f"CPU us each: server {servers / count * 1e6:.0f} ({count / servers:,.0f}/s a core), "
            f"broker {broker / count * 1e6:.0f}, load {result['cpu'] / count * 1e6:.0f}"
        )


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pids: list[int]) -> float:
    """Proportional set size of processes together, in MiB."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def bed(workers: int) -> Iterator[Bed]:
    """Start a broker and servers; all is gone afterwards."""
    # a real disk, for what a write costs is mostly its sync
    directory = Path(tempfile.mkdtemp(prefix="wherry-bench-api-", dir="/var/tmp"))
    try:
        with ExitStack() as stack:
            (directory / "nats").mkdir()
            (directory / "cluster").mkdir()
            nats = stack.enter_context(NatsServer(directory / "nats"))
            servers: list[ApiServerProcess] = []
            for _ in range(workers):
                port = servers[0].port if servers else None
                servers.append(stack.enter_context(ApiServerProcess(nats, directory / "cluster", port)))
            started = Bed(nats, servers)
            make_namespace(started)
            yield started
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_namespace(started: Bed) -> None:
    import http.client
    import ssl

    server = started.servers[0]
    context = ssl.create_default_context(cafile=str(server.pki.ca_certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": "bench"}}), headers)
    assert connection.getresponse().status == 201
    connection.close()


def measure(started: Bed, only: list[str], scale: float) -> None:
    """Everything in the order of the table; objects made by one measurement are used by the next."""

    def wanted(one: Measure) -> bool:
        return not only or any(word in one.name for word in only)

    def count(number: int) -> int:
        return max(32, int(number * scale))

    pods = count(5000)
    started.load("create", 300, first=900_000)
    started.load("delete", 300, first=900_000)
    started.rate(CREATE, "create", pods)
    if wanted(GET):
        started.rate(GET, "get", pods)
        started.rate(GET_ANY, "any", pods)
    if wanted(LIST):
        for one, accept in ((LIST, "application/json"), (LIST_TABLE, TABLE)):
            # the first makes what the others find
            first = started.load("list", 1, connections=1, accept=accept)["latencies"][0]
            cpu = cpu_seconds(started.pids)
            result = started.load("list", LISTS, connections=1, accept=accept)
            cpu, times = cpu_seconds(started.pids) - cpu, result["latencies"]
            started.results[one] = statistics.median(times) * 1e3
            started.details[one] = (
                f"first {first * 1e3:.0f} ms, best {min(times) * 1e3:.0f} ms; "
                f"CPU ms each: server {cpu / LISTS * 1e3:.0f}, load {result['cpu'] / LISTS * 1e3:.0f}"
            )
    if wanted(UPDATE):
        started.rate(UPDATE, "update", count(3000))
    if wanted(PATCH):
        started.rate(PATCH, "patch", pods)
    if wanted(EVENTS):
        events(started, count(1000))
    if wanted(IDLE):
        idle_watches(started, 1000)
    if wanted(MEMORY):
        started.load("create", count(5000), first=100_000)
        started.load("nodes", count(5000), path="/api/v1/nodes")
        time.sleep(5)
        started.results[MEMORY] = memory([*started.pids, started.nats.pid])
        parts = ", ".join(f"{memory([pid]):.0f}" for pid in started.pids)
        started.details[MEMORY] = f"servers {parts}, broker {memory([started.nats.pid]):.0f}"
    if wanted(DELETE):
        started.rate(DELETE, "delete", pods)


def events(started: Bed, creates: int) -> None:
    watchers = started.begin("watch", 50, events=creates)
    assert watchers.stdout is not None
    watchers.stdout.readline()
    cpu = cpu_seconds(started.pids)
    started.load("create", creates, first=500_000)
    output, _ = watchers.communicate()
    result = json.loads(output)
    lags = result["latencies"]
    started.results[EVENTS] = len(lags) / result["seconds"]
    started.results[LAG_50] = statistics.median(lags) * 1e3
    started.results[LAG_99] = quantile(lags, 0.99) * 1e3
    used = (cpu_seconds(started.pids) - cpu) / len(lags) * 1e6
    started.details[EVENTS] = f"CPU us an event: server {used:.1f}, load {result['cpu'] / len(lags) * 1e6:.1f}"


def idle_watches(started: Bed, number: int) -> None:
    before = memory(started.pids)
    watchers = started.begin("watch", number)
    assert watchers.stdout is not None
    watchers.stdout.readline()
    time.sleep(2)
    started.results[IDLE] = (memory(started.pids) - before) * 1024 / number
    watchers.communicate()


def show(beds: dict[int, Bed]) -> None:
    """The table, and below it what explains it."""
    head = [f"{workers} worker{'s' if workers > 1 else ''}" for workers in beds]
    print(f"{'':38}" + "".join(f"{one:>22}" for one in head) + f"{'kube-apiserver':>18}")
    for one in MEASURES:
        values = [started.results.get(one) for started in beds.values()]
        if any(value is not None for value in values):
            cells = [f"{cell(one, value):>22}" for value in values]
            reference = f"{one.reference:,.0f} {one.unit}" if one.reference else "-"
            print(f"{one.name:38}" + "".join(cells) + f"{reference:>18}")
    for workers, started in beds.items():
        print(f"\nwith {workers} worker{'s' if workers > 1 else ''}:")
        for one, text in started.details.items():
            print(f"  {one.name:38} {text}")


def cell(one: Measure, value: float | None) -> str:
    if value is None:
        return "-"
    shown = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
    if one.reference is None:
        return f"{shown} {one.unit}        "
    ratio = one.reference / value if one.lower_is_better else value / one.reference
    return f"{shown} {one.unit} ({ratio:4.1f}x)"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.api", description=__doc__)
    parser.add_argument("--workers", default="1,2", help="how many server processes, one run for each (default 1,2)")
    parser.add_argument("--only", action="append", default=[], help="measure only lines whose name has this in it")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the usual number of objects")
    arguments = parser.parse_args()
    beds = {}
    for workers in map(int, arguments.workers.split(",")):
        with bed(workers) as started:
            measure(started, arguments.only, arguments.scale)
            beds[workers] = started
    show(beds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
