"""The file of audit events, a line each, that is put aside when it has grown and removed when it is old.

The standard library's rotating handlers know no age, renumber every file each time, and lose lines when several
processes write: the API server may have several, which all append to the same file. Names and limits are those of
kube-apiserver's --audit-log-* options: `audit-2026-11-24T15-04-05.123456.log` beside `audit.log`.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of a file, how many old ones are kept, and for how many days; 0 for no limit of number or age."""

    size: int = 100 << 20
    backups: int = 10
    days: int = 30


class LogFile:
    """`write` appends a line, so that it stands there whole before the answer it is about leaves."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """OSError if the file cannot be written."""
        self._path = path
        self._limits = limits
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._open()

    def write(self, line: bytes) -> None:
        """OSError if the disk is full or broken."""
        self._follow()
        size = os.fstat(self._descriptor).st_size
        if size and size + len(line) > self._limits.size:
            self._rotate()
        # one write to a file opened for appending is not mixed with those of other processes
        os.write(self._descriptor, line)

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _follow(self) -> None:
        """Go on in the new file if another process, or a tool, has put ours aside."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino:
                return
        self._reopen()

    def _reopen(self) -> None:
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor = fresh

    def _rotate(self) -> None:
        with self._locked():
            if os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino:
                self._path.rename(self._aside())
                self._remove_old()
            self._reopen()

    def _aside(self) -> Path:
        """A name that no file has yet; whoever asks holds the lock."""
        while True:
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
            path = self._path.with_name(f"{self._path.stem}-{moment}{self._path.suffix}")
            if not path.exists():
                return path

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _remove_old(self) -> None:
        limits = self._limits
        old = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)
        oldest = datetime.now(UTC).timestamp() - limits.days * DAY_S
        for number, path in enumerate(old):
            with contextlib.suppress(FileNotFoundError):
                if (limits.backups and number >= limits.backups) or (limits.days and path.stat().st_mtime < oldest):
                    path.unlink()
