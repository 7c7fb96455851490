"""One log file being read: an open descriptor, so that renaming or deleting the file loses nothing.

Why files are told apart by inode and beginning: rotation renames them, and an inode number comes back.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from services.logcollector.cri import Parsed, parse
from services.logcollector.positions import HEAD, Position

NAME = re.compile(r"(\d+)\.log(?:\.(\d[\d.-]*))?\Z")
BATCH_BYTES = 128 << 10
"""Bytes of log in one batch; more only while a single line is longer."""
LIMIT_BYTES = 4 << 20
"""Most bytes read ahead for lines that two streams interleave; then they are passed on unfinished."""


@dataclass(slots=True)
class Batch:
    """Records of the bytes `start` to `end` of a file. `id` is the same whenever this range is sent."""

    tail: "Tail"
    start: int
    end: int
    parsed: Parsed
    force: bool

    @property
    def id(self) -> str:
        return f"{self.tail.uid}/{self.tail.container}/{self.tail.position.id}/{self.start}"

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def is_small(self) -> bool:
        """Whether it took all there was."""
        return self.size < BATCH_BYTES // 2


class Tail:
    """A file of a container. Raises OSError if it cannot be opened."""

    def __init__(self, path: Path, uid: str, stored: dict[int, list[Position]]) -> None:
        self.path = path
        self.uid = uid
        self.container = path.parent.name
        self.fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.finished = False
        self.waiting = False
        """Whether bytes behind the position wait for the rest of their line."""
        found = os.fstat(self.fd)
        self.key = (found.st_dev, found.st_ino)
        head = self._head()
        known = [p for p in stored.get(found.st_ino, ()) if p.head and head.startswith(p.head)]
        self.position = known[0] if known else Position(found.st_ino, head)
        self.position.head = head
        if self.position.offset > found.st_size:
            self.restart()

    @property
    def order(self) -> tuple[int, int, str]:
        """Sorts the files of a container: by attempt, rotated ones by time, the current one last."""
        match = NAME.match(self.path.name)
        attempt, rotated = (int(match[1]), match[2] or "") if match else (0, "")
        return attempt, not rotated, rotated

    @property
    def is_deleted(self) -> bool:
        """Whether no name leads to the file any more."""
        return os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self.fd)

    def restart(self) -> None:
        """The file was cut off by someone: what is in it now is new."""
        self.position.offset = self.position.sending = 0
        self.position.head = self._head()

    def pending(self) -> int:
        """Bytes behind the position; a file that shrank is read from its beginning."""
        size = os.fstat(self.fd).st_size
        if size < self.position.offset:
            self.restart()
        return size - self.position.offset

    def read(self, *, at_end: bool) -> Batch | None:
        """The next batch, None if there is no complete line. With `at_end` unfinished lines are passed on too.

        A batch that was on its way before a crash comes first, cut exactly as it was.
        """
        start = self.position.offset
        if len(self.position.head) < HEAD:
            self.position.head = self._head()
        if self.position.sending > start:
            data = os.pread(self.fd, self.position.sending - start, start)
            if start + len(data) == self.position.sending:
                return self._batch(data, self.position.force)
            self.position.sending = 0
        size = BATCH_BYTES
        while True:
            data = os.pread(self.fd, size, start)
            reached_end = len(data) < size
            if data and at_end and reached_end:
                return self._batch(data, force=True)
            parsed = parse(data)
            self.waiting = not parsed.end and bool(data)
            if parsed.end:
                return Batch(self, start, start + parsed.end, parsed, False)
            if reached_end:
                return None
            if size >= LIMIT_BYTES:
                return self._batch(data[: data.rfind(b"\n") + 1] or data, force=True)
            size *= 2

    def _batch(self, data: bytes, force: bool) -> Batch:
        """A batch of exactly these bytes; what they lack is a line end at most."""
        start = self.position.offset
        whole = data if data.endswith(b"\n") else data + b"\n"
        return Batch(self, start, start + len(data), parse(whole, force=force), force)

    def _head(self) -> str:
        # only whole lines: a beginning that is still being written would not be recognised later
        data = os.pread(self.fd, HEAD, 0)
        return data.decode("latin-1") if b"\n" in data or len(data) == HEAD else ""
