"""What a write costs the API server itself: processor time of the whole pipeline on the in-memory bus.

No TLS, no broker, no load in another process, so that a change of some microseconds shows. `--against DIR` measures a
second checkout in turns with this one, because what else runs on the machine changes from minute to minute;
`--profile OP` lists what an operation spends its time on.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import math
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from services.apiserver.http import to_raw
from services.apiserver.protocol import JSON, Item, Query, Raw, Request
from shared.identity.users import AUTHENTICATED, MASTERS, User
from shared.service import GC_THRESHOLDS
from tests.bench.api_load import POD
from tests.unit.services.apiserver.memory_api import MemoryApi, memory_api

PODS = "/api/v1/namespaces/bench/pods"
USER = User("admin", (MASTERS, AUTHENTICATED))
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
# small, so that some of many batches are not disturbed by what else the machine does
BATCH = 32
OPERATIONS = ("create", "get", "put", "status", "status patch", "merge patch", "spec patch", "graceful", "delete")
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def request(
    method: str, path: str, body: bytes = b"", media: str = JSON, user: User = USER, agent: str = "bench/1.0"
) -> Request:
    headers = {"user-agent": agent, "accept": JSON, "host": "127.0.0.1"}
    if body:
        headers |= {"content-type": media, "content-length": str(len(body))}
    return Request(user, method, path, Query({}), headers, body)


def status_of(number: int) -> dict[str, Any]:
    """What a node says of a pod that runs."""
    moment = "2026-11-24T08:15:35Z"
    address = f"10.151.{number // 250}.{number % 250}"
    return {
        "phase": "Running",
        "hostIP": "10.150.0.2",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": moment,
        "conditions": [{"type": one, "status": "True", "lastTransitionTime": moment} for one in CONDITIONS],
        "containerStatuses": [
            {
                "name": "web",
                "ready": True,
                "restartCount": 0,
                "started": True,
                "image": "registry.example/web:1.27",
                "imageID": "registry.example/web@sha256:0123",
                "containerID": f"wherry://{number:064x}",
                "state": {"running": {"startedAt": moment}},
            }
        ],
    }


class Round:
    """One round: every operation on the same pods."""

    def __init__(self, api: MemoryApi, first: int, count: int) -> None:
        self._api = api
        self._numbers = range(first, first + count)
        self._bodies: dict[int, bytes] = {}

    def requests(self, operation: str) -> list[Request]:
        """What is sent; made beforehand, for making it is not what is measured."""
        return [self._request(operation, number) for number in self._numbers]

    def _request(self, operation: str, number: int) -> Request:
        name = f"p-{number:06d}"
        path = f"{PODS}/{name}"
        match operation:
            case "create":
                body = POD.replace(b"NAME", name.encode()).replace(b"SENT", str(time.time_ns()).encode())
                return request("POST", PODS, body)
            case "get":
                return request("GET", f"{path}")
            case "put":
                return request("PUT", path, self._bodies[number].replace(b'"step":"0"', b'"step":"1"'))
            case "status":
                changed = json.loads(self._bodies[number]) | {"status": status_of(number)}
                return request("PUT", f"{path}/status", msgspec.json.encode(changed), agent="wherry-node/1.0")
            case "status patch":
                ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-24T08:16:35Z"}
                body = msgspec.json.encode({"status": {"conditions": [ready]}})
                return request("PATCH", f"{path}/status", body, STRATEGIC, agent="wherry-node/1.0")
            case "merge patch":
                return request("PATCH", path, b'{"metadata":{"annotations":{"step":"patched"}}}', MERGE)
            case "spec patch":
                body = b'{"spec":{"containers":[{"name":"web","image":"registry.example/web:1.28"}]}}'
                return request("PATCH", path, body, STRATEGIC)
            case "graceful":
                return request("DELETE", path)
            case _:
                return request("DELETE", path, b'{"gracePeriodSeconds":0}')

    async def run(self, operation: str) -> float:
        """Processor time of each request of the best batch, in microseconds."""
        if operation == "graceful":
            await self._bind()
        requests = list(zip(self._numbers, self.requests(operation), strict=True))
        best = math.inf
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            began = time.process_time()
            await asyncio.gather(*(self._serve(number, one) for number, one in batch))
            best = min(best, (time.process_time() - began) / len(batch) * 1e6)
        return best

    async def _serve(self, number: int, one: Request) -> None:
        outcome = await self._api.parts.pipeline.handle(one)
        assert isinstance(outcome, Item | Raw)
        raw = to_raw(one, outcome)
        assert raw.status in (200, 201)
        self._bodies[number] = raw.body

    async def _bind(self) -> None:
        for number in self._numbers:
            name = f"p-{number:06d}"
            target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            await self._api.create(f"{PODS}/{name}/binding", body)


async def measure(rounds: int, count: int, profile: str) -> dict[str, float]:
    """The best of some rounds for each operation, in microseconds."""
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        async with memory_api(Path(directory)) as api:
            await api.create("/api/v1/namespaces", {"metadata": {"name": "bench"}})
            # as a service does
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            for number in range(rounds):
                one = Round(api, number * count, count)
                for operation in OPERATIONS:
                    last = number == rounds - 1
                    if last and operation == profile:
                        await profiled(one, operation)
                    else:
                        spent = await one.run(operation)
                        best[operation] = min(spent, best.get(operation, spent))
    return best


async def profiled(one: Round, operation: str) -> None:
    # not of the clock on the wall, which goes on while others have the processor
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    await one.run(operation)
    profiler.disable()
    statistics = pstats.Stats(profiler, stream=sys.stderr)
    statistics.sort_stats("tottime").print_stats(50)
    statistics.sort_stats("cumulative").print_stats(80)


def measured_in(checkout: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure a checkout by its own interpreter."""
    command = [str(checkout / ".venv/bin/python"), str(Path(__file__)), "--json"]
    command += ["--rounds", str(arguments.rounds), "--count", str(arguments.count)]
    environment = {
        "PYTHONPATH": str(checkout),
        "PATH": "/usr/bin:/bin",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    output = subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(output)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--count", type=int, default=320, help="requests in a round")
    parser.add_argument("--against", type=Path, help="another checkout to measure in turns with this one")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--profile", default="", help="an operation to profile in the last round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.against is None:
        best = asyncio.run(measure(arguments.rounds, arguments.count, arguments.profile))
        if arguments.json:
            print(json.dumps(best))
        else:
            for operation, spent in best.items():
                print(f"{operation:14} {spent:6.0f} us")
        return
    here: dict[str, float] = {}
    there: dict[str, float] = {}
    for _ in range(arguments.turns):
        for best, checkout in ((there, arguments.against), (here, Path(__file__).parents[2])):
            for operation, spent in measured_in(checkout, arguments).items():
                best[operation] = min(spent, best.get(operation, spent))
    for operation in OPERATIONS:
        before, after = there[operation], here[operation]
        print(f"{operation:14} {before:6.0f} us -> {after:6.0f} us  {after / before:5.2f}")


if __name__ == "__main__":
    main()
