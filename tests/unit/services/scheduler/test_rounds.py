"""The scheduler's rounds over a cache, with a log that may fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from services.scheduler import app
from services.scheduler.app import Scheduler
from shared.errors import BusTimeout
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state.cache import Cache
from shared.state.log import Write
from shared.state.record import Record
from tests.slowness import LIMIT_S
from tests.unit.services.scheduler.builders import node, pod


class Log:
    """Writes into the cache at once; the first `failures` batches fail."""

    def __init__(self, cache: Cache, failures: int = 0) -> None:
        self.cache = cache
        self.failures = failures
        self.bound = asyncio.Event()

    async def batch(self, writes: Sequence[Write], author: Author) -> list[int]:
        if self.failures:
            self.failures -= 1
            raise BusTimeout("no acknowledgement")
        revisions = []
        for write in writes:
            revisions.append(self.cache.revision + 1)
            self.cache.apply([record(write.ref, revisions[-1], write.obj)])
        self.bound.set()
        return revisions


class Recorder:
    def record(self, *_: object, **__: object) -> None:
        """Events do not matter here."""


def record(ref: Ref, revision: int, obj: dict[str, Any]) -> Record:
    return Record(ref, revision, msgspec.msgpack.encode(obj), Author("anna"), "create", 0.0)


def add_pod(cache: Cache, name: str) -> None:
    cache.apply([record(Ref("", "pods", "default", name), cache.revision + 1, pod(name))])


def scheduler(cache: Cache, log: Log) -> Scheduler:
    return Scheduler(log, cache, None, Recorder())  # type: ignore[arg-type]


async def test_a_round_that_the_bus_failed_is_made_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app, "PAUSE_S", 0.01)
    cache = Cache()
    log = Log(cache, failures=2)
    made = scheduler(cache, log)
    cache.apply([record(Ref("", "nodes", "", "n1"), 1, node("n1"))])
    add_pod(cache, "p")
    async with asyncio.TaskGroup() as group, asyncio.timeout(LIMIT_S):
        rounds = group.create_task(made.run(), name="rounds")
        await log.bound.wait()
        rounds.cancel()
    found = cache.get(Ref("", "pods", "default", "p"))
    assert found is not None
    assert found.object["spec"]["nodeName"] == "n1"
    assert caplog.text.count("a round was given up, trying again: no acknowledgement") == 2


async def test_a_scheduler_that_was_closed_keeps_no_pods() -> None:
    cache = Cache()
    made = scheduler(cache, Log(cache))
    add_pod(cache, "before")
    made.close()
    add_pod(cache, "after")
    assert list(made.queue.waiting) == [("default", "before")]


class Api:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.patched: dict[str, Any] = {}
        self.deleted: list[str] = []

    async def patch(self, path: str, body: Any, kind: str = "merge") -> dict[str, Any]:
        self.patched[path] = body
        return {}

    async def delete(self, path: str, options: Any = None) -> dict[str, Any]:
        assert options == {"preconditions": {"uid": "victim"}}
        self.deleted.append(path)
        return {}


async def test_a_victim_is_told_why_and_deleted_and_the_pod_is_nominated() -> None:
    cache, api = Cache(), Api()
    made = Scheduler(Log(cache), cache, api, Recorder())  # type: ignore[arg-type]
    victim = pod("low", "n1", requests={"cpu": "1"}, phase="Running")
    wanting = pod("high", requests={"cpu": "1"}, priority=10)
    for number, (ref, obj) in enumerate(
        (
            (Ref("", "nodes", "", "n1"), node("n1", cpu="1")),
            (Ref("", "pods", "default", "low"), victim | {"metadata": victim["metadata"] | {"uid": "victim"}}),
            (Ref("", "pods", "default", "high"), wanting | {"metadata": wanting["metadata"] | {"uid": "high"}}),
        )
    ):
        cache.apply([record(ref, number + 1, obj)])
    await made.round(time.monotonic())
    path = "/api/v1/namespaces/default/pods"
    (target,) = api.patched[f"{path}/low/status"]["status"]["conditions"]
    assert (target["type"], target["reason"]) == ("DisruptionTarget", "PreemptionByScheduler")
    assert api.deleted == [f"{path}/low"]
    assert api.patched[f"{path}/high/status"]["status"]["nominatedNodeName"] == "n1"
