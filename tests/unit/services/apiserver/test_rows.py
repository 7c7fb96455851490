"""Rows from kept bytes are the rows that a table of the objects has, whenever they are asked for."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver import rows
from services.apiserver.http import answers
from services.apiserver.protocol import Listing, Query, Request
from shared.events.subjects import Ref
from shared.identity.users import ANONYMOUS
from shared.objects import registry, tables
from shared.state.record import Record, keep_decoded

CREATED = datetime(2026, 11, 24, 8, 15, 35, tzinfo=UTC)


def record(kind: str, version: str = "v1", **content: Any) -> Record:
    metadata = {"name": "one", "namespace": "x", "creationTimestamp": "2026-11-24T08:15:35Z", "labels": {"a": 'b"c'}}
    obj = {"apiVersion": version, "kind": kind, "metadata": metadata, **content}
    return Record(Ref("", "any", "x", "one"), 7, msgspec.msgpack.encode(obj))


def pod(**status: Any) -> Record:
    return record("Pod", spec={"containers": [{"name": "web"}]}, status={"phase": "Running", **status})


RESTARTED = {
    "name": "web",
    "restartCount": 2,
    "ready": True,
    "state": {"running": {"startedAt": "2026-11-24T08:16:00Z"}},
    "lastState": {"terminated": {"finishedAt": "2026-11-24T08:15:59Z", "exitCode": 1}},
}
RECORDS = [
    pod(),
    pod(phase="Succeeded"),
    pod(containerStatuses=[RESTARTED]),
    record("ConfigMap", data={"a": "1"}),
    record("Secret", type="Opaque"),
    record("Deployment", "apps/v1", spec={"replicas": 2, "template": {}}, status={}),
    record("Job", "batch/v1", spec={"completions": 1, "template": {}}, status={"startTime": "2026-11-24T08:15:40Z"}),
    record("Event", lastTimestamp="2026-11-24T08:15:40Z", involvedObject={"kind": "Pod", "name": "p"}),
    record("ClusterRole", "rbac.authorization.k8s.io/v1"),
]


@pytest.mark.parametrize("one", RECORDS, ids=lambda one: str(one.object["kind"]))
@given(seconds=st.lists(st.integers(-3, 90 * 86400), min_size=1, max_size=4))
def test_rows_tell_the_time_as_it_is(one: Record, seconds: list[int]) -> None:
    resource = registry.by_kind(one.object["apiVersion"], one.object["kind"])
    assert resource is not None
    for passed in seconds:
        now = CREATED + timedelta(seconds=passed, milliseconds=300)
        elements = b"".join(rows.separated(resource, [one, one], now))
        made = msgspec.json.decode(b"[%b]" % elements.removeprefix(b","))
        assert made == [tables.row(resource, one.object, now=now)] * 2


def test_rows_follow_the_columns_of_their_resource() -> None:
    known = registry.by_kind("v1", "ConfigMap")
    assert known is not None
    one = RECORDS[3]
    before = rows.separated(known, [one], CREATED)
    changed = dataclasses.replace(known)
    assert rows.separated(changed, [one], CREATED) == before
    assert one.row.resource is changed
    assert rows.separated(known, [one], CREATED) == before


def test_a_record_forgets_the_decoded_form_and_finds_it_again() -> None:
    keep_decoded(1)
    try:
        first, second = pod(), pod()
        before = first.object
        assert first.object is before
        assert second.object["metadata"]["resourceVersion"] == "7"
        assert first.object is not before
        assert first.object == before
        assert msgspec.json.decode(first.json) == before
        assert first.object == before
    finally:
        keep_decoded(0)


async def test_a_long_list_is_made_ready_in_portions_and_only_once() -> None:
    pods = registry.by_plural("", "v1", "pods")
    assert pods is not None
    records = [pod() for _ in range(3 * answers.PORTION)]
    listing = Listing(pods, records, 7)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        counter = group.create_task(count())
        for accept in ("application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"):
            request = Request(ANONYMOUS, "GET", "/", Query({}), {"accept": accept}, b"")
            before = turns
            await answers.prepare(request, listing)
            assert turns - before >= 2
            before = turns
            await answers.prepare(request, listing)
            assert turns == before
        counter.cancel()
    assert all(one.has_json and one.row is not None for one in records)
