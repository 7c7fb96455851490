"""Reading CRI logs: lines, tails, times, limits, rotation and following."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.nodeagent.logs import LogOptions, send_log
from services.nodeagent.pods.termination import log_tail
from shared.errors import BadRequest
from tests.fakes.nodes import eventually

NOW = datetime(2026, 11, 24, 8, 15, 35, tzinfo=UTC)


def line(text, second=0, tag="F", stream="stdout"):
    return f"2026-11-24T08:15:{second:02d}.000000001Z {stream} {tag} {text}\n"


async def read(path, **params):
    out = []

    async def send(data):
        out.append(data)

    await send_log(path, LogOptions.of(params, NOW), send, lambda: True, asyncio.Event())
    return b"".join(out).decode()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("".join(line(f"l{i}", i) for i in range(10)))
    return path


async def test_the_text_of_every_line_is_sent(log):
    assert await read(log) == "".join(f"l{i}\n" for i in range(10))


async def test_the_tail_is_counted_from_the_end(log):
    assert await read(log, tailLines=3) == "l7\nl8\nl9\n"
    assert await read(log, tailLines=0) == ""
    assert await read(log, tailLines=99) == "".join(f"l{i}\n" for i in range(10))


async def test_the_tail_reaches_into_rotated_files(log):
    (log.parent / "0.log.20261124-081500.000000001").write_text(line("r0") + line("r1"))
    assert await read(log, tailLines=11) == "r1\n" + "".join(f"l{i}\n" for i in range(10))
    assert (await read(log)).startswith("r0\nr1\nl0\n")


async def test_the_log_of_another_attempt_is_not_mixed_in(log):
    (log.parent / "10.log").write_text(line("other"))
    assert "other" not in await read(log)


async def test_parts_of_a_line_are_joined(tmp_path):
    path = tmp_path / "0.log"
    path.write_text(line("ab", tag="P") + line("cd", tag="P") + line("ef") + line("g"))
    assert await read(path) == "abcdef\ng\n"
    assert await read(path, tailLines=2) == "abcdef\ng\n"
    assert await read(path, tailLines=1) == "g\n"
    assert await read(path, timestamps=True) == (
        "2026-11-24T08:15:00.000000001Z abcdef\n2026-11-24T08:15:00.000000001Z g\n"
    )


async def test_only_lines_since_a_time_are_sent(log):
    assert await read(log, sinceTime="2026-11-24T08:15:08Z") == "l8\nl9\n"
    assert await read(log, sinceTime="2026-11-24T09:15:08+01:00") == "l8\nl9\n"
    assert await read(log, sinceSeconds=27) == "l8\nl9\n"


async def test_a_time_that_is_none_is_refused(log):
    with pytest.raises(BadRequest, match="sinceTime"):
        await read(log, sinceTime="yesterday")


async def test_bytes_are_limited(log):
    assert await read(log, limitBytes=5) == "l0\nl1"


async def test_a_log_that_was_never_written_is_empty(tmp_path):
    assert await read(tmp_path / "0.log") == ""
    assert await read(tmp_path / "nowhere" / "0.log") == ""


async def test_blank_lines_and_garbage_do_not_confuse(tmp_path):
    path = tmp_path / "0.log"
    path.write_text(line("") + "garbage\n" + line("x y  z"))
    assert await read(path) == "\nx y  z\n"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet="abc xyz", max_size=40), max_size=60), st.integers(0, 70))
async def test_the_tail_is_always_the_end_of_the_whole(tmp_path_factory, texts, count):
    path = tmp_path_factory.mktemp("log") / "0.log"
    path.write_text("".join(line(text) for text in texts))
    expected = texts[max(0, len(texts) - count) :] if count else []
    assert await read(path, tailLines=count) == "".join(f"{text}\n" for text in expected)


class Follower:
    """Follows a log in the background."""

    def __init__(self, path, **params):
        self.text = ""
        self.over = False
        self.event = asyncio.Event()
        options = LogOptions.of({"follow": True, **params}, NOW)
        self.task = asyncio.create_task(
            send_log(path, options, self._send, lambda: self.over, self.event), name="follow"
        )

    async def _send(self, data):
        self.text += data.decode()

    async def end(self):
        self.over = True
        self.event.set()
        await self.task


async def test_following_sees_new_lines_and_ends_with_the_container(log):
    follower = Follower(log, tailLines=1)
    await eventually(lambda: follower.text == "l9\n", "the tail")
    with log.open("a") as file:
        file.write(line("new"))
    await eventually(lambda: follower.text == "l9\nnew\n", "the new line")
    await follower.end()


async def test_following_goes_on_across_a_rotation(log):
    follower = Follower(log, tailLines=1)
    await eventually(lambda: follower.text == "l9\n", "the tail")
    for round_ in range(3):
        with log.open("a") as file:
            file.write(line(f"before{round_}"))
        log.rename(log.parent / f"0.log.2026112{round_}-000000.000000000")
        log.write_text(line(f"after{round_}"))
        expected = f"before{round_}\nafter{round_}\n"
        await eventually(lambda expected=expected: follower.text.endswith(expected), "both lines")
    assert follower.text.count("\n") == 7
    await follower.end()


async def test_what_was_written_just_before_the_end_is_not_lost(log):
    follower = Follower(log, tailLines=0)
    await asyncio.sleep(0)
    with log.open("a") as file:
        file.write(line("last words"))
    await follower.end()
    assert follower.text == "last words\n"


async def test_following_may_begin_before_the_first_line(tmp_path):
    follower = Follower(tmp_path / "0.log")
    await asyncio.sleep(0)
    (tmp_path / "0.log").write_text(line("first"))
    await eventually(lambda: follower.text == "first\n", "the first line")
    await follower.end()


def test_the_fallback_message_is_the_end_of_the_log(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("".join(line(f"l{i}") for i in range(200)))
    tail = log_tail(path)
    assert tail.endswith("l198\nl199\n")
    assert tail.count("\n") == 80
    assert log_tail(tmp_path / "nope") == ""
