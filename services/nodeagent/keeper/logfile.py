"""Container logs in the CRI format, so that kubectl's and every log shipper's readers understand them.

`2026-11-24T08:15:35.123456789Z stdout F text`; P marks a part of a line that goes on. Lines are cut at 16 KiB. Nothing
read from a container is held back for long: what has no line end yet is written as a part, so a lost keeper loses none.
Format: kubernetes design-proposals, node/kubelet-cri-logging; rotation as kubelet does it, by rename.
"""

from __future__ import annotations

import contextlib
import os
import time

MAX_LINE = 16384
MAX_BYTES = 10 * 1024 * 1024
KEPT_FILES = 5  # the current one included, as kubelet's containerLogMaxFiles

_second = -1
_second_text = ""


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 with nine digits, UTC."""
    global _second, _second_text
    second, rest = divmod(nanoseconds, 1_000_000_000)
    if second != _second:
        _second, _second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return f"{_second_text}.{rest:09d}Z"


class Lines:
    """Turns one stream's bytes into records. Pure: no clock and no file."""

    def __init__(self, stream: str) -> None:
        self._stream = stream.encode()
        self._rest = b""
        self._continued = False  # a part without its end has been written

    @property
    def pending(self) -> bool:
        return bool(self._rest)

    def feed(self, data: bytes, stamp: str) -> bytes:
        """The records that `data` completes; what has no line end stays until `flush`, or more."""
        full = stamp.encode() + b" " + self._stream + b" F "
        part = stamp.encode() + b" " + self._stream + b" P "
        *lines, rest = (self._rest + data).split(b"\n")
        if lines and max(map(len, lines)) <= MAX_LINE:
            self._rest = rest
            self._continued = False
            records = [b"".join((full, (b"\n" + full).join(lines), b"\n"))]
        else:
            records = []
            for line in lines:
                while len(line) > MAX_LINE:
                    records += (part, line[:MAX_LINE], b"\n")
                    line = line[MAX_LINE:]
                records += (full, line, b"\n")
            self._rest = rest
            if lines:
                self._continued = False
        while len(self._rest) > MAX_LINE:
            records += (part, self._rest[:MAX_LINE], b"\n")
            self._rest = self._rest[MAX_LINE:]
            self._continued = True
        return b"".join(records)

    def flush(self, stamp: str) -> bytes:
        """The unfinished line as a part."""
        if not self._rest:
            return b""
        record = b"".join((stamp.encode(), b" ", self._stream, b" P ", self._rest, b"\n"))
        self._rest = b""
        self._continued = True
        return record

    def finish(self, stamp: str) -> bytes:
        """The end of the stream: the last line is complete even without its line end."""
        if not self._rest and not self._continued:
            return b""
        record = b"".join((stamp.encode(), b" ", self._stream, b" F ", self._rest, b"\n"))
        self._rest = b""
        self._continued = False
        return record


class LogFile:
    """One container's log. An empty path discards.

    When the disk refuses, output is dropped rather than the container blocked, counted, and the gap reported in the
    log itself as soon as it can be written again.
    """

    def __init__(self, path: str, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._fd = -1
        self._size = 0
        self._lost = 0
        if path:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            self._open()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, records: bytes) -> None:
        """Append whole records, rotating first when the file is full."""
        if not self.path or not records:
            return
        try:
            if self._fd < 0:
                self._open()
            if self._size and self._size + len(records) > self._max_bytes:
                self.rotate()
            if self._lost:
                gap = f"{timestamp(time.time_ns())} stderr F [{self._lost} bytes of log were lost: the disk was full]\n"
                self._append(gap.encode())
                self._lost = 0
            self._append(records)
        except OSError:
            self._lost += len(records)

    def _append(self, records: bytes) -> None:
        written = os.write(self._fd, records)
        self._size += written
        if written < len(records):  # the last bytes of a disk; a torn record would be read as a wrong one
            os.ftruncate(self._fd, self._size - written)
            self._size -= written
            raise OSError("short write")

    def rotate(self) -> None:
        """Rename the file to `<name>.<time>`, start a new one, remove the oldest beyond those kept."""
        if not self.path or self._fd < 0:
            return
        nanoseconds = time.time_ns()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(nanoseconds // 1_000_000_000))
        os.rename(self.path, f"{self.path}.{stamp}.{nanoseconds % 1_000_000_000:09d}")
        os.close(self._fd)
        self._fd = -1
        self._open()
        directory, _, name = self.path.rpartition("/")
        old = sorted(entry for entry in os.listdir(directory) if entry.startswith(f"{name}."))
        for entry in old[: max(0, len(old) - (self._kept - 1))]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/{entry}")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
