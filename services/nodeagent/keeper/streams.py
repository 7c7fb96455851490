"""A container's output on its way to the log and to those who watch it live, and its input.

The pipes are FIFOs that the container holds open for reading and writing: if the keeper is killed, the container does
not get SIGPIPE but fills 64 KiB and waits, and the next keeper opens the same FIFOs and reads on. Whoever attaches gets
a pipe of his own. A viewer that does not read slows the container down, as a terminal does, but only for a while.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

from services.nodeagent.keeper.logfile import Lines, LogFile, timestamp
from services.nodeagent.keeper.loop import READ, WRITE, Loop, Timer

CHUNK = 65536
FLUSH_AFTER_S = 0.2
STALL_LIMIT_S = 10.0


class Viewer:
    """One attached reader of one stream; `fd` is the writing end of its pipe."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.backlog = b""
        self.stalled_since = 0.0

    def push(self, data: bytes) -> bool:
        """Write what fits; False when the reader has gone."""
        self.backlog += data
        try:
            while self.backlog:
                self.backlog = self.backlog[os.write(self.fd, self.backlog) :]
                self.stalled_since = 0.0
        except BlockingIOError:
            self.stalled_since = self.stalled_since or time.monotonic()
        except OSError:
            return False
        return True

    def close_when_drained(self, loop: Loop) -> None:
        """Let the reader have the rest, within the stall limit."""

        def close() -> None:
            limit.cancel()
            loop.forget(self.fd)
            os.close(self.fd)

        def go_on(_events: int) -> None:
            if not self.push(b"") or not self.backlog:
                close()

        limit = loop.after(STALL_LIMIT_S, close)
        if self.backlog:
            loop.watch(self.fd, go_on, WRITE)
        else:
            close()


class Output:
    """One output stream of a container, read from `fd` (a FIFO, or the master of a console)."""

    def __init__(self, loop: Loop, name: str, fd: int, log: LogFile) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._log = log
        self._lines = Lines(name)
        self._viewers: list[Viewer] = []
        self._flusher: Timer | None = None
        self._stall: Timer | None = None
        loop.watch(fd, self._on_readable)

    def add_viewer(self, fd: int) -> Viewer:
        viewer = Viewer(fd)
        self._viewers.append(viewer)
        return viewer

    def drop_viewer(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)
            self._loop.forget(viewer.fd)
            os.close(viewer.fd)
            self.resume()

    def _on_readable(self, _events: int) -> None:
        if not self._read_once():
            self._loop.forget(self._fd)  # a console that everybody has closed, or a pipe's end

    def _read_once(self) -> bool:
        """Read and pass on one chunk; False at the end or when there is nothing."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError as exc:
            if exc.errno == errno.EIO:
                return False
            raise
        if not data:
            return False
        self._pass_on(data)
        return True

    def _pass_on(self, data: bytes) -> None:
        self._log.write(self._lines.feed(data, timestamp(time.time_ns())))
        if self._lines.pending and self._flusher is None:
            self._flusher = self._loop.after(FLUSH_AFTER_S, self._flush)
        for viewer in list(self._viewers):
            if not viewer.push(data):
                self.drop_viewer(viewer)
            elif viewer.backlog:
                self._loop.watch(viewer.fd, lambda _events, held=viewer: self._on_viewer(held), WRITE)  # type: ignore[misc]
                self._loop.forget(self._fd)
                if self._stall is None:
                    self._stall = self._loop.after(STALL_LIMIT_S, self._drop_stalled)

    def _flush(self) -> None:
        self._flusher = None
        self._log.write(self._lines.flush(timestamp(time.time_ns())))

    def _on_viewer(self, viewer: Viewer) -> None:
        if not viewer.push(b""):
            self.drop_viewer(viewer)
        elif not viewer.backlog:
            self._loop.forget(viewer.fd)
            self.resume()

    def resume(self) -> None:
        """Read on; to be called when somebody writes again after everybody had closed the pipe, which ends reading."""
        if self._fd >= 0 and not any(viewer.backlog for viewer in self._viewers):
            self._loop.watch(self._fd, self._on_readable, READ)

    def _drop_stalled(self) -> None:
        self._stall = None
        now = time.monotonic()
        for viewer in list(self._viewers):
            if viewer.stalled_since and now - viewer.stalled_since >= STALL_LIMIT_S:
                self.drop_viewer(viewer)
        if any(viewer.stalled_since for viewer in self._viewers):
            self._stall = self._loop.after(1.0, self._drop_stalled)

    def finish(self) -> None:
        """The container has ended: take what is still in the pipe, complete the log, let viewers see the end."""
        self._loop.forget(self._fd)
        with contextlib.suppress(OSError):
            while data := os.read(self._fd, CHUNK):
                self._log.write(self._lines.feed(data, timestamp(time.time_ns())))
                for viewer in self._viewers:
                    viewer.push(data)
        self._log.write(self._lines.finish(timestamp(time.time_ns())))
        for timer in (self._flusher, self._stall):
            if timer is not None:
                timer.cancel()
        os.close(self._fd)
        self._fd = -1
        viewers, self._viewers = self._viewers, []
        for viewer in viewers:
            viewer.close_when_drained(self._loop)
