"""Exec and attach sessions as the agent holds them: real pipes to the process, the keeper only reaps.

The descriptors come from the keeper, so bytes flow between agent and process without passing through the keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Any

from services.nodeagent.runtime.pipes import ReadEnd, WriteEnd


def set_window_size(fd: int, width: int, height: int) -> None:
    """Tell a console its size in characters; the kernel sends SIGWINCH to its foreground group (tty_ioctl(4))."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


class Session:
    """What exec and attach have in common. With a console there is no `stderr`, and `stdin` writes to the console."""

    def __init__(self, fds: dict[str, int]) -> None:
        self.stdin = WriteEnd(fds["stdin"]) if "stdin" in fds else None
        self.stdout = ReadEnd(fds["stdout"]) if "stdout" in fds else None
        self.stderr = ReadEnd(fds["stderr"]) if "stderr" in fds else None
        self._console = fds.get("console", -1)

    def resize(self, width: int, height: int) -> None:
        """Change the console's size, in characters; without a console, nothing happens."""
        if self._console >= 0:
            set_window_size(self._console, width, height)

    def close_streams(self) -> None:
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                end.close()
        console, self._console = self._console, -1
        if console >= 0:
            os.close(console)


class ExecSession(Session):
    """A process started in a running container. Close `stdin` to give it end of file; `close` ends what still runs."""

    def __init__(
        self, session: int, pid: int, fds: dict[str, int], send: Callable[[str, dict[str, Any]], None]
    ) -> None:
        super().__init__(fds)
        self.session = session
        self.pid = pid
        self._send = send
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        """The exit code (128 + signal if a signal ended it). RuntimeFailure if the keeper went away first."""
        return await asyncio.shield(self._exit)

    @property
    def exited(self) -> bool:
        return self._exit.done()

    def kill(self, signum: int = 9) -> None:
        if not self._exit.done():
            self._send("exec_signal", {"session": self.session, "signum": signum})

    def close(self) -> None:
        self.kill()
        self.close_streams()

    async def __aenter__(self) -> ExecSession:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def finish(self, outcome: int | Exception) -> None:
        """Called by the client when the keeper reports the end, or is lost."""
        if self._exit.done():
            return
        if isinstance(outcome, Exception):
            self._exit.set_exception(outcome)
            self._exit.exception()  # nobody has to wait for a session
        else:
            self._exit.set_result(outcome)


class AttachSession(Session):
    """A live view of a container's own streams. `stdout` ends when the container does, or when the viewer stalls.

    `close_stdin` gives the container end of file if it was started with `stdin_once`, else only leaves.
    """

    def __init__(self, session: int, fds: dict[str, int], send: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__(fds)
        self.session = session
        self._send = send
        self._closed = False

    def close_stdin(self) -> None:
        if self.stdin is not None:
            self.stdin.close()
            self._send("attach_stdin_closed", {"session": self.session})

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._send("detach", {"session": self.session})
        self.close_streams()

    async def __aenter__(self) -> AttachSession:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()
