"""CRI log records and the rotation of the files that hold them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent.keeper.logfile import MAX_LINE, Lines, LogFile, timestamp

STAMP = "2026-11-24T08:15:35.123456789Z"


def read_records(records: bytes) -> bytes:
    """What a CRI reader makes of it."""
    text = b""
    for line in records.splitlines():
        stamp, stream, tag, content = line.split(b" ", 3)
        assert (stamp, stream) == (STAMP.encode(), b"stdout")
        assert len(content) <= MAX_LINE
        text += content + (b"\n" if tag == b"F" else b"")
    return text


def test_a_timestamp_has_nine_digits_in_utc() -> None:
    assert timestamp(1_795_508_135_000_000_042) == "2026-11-24T08:15:35.000000042Z"


def test_whole_lines_become_full_records() -> None:
    lines = Lines("stderr")
    assert lines.feed(b"a\n\nb\n", STAMP).decode() == f"{STAMP} stderr F a\n{STAMP} stderr F \n{STAMP} stderr F b\n"
    assert not lines.pending


def test_a_line_without_its_end_waits_for_it() -> None:
    lines = Lines("stdout")
    assert lines.feed(b"hel", STAMP) == b""
    assert lines.pending
    assert read_records(lines.feed(b"lo\n", STAMP)) == b"hello\n"


def test_a_flushed_part_is_continued_by_the_rest_of_its_line() -> None:
    lines = Lines("stdout")
    lines.feed(b"user: ", STAMP)
    assert lines.flush(STAMP).decode() == f"{STAMP} stdout P user: \n"
    assert lines.feed(b"root\n", STAMP).decode() == f"{STAMP} stdout F root\n"
    assert lines.finish(STAMP) == b""


def test_the_last_line_is_full_even_without_its_end() -> None:
    lines = Lines("stdout")
    lines.feed(b"bye", STAMP)
    assert lines.finish(STAMP).decode() == f"{STAMP} stdout F bye\n"


def test_a_part_that_nothing_follows_is_completed_by_an_empty_record() -> None:
    lines = Lines("stdout")
    lines.feed(b"bye", STAMP)
    lines.flush(STAMP)
    assert lines.finish(STAMP).decode() == f"{STAMP} stdout F \n"


def test_a_long_line_is_cut_at_16_kib() -> None:
    records = Lines("stdout").feed(b"x" * (2 * MAX_LINE + 5) + b"\n", STAMP)
    tags = [line.split(b" ", 3)[2] for line in records.splitlines()]
    assert tags == [b"P", b"P", b"F"]


@given(
    st.lists(st.binary(max_size=3 * MAX_LINE).map(lambda data: data.replace(b"\r", b"x")) | st.just(b"\n"), max_size=8)
)
def test_nothing_is_lost_or_reordered_however_the_bytes_come(chunks: list[bytes]) -> None:
    # splitlines() of the reader above knows more line ends than CRI does
    chunks = [bytes(byte if byte >= 32 or byte == 10 else 46 for byte in chunk) for chunk in chunks]
    lines = Lines("stdout")
    records = b"".join(lines.feed(chunk, STAMP) for chunk in chunks) + lines.finish(STAMP)
    sent = b"".join(chunks)
    assert read_records(records) == sent + (b"\n" if sent and not sent.endswith(b"\n") else b"")


def test_a_full_file_is_rotated_and_the_oldest_removed(tmp_path: Path) -> None:
    path = tmp_path / "logs/0.log"
    log = LogFile(str(path), max_bytes=100, kept=3)
    for number in range(10):
        log.write(f"{number}".encode() * 59 + b"\n")
    log.close()
    names = sorted(file.name for file in path.parent.iterdir())
    assert names[0] == "0.log"
    assert len(names) == 3
    assert [file.read_text()[0] for file in sorted(path.parent.iterdir())] == ["9", "7", "8"]


def test_an_existing_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for text in (b"one\n", b"two\n"):
        log = LogFile(str(path))
        log.write(text)
        log.close()
    assert path.read_text() == "one\ntwo\n"


def test_without_a_path_everything_is_discarded(tmp_path: Path) -> None:
    log = LogFile("")
    log.write(b"x\n")
    log.rotate()
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_as_a_gap_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    log = LogFile(str(tmp_path / "0.log"))
    write = os.write

    def refuse(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    log.write(b"12345\n")
    monkeypatch.setattr(os, "write", write)
    log.write(f"{STAMP} stdout F after\n".encode())
    log.close()
    gap, after = (tmp_path / "0.log").read_text().splitlines()
    assert gap.endswith("stderr F [6 bytes of log were lost: the disk was full]")
    assert after.endswith("after")
