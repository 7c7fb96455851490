"""Status patches: one at a time, the newest only, and again when the API comes back."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from services.nodeagent.pods.publisher import StatusPublisher
from tests.fakes.nodes import FakeApi, eventually
from tests.fakes.podlife import container, pod

PATH = "/api/v1/namespaces/default/pods/p"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("services.nodeagent.pods.publisher.RETRY_S", 0.01)


@asynccontextmanager
async def publishing(api):
    publisher = StatusPublisher(api)
    task = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.wait([task])


def stored(api):
    obj = pod(container("c"))
    api.put(PATH, obj)
    return obj


async def test_only_what_changed_is_sent_and_with_the_uid(tmp_path):
    api = FakeApi()
    async with publishing(api) as publisher:
        publisher.observe(stored(api))
        publisher.publish("u1", {"phase": "Pending", "hostIP": "10.0.0.1"})
        assert await publisher.wait_published("u1")
        assert api.patches == [(PATH, {"metadata": {"uid": "u1"}, "status": {"hostIP": "10.0.0.1"}})]


async def test_the_same_status_is_not_sent_twice():
    api = FakeApi()
    async with publishing(api) as publisher:
        publisher.observe(stored(api))
        for _ in range(3):
            publisher.publish("u1", {"phase": "Running"})
            await publisher.wait_published("u1")
        assert len(api.patches) == 1


async def test_only_the_newest_status_is_sent_after_a_silence():
    api = FakeApi()
    async with publishing(api) as publisher:
        publisher.observe(stored(api))
        api.up.clear()
        publisher.publish("u1", {"phase": "Running"})
        await asyncio.sleep(0)
        publisher.publish("u1", {"phase": "Running", "podIP": "10.244.0.5"})
        publisher.publish("u1", {"phase": "Succeeded"})
        api.up.set()
        await publisher.wait_published("u1")
        assert [body["status"] for _, body in api.patches] == [{"phase": "Succeeded"}]


async def test_a_pod_that_is_gone_is_not_asked_for_again():
    api = FakeApi()
    async with publishing(api) as publisher:
        publisher.observe(stored(api))
        api.drop(PATH)
        publisher.publish("u1", {"phase": "Running"})
        assert not await publisher.wait_published("u1")
        publisher.publish("u1", {"phase": "Failed"})
        assert not await publisher.wait_published("u1")
        assert not await publisher.wait_published("unknown")


async def test_a_status_that_somebody_else_changed_is_corrected():
    api = FakeApi()
    async with publishing(api) as publisher:
        obj = stored(api)
        publisher.observe(obj)
        publisher.publish("u1", {"phase": "Running"})
        await publisher.wait_published("u1")
        obj["status"] = {"phase": "Pending"}
        api.put(PATH, obj)
        publisher.observe(obj)
        await eventually(lambda: api.objects[PATH]["status"]["phase"] == "Running", "the correction")


async def test_a_server_that_keeps_something_else_is_not_asked_for_ever():
    class Stubborn(FakeApi):
        async def patch(self, path, body, kind="merge", query=None):
            self.patches.append((path, body))
            return self.objects[PATH]

    api = Stubborn()
    async with publishing(api) as publisher:
        publisher.observe(stored(api))
        publisher.publish("u1", {"phase": "Running"})
        assert await publisher.wait_published("u1")
        assert len(api.patches) == 1
