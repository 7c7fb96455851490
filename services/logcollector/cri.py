"""CRI log lines -> records: timestamps, streams, partial lines joined. Pure.

Why batches end where they do: a batch covers a range of bytes that begins and ends where no line is half-joined, so the
same range always gives the same records, and sending it again after a crash is recognisably the same batch.
Source: the CRI logging format `<RFC 3339 nano> <stdout|stderr> <P|F> <text>`; P lines are continued by the next line of
the same stream.
"""

import calendar
import re
from dataclasses import dataclass, field

LINE_LIMIT = 1 << 20
"""Bytes of one joined record; a longer line is passed on in pieces."""

_LINE = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF])(?::\S*)? ?"
)


@dataclass(frozen=True, slots=True)
class Record:
    """One log line. `time` is nanoseconds since 1970."""

    time: int
    stream: str
    log: str


@dataclass(slots=True)
class Parsed:
    """Records of the bytes up to `end`; `open` tells whether bytes after `end` wait for the rest of their line."""

    records: list[Record] = field(default_factory=list)
    end: int = 0
    open: bool = False


def parse(data: bytes, *, force: bool = False) -> Parsed:
    """Parse whole lines of `data`, which begins at the start of a record.

    Without `force` parsing stops behind the last point at which every stream's line is complete. With it everything up
    to the last line end is passed on, unfinished lines too: at the end of a file, and when a line grows beyond limits.
    """
    parsed = Parsed()
    pending: dict[str, list[bytes]] = {}
    started: dict[str, int] = {}
    sizes: dict[str, int] = {}
    records: list[Record] = []
    position = 0
    latest = 0
    while (end := data.find(b"\n", position)) >= 0:
        time, stream, complete, text = _line(data, position, end)
        latest = time = time or latest
        position = end + 1
        if not complete or stream in pending:
            parts = pending.setdefault(stream, [])
            parts.append(text)
            started.setdefault(stream, time)
            sizes[stream] = sizes.get(stream, 0) + len(text)
            if not complete and sizes[stream] < LINE_LIMIT:
                continue
            text = b"".join(parts)
            time = started.pop(stream)
            del pending[stream], sizes[stream]
        records.append(Record(time, stream, text.decode("utf-8", "replace")))
        if not pending:
            parsed.records.extend(records)
            records = []
            parsed.end = position
    if force:
        parsed.records.extend(records)
        for stream, parts in pending.items():
            parsed.records.append(Record(started[stream], stream, b"".join(parts).decode("utf-8", "replace")))
        parsed.end = position
    parsed.open = position > parsed.end
    return parsed


def _line(data: bytes, start: int, end: int) -> tuple[int, str, bool, bytes]:
    """(time, stream, complete, text) of one line; one in another form is kept whole, with time 0 for unknown."""
    found = _LINE.match(data, start, end)
    if not found:
        return 0, "stdout", True, data[start:end]
    year, month, day, hour, minute, second, fraction, zone, stream, tag = found.groups()
    seconds = _seconds(b"%b%b%b%b%b" % (year, month, day, hour, minute)) + int(second)
    if zone != b"Z":
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        seconds += -offset if zone[:1] == b"+" else offset
    nanoseconds = int(fraction.ljust(9, b"0")) if fraction else 0
    return seconds * 1_000_000_000 + nanoseconds, stream.decode(), tag == b"F", data[found.end() : end]


_minute = b""
_minute_seconds = 0


def _seconds(minute: bytes) -> int:
    """Seconds of a minute `YYYYMMDDhhmm`; consecutive lines nearly always share it."""
    global _minute, _minute_seconds
    if minute != _minute:
        parts = (int(minute[:4]), int(minute[4:6]), int(minute[6:8]), int(minute[8:10]), int(minute[10:12]), 0)
        _minute, _minute_seconds = minute, calendar.timegm(parts)
    return _minute_seconds
