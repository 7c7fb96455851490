"""How far each log file has been delivered, on disk.

Why it also holds what is being sent: a batch is written down before it goes out. After a crash exactly the same range
is sent again under the same message id, and the stream drops it if it had arrived; without this the restarted
collector would cut its batches elsewhere, and lines would be doubled or, worse, taken for already known.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

HEAD = 48
"""Bytes of a file's beginning that are kept to recognise it: longer than a CRI timestamp."""


@dataclass(slots=True)
class Position:
    """Where one file stands. `offset` is delivered; up to `sending` (if larger) a batch may be on its way.

    `force` tells how that batch was cut (cri.parse). `head` is the beginning of the file, because inode numbers are
    used again.
    """

    inode: int
    head: str
    offset: int = 0
    sending: int = 0
    force: bool = False

    @property
    def id(self) -> str:
        """The file's identity for message ids: unchanged by a rename, different for the next file of that inode."""
        words = self.head.split(maxsplit=1)
        return f"{self.inode:x}-{words[0] if words else ''}"


class Positions:
    """The file of positions; one JSON document, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = b""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> dict[int, list[Position]]:
        """The stored positions by inode; none if the file is missing or unreadable, which reads everything again."""
        found: dict[int, list[Position]] = {}
        try:
            for entry in json.loads(self._path.read_bytes()):
                position = Position(**entry)
                found.setdefault(position.inode, []).append(position)
        except (FileNotFoundError, ValueError, TypeError):
            return {}
        return found

    def store(self, positions: list[Position]) -> None:
        """Make the positions durable; nothing is written if nothing changed. Raises OSError."""
        data = json.dumps([asdict(position) for position in positions], separators=(",", ":")).encode()
        if data == self._last:
            return
        work = self._path.with_suffix(".partial")
        fd = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(work, self._path)
        self._last = data
