"""ConfigMaps and Secrets are watched one by one, only while they are referred to."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from services.nodeagent.environment import ConfigurationError
from services.nodeagent.references import References, referenced
from tests.fakes.nodes import FakeApi, eventually
from tests.fakes.podlife import container, pod

KEY = ("secrets", "default", "s")
PATH = "/api/v1/namespaces/default/secrets/s"


def secret(value="1"):
    return {"metadata": {"name": "s", "namespace": "default"}, "data": {"k": value}}


@asynccontextmanager
async def running(api, directory, on_change=lambda key, uids: None):
    references = References(api.informer, directory, on_change)
    task = asyncio.create_task(references.run(), name="references")
    await asyncio.sleep(0)
    try:
        yield references
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_every_kind_of_reference_is_found():
    spec = container(
        "c",
        env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}],
        envFrom=[{"configMapRef": {"name": "from"}}],
    )
    volumes = [
        {"name": "a", "secret": {"secretName": "vol"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "proj"}}, {"serviceAccountToken": {}}]}},
        {"name": "c", "emptyDir": {}},
    ]
    obj = pod(spec, initContainers=[container("i", envFrom=[{"secretRef": {"name": "init"}}])], volumes=volumes)
    obj["spec"]["imagePullSecrets"] = [{"name": "pull"}]
    assert referenced(obj) == {
        ("secrets", "default", "key"),
        ("configmaps", "default", "from"),
        ("secrets", "default", "vol"),
        ("configmaps", "default", "proj"),
        ("secrets", "default", "init"),
        ("secrets", "default", "pull"),
    }


async def test_an_object_is_known_after_its_first_list_also_when_it_does_not_exist(tmp_path):
    api = FakeApi()
    async with running(api, tmp_path) as references:
        references.want("u1", {KEY})
        with pytest.raises(ConfigurationError, match="has not been read yet"):
            references.get(*KEY)
        await references.wait_known([KEY])
        assert references.get(*KEY) is None
        api.put(PATH, secret())
        assert references.get(*KEY)["data"] == {"k": "1"}


async def test_changes_are_told_to_those_who_use_the_object(tmp_path):
    api = FakeApi()
    told = []
    async with running(api, tmp_path, lambda key, uids: told.append((key, uids))) as references:
        references.want("u1", {KEY})
        references.want("u2", {KEY, ("configmaps", "default", "c")})
        await references.wait_known([KEY])
        api.put(PATH, secret())
        assert told == [(KEY, {"u1", "u2"})]


async def test_nobody_s_object_is_watched_no_longer(tmp_path):
    api = FakeApi()
    async with running(api, tmp_path) as references:
        references.want("u1", {KEY})
        references.want("u2", {KEY})
        await references.wait_known([KEY])
        references.want("u1", set())
        assert len(api.informers) == 1
        references.want("u2", set())
        await eventually(lambda: not api.informers, "the end of the watch")
        with pytest.raises(ConfigurationError):
            references.get(*KEY)


async def test_what_was_seen_last_serves_an_agent_that_restarts_offline(tmp_path):
    api = FakeApi()
    api.put(PATH, secret())
    async with running(api, tmp_path) as references:
        references.want("u1", {KEY})
        await references.wait_known([KEY])
    api.up.clear()
    async with running(api, tmp_path) as references:
        references.want("u1", {KEY})
        assert references.get(*KEY)["data"] == {"k": "1"}
    [stored] = (tmp_path / "secrets").iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600


async def test_an_object_that_was_deleted_is_remembered_no_longer(tmp_path):
    api = FakeApi()
    api.put(PATH, secret())
    async with running(api, tmp_path) as references:
        references.want("u1", {KEY})
        await references.wait_known([KEY])
        api.drop(PATH)
        assert references.get(*KEY) is None
        assert list((tmp_path / "secrets").iterdir()) == []
