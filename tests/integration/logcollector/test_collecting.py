"""Lines arrive, each once, whatever happens to the collector, the broker and the files."""

from __future__ import annotations

import asyncio
import io
import shutil
import time

import pytest

from services.nodeagent.keeper.logfile import LogFile, timestamp
from shared.cli import logs
from shared.cli.logs import Query
from shared.objects.selectors import parse_labels
from tests.integration.logcollector.conftest import Node
from tests.slowness import LIMIT_S


def write(file: LogFile, *texts: str, stream: str = "stdout", tag: str = "F") -> None:
    stamp = timestamp(time.time_ns())
    file.write("".join(f"{stamp} {stream} {tag} {text}\n" for text in texts).encode())


def numbered(first: int, last: int) -> list[str]:
    return [f"line {number} {'x' * 60}" for number in range(first, last)]


async def test_lines_of_new_pods_and_containers_arrive(node: Node, writing: list[LogFile]) -> None:
    node.start()
    writing.append(node.pod("one"))
    write(writing[0], "first")
    await node.wait_stored(lambda found: found == ["first"])
    writing.append(node.pod("two"))
    write(writing[1], "second")
    write(writing[0], "third")
    found = await node.wait_stored(lambda found: len(found) == 3)
    assert sorted(found) == ["first", "second", "third"]
    assert await node.stored("logs.node-1.default.two.app") == ["second"]


async def test_a_line_written_in_parts_arrives_whole(node: Node, writing: list[LogFile]) -> None:
    node.start()
    writing.append(node.pod())
    write(writing[0], "one ", tag="P")
    write(writing[0], "err", stream="stderr")
    write(writing[0], "two")
    found = await node.wait_stored(lambda found: len(found) == 2)
    assert sorted(found) == ["err", "one two"]


async def test_nothing_is_lost_or_doubled_by_rotation_and_kills(node: Node, writing: list[LogFile]) -> None:
    writing.append(node.pod())
    node.start()
    total = 8000
    for first in range(0, total, 200):
        write(writing[0], *numbered(first, first + 200))
        # slower than the collector on a busy machine: four rotated files are kept, more would be gone for everyone
        await node.wait_stored(lambda found, least=first - 2000: len(found) >= least)
        if first % 1000 == 0:
            node.kill()
            node.start()
    assert await node.wait_stored(lambda found: len(found) >= total) == numbered(0, total)


async def test_lines_wait_in_their_file_while_the_broker_is_away(node: Node, writing: list[LogFile]) -> None:
    node.start()
    writing.append(node.pod())
    write(writing[0], "before")
    await node.wait_stored(lambda found: found == ["before"])
    node.nats.kill()
    write(writing[0], *numbered(0, 500))
    node.nats.start()
    assert await node.wait_stored(lambda found: len(found) >= 501) == ["before", *numbered(0, 500)]


async def test_the_last_lines_of_a_deleted_pod_arrive(node: Node, writing: list[LogFile]) -> None:
    node.start()
    writing.append(node.pod())
    write(writing[0], "first")
    await node.wait_stored(lambda found: found == ["first"])
    node.nats.kill()
    write(writing[0], *numbered(0, 100))
    # what the collector's open file still holds survives the pod
    shutil.rmtree(node.logs / "default_web_uid-web")
    node.nats.start()
    assert await node.wait_stored(lambda found: len(found) >= 101) == ["first", *numbered(0, 100)]


async def test_the_next_attempt_of_a_container_follows_the_first(node: Node, writing: list[LogFile]) -> None:
    writing.append(node.pod())
    write(writing[0], *numbered(0, 3000))
    writing.append(LogFile(writing[0].path.replace("0.log", "1.log")))
    write(writing[1], "restarted")
    node.start()
    found = await node.wait_stored(lambda found: "restarted" in found)
    assert found[-2:] == [*numbered(2999, 3000), "restarted"]


async def read(node: Node, query: Query) -> list[str]:
    out = io.StringIO()
    await asyncio.wait_for(logs.read(node.nats.settings("admin"), query, out), 20)
    return out.getvalue().splitlines()


@pytest.fixture
async def filled(node: Node, writing: list[LogFile]) -> Node:
    """Two pods with three lines each."""
    node.start()
    for name in ("one", "two"):
        writing.append(node.pod(name))
        write(writing[-1], *(f"{name} {number}" for number in range(3)))
    await node.wait_stored(lambda found: len(found) == 6)
    return node


async def test_logs_are_read_by_pod_label_and_tail(filled: Node) -> None:
    everything = logs.subject_filter("", "default", "", "")
    assert await read(filled, Query([logs.subject_filter("", "default", "one", "")])) == ["one 0", "one 1", "one 2"]
    assert await read(filled, Query([everything], parse_labels("app=two"), tail=1)) == ["two 2"]
    assert sorted(await read(filled, Query([everything], tail=1, prefix=True))) == [
        "[one/app] one 2",
        "[two/app] two 2",
    ]
    assert await read(filled, Query([logs.subject_filter("", "other", "", "")])) == []


async def test_logs_begin_at_a_time(filled: Node, writing: list[LogFile]) -> None:
    since = time.time_ns()
    write(writing[0], "later")
    await filled.wait_stored(lambda found: "later" in found)
    assert await read(filled, Query([logs.subject_filter("", "", "", "")], since=since)) == ["later"]
    assert await read(filled, Query([logs.subject_filter("", "", "", "")], since=time.time_ns())) == []


async def test_followed_logs_go_on(filled: Node, writing: list[LogFile]) -> None:
    out = io.StringIO()
    query = Query([logs.subject_filter("", "default", "one", "")], tail=1, follow=True)
    reader = asyncio.ensure_future(logs.read(filled.nats.settings("admin"), query, out))
    async with asyncio.timeout(LIMIT_S):
        while "one 2" not in out.getvalue():
            await asyncio.sleep(0.01)
        write(writing[0], "new")
        while "new" not in out.getvalue():
            await asyncio.sleep(0.01)
    reader.cancel()
    await asyncio.wait([reader])
    assert out.getvalue().splitlines() == ["one 2", "new"]
