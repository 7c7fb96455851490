"""Reading container logs: the CRI files that the keeper writes, across rotations, as `kubectl logs` wants them.

Source: core/v1 PodLogOptions; the CRI log format is `time stream tag text`, tag P for a part of a line that goes on.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from services.nodeagent.inotify import DirectoryWatch
from shared.errors import BadRequest
from shared.objects import times

CHUNK = 65536
_FIELDS = 3


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What to send. `since` compares as text with the files' RFC 3339 times; `tail` in lines; `limit` in bytes."""

    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: str = ""
    limit: int | None = None

    @classmethod
    def of(cls, params: Mapping[str, Any], now: datetime) -> "LogOptions":
        """From the parameters of a stream. Raises BadRequest naming the one that is wrong."""
        since = ""
        if params.get("sinceTime"):
            try:
                since = _text(times.parse(str(params["sinceTime"])))
            except ValueError as exc:
                raise BadRequest(f"sinceTime: {exc}") from exc
        elif params.get("sinceSeconds") is not None:
            since = _text(now - timedelta(seconds=int(params["sinceSeconds"])))
        tail, limit = params.get("tailLines"), params.get("limitBytes")
        return cls(
            bool(params.get("follow")),
            bool(params.get("timestamps")),
            None if tail is None else int(tail),
            since,
            None if limit is None else int(limit),
        )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def log_files(path: Path) -> list[Path]:
    """The files of one attempt, oldest first: rotated ones are named `<file>.<time>`."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"))
    return [*rotated, path]


async def send_log(
    path: Path,
    options: LogOptions,
    send: Callable[[bytes], Awaitable[None]],
    ended: Callable[[], bool],
    ended_event: asyncio.Event,
) -> None:
    """Send what the options ask for; with `follow` until `ended()`, which is asked whenever `ended_event` is set."""
    formatter = _Formatter(options)
    async for data in _blocks(path, options, ended, ended_event):
        out = formatter.feed(data)
        if out:
            await send(out)
        if formatter.full:
            return


class _Formatter:
    """Turns CRI records into what the reader asked for. Pure."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit
        self._rest = b""
        self._since = options.since.encode()
        self._at_start = True

    @property
    def full(self) -> bool:
        """Whether limitBytes is used up."""
        return self._left is not None and self._left <= 0

    def feed(self, data: bytes) -> bytes:
        *lines, self._rest = (self._rest + data).split(b"\n")
        out = b"".join(self._line(line) for line in lines)
        if self._left is not None:
            out = out[: self._left]
            self._left -= len(out)
        return out

    def _line(self, line: bytes) -> bytes:
        fields = line.split(b" ", _FIELDS)
        if len(fields) < _FIELDS:
            return b""
        stamp, _, tag = fields[:_FIELDS]
        # Z sorts after every digit, so a bare second must not count as later than its own fractions
        if stamp.rstrip(b"Z") < self._since:
            return b""
        text = fields[_FIELDS] if len(fields) > _FIELDS else b""
        head = stamp + b" " if self._options.timestamps and self._at_start else b""
        self._at_start = tag != b"P"
        return head + text + (b"\n" if self._at_start else b"")


async def _blocks(
    path: Path, options: LogOptions, ended: Callable[[], bool], ended_event: asyncio.Event
) -> AsyncIterator[bytes]:
    """Raw blocks from where the options begin to the end, which for `follow` is the end of the container."""
    if not path.parent.is_dir():
        return
    with DirectoryWatch(path.parent) as watch:
        file, pending = _open_at(path, options.tail)
        try:
            while True:
                over = ended()
                watch.changed.clear()
                if file is not None:
                    while data := file.read(CHUNK):
                        yield data
                pending = pending or _newer(path, file)
                if pending:
                    if file is not None:
                        # written between the last read and the rename
                        while data := file.read(CHUNK):
                            yield data
                        file.close()
                    file = _open(pending.pop(0))
                    continue
                if over or not options.follow:
                    return
                await _either(watch.changed, ended_event)
                ended_event.clear()
        finally:
            if file is not None:
                file.close()


async def _either(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _newer(path: Path, file: BinaryIO | None) -> list[Path]:
    """The files that follow `file`, if it was rotated away."""
    files = [entry for entry in log_files(path) if entry.exists()]
    if file is None:
        return files
    mine = os.fstat(file.fileno()).st_ino
    for index, entry in enumerate(files):
        if entry.stat().st_ino == mine:
            return files[index + 1 :]
    return files


def _open_at(path: Path, tail: int | None) -> tuple[BinaryIO | None, list[Path]]:
    """The file and position where the last `tail` lines begin (None: all), and the files after it."""
    files = [entry for entry in log_files(path) if entry.exists()]
    if not files:
        return None, []
    if tail is None:
        return _open(files[0]), files[1:]
    wanted = tail
    for index in range(len(files) - 1, -1, -1):
        file = files[index].open("rb")
        position, found = _tail_position(file, wanted)
        wanted -= found
        if wanted <= 0 or index == 0:
            file.seek(position)
            return file, files[index + 1 :]
        file.close()
    return None, []


def _tail_position(file: BinaryIO, lines: int) -> tuple[int, int]:
    """Offset at which the last `lines` whole lines begin, and how many of them there are."""
    size = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return size, 0
    found, start = 0, size
    for offset, line in _lines_backwards(file, size):
        fields = line.split(b" ", _FIELDS)
        # a part belongs to the whole line that comes after it
        if len(fields) >= _FIELDS and fields[2] != b"P":
            if found == lines:
                return start, found
            found += 1
        start = offset
    return 0, found


def _lines_backwards(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, line) from the last to the first."""
    end, tail = size, b""
    while end > 0:
        begin = max(0, end - CHUNK)
        file.seek(begin)
        block = file.read(end - begin) + tail
        lines = block.split(b"\n")
        offset = begin + len(block)
        for line in reversed(lines[1:]):
            offset -= len(line)
            if line:
                yield offset, line
            offset -= 1
        tail, end = lines[0], begin
    if tail:
        yield 0, tail
