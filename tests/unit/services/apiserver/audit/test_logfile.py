"""The audit log's file: it is put aside when it has grown, and several writers share it."""

import os
import time
from pathlib import Path

import pytest

from services.apiserver.audit.logfile import DAY_S, Limits, LogFile

LINE = b"x" * 99 + b"\n"


def whole(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_only_root_may_read_what_is_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "deep" / "audit.log", Limits())
    log.write(LINE)
    log.close()
    path = tmp_path / "deep" / "audit.log"
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (LINE, 0o600)


def test_a_full_file_is_put_aside_by_whoever_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    writers = [LogFile(path, Limits(size=1000, backups=0)) for _ in range(2)]
    for number in range(55):
        writers[number % 2].write(LINE)
    for writer in writers:
        writer.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    assert all(one.stat().st_size <= 1000 for one in files)
    assert whole(tmp_path) == 55 * len(LINE)


def test_old_files_go(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    aged = tmp_path / "audit-2020-01-01T00-00-00.000.log"
    aged.write_bytes(LINE)
    past = time.time() - 3 * DAY_S
    os.utime(aged, (past, past))
    log = LogFile(path, Limits(size=100, backups=3, days=2))
    for _ in range(10):
        log.write(LINE)
    log.close()
    assert not aged.exists()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = LogFile(path, Limits())
    log.write(LINE)
    path.rename(tmp_path / "taken")
    log.write(LINE)
    log.close()
    assert path.read_bytes() == LINE


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        LogFile(tmp_path / "file" / "audit.log", Limits())
