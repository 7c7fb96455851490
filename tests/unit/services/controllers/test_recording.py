"""Events: deterministic names, aggregated counts, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.controllers import recorder
from services.controllers.recorder import ComponentRecorder, Recorder
from shared.errors import AlreadyExists, NotFound, ServiceUnavailable
from tests.unit.services.controllers.cluster import until
from tests.unit.services.controllers.objects import replicaset

Object = dict[str, Any]
NOW = 1_800_000_000.0


class Events:
    """An API that only has events."""

    def __init__(self) -> None:
        self.stored: dict[str, Object] = {}
        self.away = False

    async def get(self, path: str, query: Any = None) -> Object:
        return self.stored[path]

    async def create(self, path: str, obj: Object, query: Any = None) -> Object:
        if self.away:
            raise ServiceUnavailable("no API server answers")
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
async def running(api: Events) -> AsyncIterator[ComponentRecorder]:
    found = Recorder(api, lambda: NOW)
    task = asyncio.create_task(found.run(), name="recorder")
    yield ComponentRecorder(found, "replicaset-controller")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def subject() -> Object:
    found = replicaset()
    found["metadata"]["uid"] = "rs"
    return found


def counts(api: Events) -> list[int]:
    return [event["count"] for event in api.stored.values()]


async def test_an_event_says_what_kubectl_shows() -> None:
    event = recorder.build("replicaset-controller", subject(), "Normal", "SuccessfulCreate", "Created pod: a", NOW)
    assert event["involvedObject"]["name"] == "web"
    assert event["metadata"]["namespace"] == "shop"
    assert event["source"] == {"component": "replicaset-controller"}
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "SuccessfulCreate", "Created pod: a")


async def test_the_same_words_about_the_same_object_have_the_same_name() -> None:
    one = recorder.build("c", subject(), "Normal", "R", "m", NOW)
    later = recorder.build("c", subject(), "Normal", "R", "m", NOW + 100)
    other = recorder.build("c", subject(), "Normal", "R", "n", NOW)
    assert one["metadata"]["name"] == later["metadata"]["name"] != other["metadata"]["name"]


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


async def test_an_event_that_cannot_be_sent_does_not_stop_the_next() -> None:
    api = Events()
    async with running(api) as found:
        api.away = True
        found.record(subject(), "Normal", "R", "lost")
        await asyncio.sleep(0.01)
        api.away = False
        found.record(subject(), "Normal", "R", "kept")
        await until(lambda: [event["message"] for event in api.stored.values()] == ["kept"])


async def test_a_cluster_object_is_told_about_in_the_default_namespace() -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "uid": "n"}}
    event = recorder.build("node-lifecycle-controller", node, "Normal", "NodeNotReady", "m", NOW)
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]
