"""Lists and watches: what they show, in which order, and as of which moment."""

import pytest

from shared.errors import BadRequest, Expired, Invalid, Timeout
from shared.state import subscription
from tests.unit.services.apiserver.memory_api import MemoryApi

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


async def make(api: MemoryApi, *names: str, labels: dict[str, str] | None = None) -> None:
    for name in names:
        await api.create(CONFIGMAPS, {"metadata": {"name": name, "labels": labels or {"app": "a"}}})


def names(listed: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [one["metadata"]["name"] for one in listed["items"]]


def forget(api: MemoryApi) -> None:
    """What a server that has just started knows: the present and nothing before."""
    cache = api.parts.store.state.cache
    cache.replace([one for _, name in cache.resources() for one in cache.list("", name)], cache.revision)


def compact(api: MemoryApi) -> None:
    """Let the history begin now."""
    cache = api.parts.store.state.cache
    cache.compact(cache.revision)


async def test_items_of_a_list_carry_no_type(api: MemoryApi) -> None:
    await make(api, "one")
    listed = await api.get(f"{CONFIGMAPS}?labelSelector=app=a")
    assert listed["kind"] == "ConfigMapList"
    assert set(listed["items"][0]) == {"metadata"}


async def test_an_empty_list_has_items(api: MemoryApi) -> None:
    assert (await api.get(SECRETS))["items"] == []


async def test_pages_show_one_moment_whatever_happens_between_them(api: MemoryApi) -> None:
    await make(api, "a", "b", "c", "d")
    first = await api.get(f"{CONFIGMAPS}?labelSelector=app&limit=2")
    await api.delete(f"{CONFIGMAPS}/c")
    await make(api, "bb")
    await api.patch(f"{CONFIGMAPS}/d", {"data": {"new": "1"}})
    second = await api.get(f"{CONFIGMAPS}?labelSelector=app&continue={first['metadata']['continue']}")
    assert (names(first), names(second)) == (["a", "b"], ["c", "d"])
    assert "data" not in second["items"][1]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_the_remaining_count_is_told_without_selectors_only(api: MemoryApi) -> None:
    for name in ("a", "b", "c"):
        await api.create(SECRETS, {"metadata": {"name": name}})
    assert (await api.get(f"{SECRETS}?limit=1"))["metadata"]["remainingItemCount"] == 2
    selected = await api.get(f"{SECRETS}?limit=1&labelSelector=!x")
    assert "remainingItemCount" not in selected["metadata"]


async def test_an_expired_token_comes_with_one_for_the_rest(api: MemoryApi) -> None:
    await make(api, "a", "b", "c")
    first = await api.get(f"{CONFIGMAPS}?labelSelector=app&limit=1")
    await api.patch(f"{CONFIGMAPS}/c", {"data": {"x": "1"}})
    compact(api)
    failure = await api.failure("GET", f"{CONFIGMAPS}?labelSelector=app&continue={first['metadata']['continue']}")
    assert isinstance(failure, Expired)
    token = failure.status()["metadata"]["continue"]
    # the rest is that of the present
    await make(api, "d")
    assert names(await api.get(f"{CONFIGMAPS}?labelSelector=app&continue={token}")) == ["b", "c", "d"]


async def test_a_page_goes_on_after_the_server_was_replaced(api: MemoryApi) -> None:
    await make(api, "a", "b", "c")
    first = await api.get(f"{CONFIGMAPS}?labelSelector=app&limit=1")
    await api.delete(f"{CONFIGMAPS}/b")
    await make(api, "d")
    forget(api)
    second = await api.get(f"{CONFIGMAPS}?labelSelector=app&continue={first['metadata']['continue']}")
    assert names(second) == ["b", "c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_an_exact_version_shows_the_past(api: MemoryApi) -> None:
    await make(api, "a")
    version = (await api.get(CONFIGMAPS))["metadata"]["resourceVersion"]
    await api.delete(f"{CONFIGMAPS}/a")
    url = f"{CONFIGMAPS}?labelSelector=app&resourceVersion={version}&resourceVersionMatch=Exact"
    assert names(await api.get(url)) == ["a"]
    forget(api)
    assert names(await api.get(url)) == ["a"]
    compact(api)
    failure = await api.failure("GET", url)
    assert (failure.code, failure.reason) == (410, "Expired")
    assert failure.message == "The resourceVersion for the provided list is too old."
    failure = await api.failure("GET", f"{url}&limit=1")
    assert failure.message.startswith("The provided continue parameter is too old")
    assert "metadata" not in failure.status() or not failure.status()["metadata"]


async def test_one_object_is_shown_as_it_was(api: MemoryApi) -> None:
    await make(api, "a")
    version = (await api.get(f"{CONFIGMAPS}/a"))["metadata"]["resourceVersion"]
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
    gone = await api.delete(f"{CONFIGMAPS}/a")
    url = f"{CONFIGMAPS}/a?resourceVersionMatch=Exact&resourceVersion="
    assert "data" not in await api.get(url + version)
    assert gone["status"] == "Success"
    assert await api.code("GET", url + str(api.parts.store.state.cache.revision)) == 404
    compact(api)
    assert await api.code("GET", url + version) == 410


async def test_a_version_of_the_future_times_out(api: MemoryApi) -> None:
    failure = await api.failure("GET", f"{CONFIGMAPS}?resourceVersion=999999")
    assert isinstance(failure, Timeout)
    assert failure.details is not None
    assert failure.details["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_an_unknown_field_selector_is_refused(api: MemoryApi) -> None:
    with pytest.raises(BadRequest):
        await api.get(f"{CONFIGMAPS}?fieldSelector=data.a=1")


async def test_a_table_has_rows_with_metadata(api: MemoryApi) -> None:
    await make(api, "one")
    table = await api.get(f"{CONFIGMAPS}?labelSelector=app", headers=TABLE)
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][0] == "one"
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_an_answer_nobody_can_read_is_refused_before_anything_changes(api: MemoryApi) -> None:
    body = {"metadata": {"name": "one"}}
    assert await api.code("POST", CONFIGMAPS, body, headers={"accept": "text/html"}) == 406
    assert await api.code("GET", f"{CONFIGMAPS}/one") == 404


async def test_a_watch_begins_with_what_is_there_and_goes_on_with_what_happens(api: MemoryApi) -> None:
    await make(api, "a", "b")
    async with api.watch(f"{CONFIGMAPS}?labelSelector=app") as events:
        assert await events.take(2) == [("ADDED", "a"), ("ADDED", "b")]
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
        await api.delete(f"{CONFIGMAPS}/b")
        assert await events.take(2) == [("MODIFIED", "a"), ("DELETED", "b")]


async def test_a_resumed_watch_sees_exactly_what_came_after(api: MemoryApi) -> None:
    await make(api, "a")
    version = (await api.get(CONFIGMAPS))["metadata"]["resourceVersion"]
    await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
    await api.delete(f"{CONFIGMAPS}/a")
    async with api.watch(f"{CONFIGMAPS}?resourceVersion={version}") as events:
        assert await events.take(2) == [("MODIFIED", "a"), ("DELETED", "a")]


async def test_an_object_that_leaves_the_selector_is_shown_as_it_last_matched(api: MemoryApi) -> None:
    await make(api, "a", labels={"w": "y"})
    version = (await api.get(CONFIGMAPS))["metadata"]["resourceVersion"]
    async with api.watch(f"{CONFIGMAPS}?labelSelector=w=y&resourceVersion={version}") as events:
        left = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": None}, "data": {"n": "2"}})
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"w": "y"}}})
        gone = await events.next()
        assert gone.type == "DELETED"
        assert "data" not in gone.object
        assert gone.object["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        assert await events.take(1) == [("ADDED", "a")]


async def test_the_initial_events_end_with_a_marked_bookmark(api: MemoryApi) -> None:
    await make(api, "a")
    query = "labelSelector=app&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with api.watch(f"{CONFIGMAPS}?{query}") as events:
        assert await events.take(1) == [("ADDED", "a")]
        bookmark = await events.next()
        assert bookmark.type == "BOOKMARK"
        assert bookmark.object["kind"] == "ConfigMap"
        assert bookmark.object["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_initial_events_without_version_match_are_refused(api: MemoryApi) -> None:
    with pytest.raises(Invalid):
        async with api.watch(f"{CONFIGMAPS}?sendInitialEvents=true&allowWatchBookmarks=true"):
            pass


async def test_a_watch_from_a_forgotten_version_is_told_so(api: MemoryApi) -> None:
    old = api.parts.store.state.cache.revision
    await make(api, "a")
    compact(api)
    async with api.watch(f"{CONFIGMAPS}?resourceVersion={old}") as events:
        error = await events.next()
        assert (error.type, error.object["code"], error.object["reason"]) == ("ERROR", 410, "Expired")
        assert error.object["message"] == f"too old resource version: {old} ({api.parts.store.state.cache.revision})"


async def test_a_watch_resumes_after_the_server_was_replaced(api: MemoryApi) -> None:
    await make(api, "a", "b")
    old = api.parts.store.state.cache.revision
    await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"app": "other"}}})
    await api.patch(f"{CONFIGMAPS}/b", {"data": {"x": "1"}})
    await api.delete(f"{CONFIGMAPS}/b")
    await make(api, "b")
    forget(api)
    async with api.watch(f"{CONFIGMAPS}?resourceVersion={old}&labelSelector=app=a") as events:
        await make(api, "c")
        assert await events.take(5) == [
            ("DELETED", "a"),
            ("MODIFIED", "b"),
            ("DELETED", "b"),
            ("ADDED", "b"),
            ("ADDED", "c"),
        ]


async def test_a_watch_of_another_namespace_is_quiet(api: MemoryApi) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "other"}})
    version = (await api.get(CONFIGMAPS))["metadata"]["resourceVersion"]
    url = f"/api/v1/namespaces/other/configmaps?resourceVersion={version}"
    async with api.watch(url) as events:
        await make(api, "here")
        await api.create("/api/v1/namespaces/other/configmaps", {"metadata": {"name": "there"}})
        assert await events.take(1) == [("ADDED", "there")]


async def test_events_are_watched_on_their_own_number_line(api: MemoryApi) -> None:
    url = "/api/v1/namespaces/default/events"
    event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "reason": "x"}
    async with api.watch(url) as events:
        await api.create(url, event)
        assert await events.take(1) == [("ADDED", "e")]


async def test_a_watcher_that_falls_too_far_behind_is_told_to_list_again(
    api: MemoryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "LIMIT", 3)
    await make(api, "early")
    async with api.watch(f"{CONFIGMAPS}?labelSelector=app=a&timeoutSeconds=60") as events:
        for number in range(5):
            await make(api, f"c{number}")
        present = await events.next()
        assert present.object["metadata"]["name"] == "early"
        last = await events.next()
        assert (last.type, last.object["code"], last.object["reason"]) == ("ERROR", 410, "Expired")
        with pytest.raises(StopAsyncIteration):
            await events.next()
