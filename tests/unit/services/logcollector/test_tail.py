"""Reading one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.logcollector import tail as module
from services.logcollector.positions import Position, Positions
from services.logcollector.tail import Batch, Tail

LINE = b"2026-11-24T08:15:35.123456789Z stdout F %d\n"


def lines(*numbers: int) -> bytes:
    return b"".join(LINE % number for number in numbers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "ns_pod_uid/web/0.log"
    found.parent.mkdir(parents=True)
    return found


class Reader:
    """A tail that is always closed, with what one reads in a test."""

    def __init__(self, path: Path, stored: dict[int, list[Position]] | None = None) -> None:
        self.tail = Tail(path, "uid", stored or {})

    def read(self, *, at_end: bool = False) -> list[str]:
        batch = self.batch(at_end=at_end)
        return [record.log for record in batch.parsed.records] if batch else []

    def batch(self, *, at_end: bool = False) -> Batch | None:
        self.tail.pending()
        batch = self.tail.read(at_end=at_end)
        if batch:
            self.tail.position.offset = batch.end
            self.tail.position.sending = 0
        return batch


@pytest.fixture
def readers() -> Iterator[list[Reader]]:
    made: list[Reader] = []
    yield made
    for reader in made:
        reader.tail.close()


def opened(readers: list[Reader], path: Path, stored: dict[int, list[Position]] | None = None) -> Reader:
    readers.append(Reader(path, stored))
    return readers[-1]


def test_new_lines_are_read_once(path: Path, readers: list[Reader]) -> None:
    path.write_bytes(lines(1, 2))
    reader = opened(readers, path)
    assert reader.read() == ["1", "2"]
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(lines(3))
    assert reader.read() == ["3"]


def test_a_renamed_and_deleted_file_is_read_to_its_end(path: Path, readers: list[Reader]) -> None:
    path.write_bytes(lines(1))
    reader = opened(readers, path)
    path.rename(path.with_name("0.log.20261124-081535.1"))
    path.with_name("0.log.20261124-081535.1").unlink()
    assert reader.read() == ["1"]
    assert reader.tail.is_deleted


def test_a_file_that_was_cut_off_is_read_from_its_beginning(path: Path, readers: list[Reader]) -> None:
    path.write_bytes(lines(1, 2, 3))
    reader = opened(readers, path)
    reader.read()
    path.write_bytes(lines(4))
    assert reader.read() == ["4"]


def test_a_last_line_without_an_end_waits_for_the_end_of_the_file(path: Path, readers: list[Reader]) -> None:
    path.write_bytes(lines(1) + lines(2)[:-1])
    reader = opened(readers, path)
    assert reader.read() == ["1"]
    assert reader.read() == []
    assert reader.tail.waiting
    assert reader.read(at_end=True) == ["2"]


def test_a_batch_is_bounded(path: Path, readers: list[Reader]) -> None:
    path.write_bytes(lines(*range(10000)))
    reader = opened(readers, path)
    batch = reader.batch()
    assert batch
    assert module.BATCH_BYTES // 2 < batch.size <= module.BATCH_BYTES


def test_lines_that_two_streams_interleave_for_ever_are_passed_on(path: Path, readers: list[Reader]) -> None:
    part = b"2026-11-24T08:15:35.123456789Z stdout P x\n"
    with path.open("wb") as file:
        file.write(part)
        file.write(b"2026-11-24T08:15:35.123456789Z stderr F y\n" * (module.LIMIT_BYTES // 40))
    assert opened(readers, path).batch() is not None


def test_a_batch_that_was_on_its_way_is_cut_the_same_again(path: Path, readers: list[Reader], tmp_path: Path) -> None:
    path.write_bytes(lines(1, 2))
    reader = opened(readers, path)
    batch = reader.tail.read(at_end=False)
    assert batch
    reader.tail.position.sending = batch.end
    positions = Positions(tmp_path / "state/positions.json")
    positions.store([reader.tail.position])
    with path.open("ab") as file:
        file.write(lines(3))
    path.rename(path.with_name("0.log.20261124-081535.1"))
    again = opened(readers, path.with_name("0.log.20261124-081535.1"), positions.load())
    repeated = again.tail.read(at_end=False)
    assert repeated
    assert (repeated.id, repeated.start, repeated.end) == (batch.id, batch.start, batch.end)
    assert again.read() == ["1", "2"]
    assert again.read() == ["3"]


def test_another_file_with_the_same_inode_is_not_mistaken(path: Path, readers: list[Reader]) -> None:
    path.write_bytes(lines(1))
    inode = path.stat().st_ino
    stored = {inode: [Position(inode, "2025-01-01T00:00:00Z stdout F other\n", offset=30)]}
    assert opened(readers, path, stored).read() == ["1"]


def test_files_are_read_in_the_order_of_their_lines(path: Path, readers: list[Reader]) -> None:
    names = ["10.log", "9.log", "9.log.20261124-081535.2", "9.log.20261124-081535.1"]
    for name in names:
        path.with_name(name).write_bytes(lines(1))
    tails = [opened(readers, path.with_name(name)).tail for name in names]
    assert [t.path.name for t in sorted(tails, key=lambda t: t.order)] == list(reversed(names))


def test_a_link_is_not_followed(path: Path) -> None:
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match=os.fspath(path)):
        Tail(path, "uid", {})


def test_damaged_positions_are_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[{]")
    assert Positions(tmp_path / "p.json").load() == {}
