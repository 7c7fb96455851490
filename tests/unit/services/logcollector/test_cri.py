"""CRI lines become records."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from services.logcollector import cri
from services.logcollector.cri import Record, parse

T = "2026-11-24T08:15:35.12345678{}Z"
T0 = 1795508135123456780


def line(text: str, stream: str = "stdout", tag: str = "F", n: int = 0) -> bytes:
    return f"{T.format(n)} {stream} {tag} {text}\n".encode()


def test_a_line_has_its_time_to_the_nanosecond() -> None:
    parsed = parse(line("hello world", n=9))
    assert parsed.records == [Record(T0 + 9, "stdout", "hello world")]
    assert time.gmtime(T0 // 10**9)[:6] == (2026, 11, 24, 8, 15, 35)
    assert not parsed.open


def test_a_zone_is_taken_into_account() -> None:
    (record,) = parse(b"2026-11-24T10:15:35+02:00 stderr F x\n").records
    assert record.time == T0 // 10**9 * 10**9


def test_an_empty_line_is_a_record() -> None:
    assert [r.log for r in parse(line("") + b"2026-11-24T08:15:35Z stdout F\n").records] == ["", ""]


def test_parts_are_joined_with_the_time_of_the_first() -> None:
    data = line("one ", tag="P", n=1) + line("two ", tag="P", n=2) + line("three", n=3)
    assert parse(data).records == [Record(T0 + 1, "stdout", "one two three")]


def test_streams_are_joined_apart_and_a_batch_ends_where_no_line_is_open() -> None:
    first = line("done")
    data = first + line("a", tag="P") + line("err", "stderr") + line("b", tag="P")
    parsed = parse(data)
    assert ([r.log for r in parsed.records], parsed.end, parsed.open) == (["done"], len(first), True)
    whole = parse(data + line("c"))
    assert [(r.stream, r.log) for r in whole.records] == [("stdout", "done"), ("stderr", "err"), ("stdout", "abc")]
    assert whole.end == len(data + line("c"))


def test_unfinished_lines_are_passed_on_when_forced() -> None:
    data = line("a", tag="P") + line("err", "stderr")
    parsed = parse(data, force=True)
    assert sorted(r.log for r in parsed.records) == ["a", "err"]
    assert parsed.end == len(data)


def test_half_a_line_waits() -> None:
    whole = line("x")
    parsed = parse(whole + b"2026-11-24T08:1")
    assert (len(parsed.records), parsed.end) == (1, len(whole))


def test_a_line_in_another_form_is_kept_with_the_last_known_time() -> None:
    parsed = parse(line("x") + b"what is this\n")
    assert parsed.records[1] == Record(T0, "stdout", "what is this")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert parse(line("x").replace(b"x", b"\xff")).records[0].log == "\ufffd"


def test_an_endless_line_is_passed_on_in_pieces() -> None:
    part = line("y" * 16000, tag="P")
    parsed = parse(part * (cri.LINE_LIMIT // 16000 + 2))
    assert len(parsed.records) == 1
    assert len(parsed.records[0].log) >= cri.LINE_LIMIT


LINES = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from("PF"), st.text("ab é", max_size=4)), max_size=30
)


@given(LINES, st.integers(0, 2000))
def test_cutting_at_the_end_of_a_batch_gives_the_same_records(lines: list[tuple[str, str, str]], cut: int) -> None:
    data = b"".join(line(text, stream, tag) for stream, tag, text in lines)
    whole = parse(data, force=True).records
    first = parse(data[:cut])
    rest = parse(data[first.end :], force=True)
    assert first.records + rest.records == whole
