"""Events: deterministic names, aggregated counts, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.bus import recorder
from shared.bus.recorder import EventRecorder
from shared.errors import AlreadyExists, Forbidden, NotFound, ServiceUnavailable, TooManyRequests
from tests.slowness import LIMIT_S

Object = dict[str, Any]
NOW = 1_800_000_000.0


class Events:
    """An API that only has events."""

    def __init__(self) -> None:
        self.stored: dict[str, Object] = {}
        self.refusal: Exception | None = None

    async def get(self, path: str, query: Any = None) -> Object:
        return self.stored[path]

    async def create(self, path: str, obj: Object, query: Any = None) -> Object:
        if self.refusal is not None:
            raise self.refusal
        key = f"{path}/{obj['metadata']['name']}"
        if key in self.stored:
            raise AlreadyExists(key)
        self.stored[key] = obj
        return obj

    async def patch(self, path: str, body: Any, kind: str = "merge") -> Object:
        if path not in self.stored:
            raise NotFound(path)
        self.stored[path] = {**self.stored[path], **body}
        return self.stored[path]


@asynccontextmanager
async def running(api: Events) -> AsyncIterator[EventRecorder]:
    found = EventRecorder(api, "replicaset-controller", clock=lambda: NOW)
    task = asyncio.create_task(found.run(), name="recorder")
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def subject() -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "shop", "uid": "rs"},
    }


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.001)


def counts(api: Events) -> list[int]:
    return [event["count"] for event in api.stored.values()]


async def only_event(api: Events) -> Object:
    await until(lambda: len(api.stored) == 1)
    return next(iter(api.stored.values()))


async def test_an_event_says_what_kubectl_shows() -> None:
    api = Events()
    async with running(api) as found:
        found.record(subject(), "Normal", "SuccessfulCreate", "Created pod: a", field_path="spec.x{y}")
        event = await only_event(api)
    assert event["involvedObject"]["name"] == "web"
    assert event["involvedObject"]["fieldPath"] == "spec.x{y}"
    assert event["metadata"]["namespace"] == "shop"
    assert event["source"] == {"component": "replicaset-controller"}
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "SuccessfulCreate", "Created pod: a")
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2027-01-15T08:00:00Z"


async def test_other_words_are_another_event() -> None:
    api = Events()
    async with running(api) as found:
        found.record(subject(), "Normal", "R", "m")
        found.record(subject(), "Normal", "R", "n")
        found.of("other-controller").record(subject(), "Normal", "R", "m")
        await until(lambda: counts(api) == [1, 1, 1])


async def test_repetitions_raise_the_count() -> None:
    api = Events()
    async with running(api) as found:
        for _ in range(3):
            found.record(subject(), "Warning", "FailedCreate", "quota")
            await asyncio.sleep(0)
        await until(lambda: counts(api) == [3])
        found.record(subject(), "Warning", "FailedCreate", "quota")
        await until(lambda: counts(api) == [4])


async def test_a_restarted_recorder_goes_on_counting() -> None:
    api = Events()
    for expected in (1, 2):
        async with running(api) as found:
            found.record(subject(), "Warning", "FailedCreate", "quota")
            await until(lambda expected=expected: counts(api) == [expected])


async def test_a_refused_event_does_not_stop_the_next() -> None:
    api = Events()
    api.refusal = Forbidden("the namespace is going away")
    async with running(api) as found:
        found.record(subject(), "Normal", "R", "refused")
        await until(lambda: not found._waiting)
        api.refusal = None
        found.record(subject(), "Normal", "R", "kept")
        await until(lambda: [event["message"] for event in api.stored.values()] == ["kept"])


@pytest.mark.parametrize("refusal", [ServiceUnavailable("no API server answers"), TooManyRequests("too many requests")])
async def test_events_wait_for_an_api_server_that_is_away_or_busy(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    monkeypatch.setattr(recorder, "RETRY_PAUSE_S", 0.001)
    api = Events()
    api.refusal = refusal
    async with running(api) as found:
        found.record(subject(), "Normal", "R", "first")
        await until(lambda: bool(found._waiting))
        found.record(subject(), "Normal", "R", "second")
        api.refusal = None
        await until(lambda: sorted(event["message"] for event in api.stored.values()) == ["first", "second"])


async def test_a_cluster_object_is_told_about_in_the_default_namespace() -> None:
    api = Events()
    async with running(api) as found:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "uid": "n"}}
        found.record(node, "Normal", "NodeNotReady", "m")
        event = await only_event(api)
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]
