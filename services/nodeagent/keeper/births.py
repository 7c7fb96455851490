"""The keeper's side of making a process: clone3, and then waiting, without blocking, until its program runs.

See launch.py for the other side and for what the channel between them says.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from services.nodeagent.keeper import launch, pidfds
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.zygote import AGAIN, GO, Order, Unavailable, Unlisted, Zygote
from shared.kernel import syscalls
from shared.records import frozen

SETUP_LIMIT_S = 60.0  # a mount of a dead network file system must not hold a start for ever


_under_way: set[int] = set()


def under_way() -> bool:
    """Whether any process is still on its way."""
    return bool(_under_way)


class Birth:
    """A process on its way. Exactly one of `message` and readiness comes to be; `on_settled` is then called.

    A process for a user namespace puts another one in its place: `pid` and `pidfd` then change, the first process has
    been waited for, its pidfd is the callee's to close, and `on_handover` is called. A process that had a list of
    system calls and could not finish it ends with `on_unfinished` instead.
    """

    def __init__(self, loop: Loop, channel: socket.socket, pid: int, pidfd: int) -> None:
        self._loop = loop
        self._channel: socket.socket | None = channel
        self.pid = pid
        self.pidfd = pidfd
        self.console = -1  # the master's descriptor, owned by whoever takes it
        self.warnings: list[str] = []
        self.failed = False
        self.message = ""
        self.exit_code = 0
        self.on_settled: Callable[[], None] = lambda: None
        self.on_handover: Callable[[], None] = lambda: None
        self.on_unfinished: Callable[[], None] = lambda: None
        self.unfinished = ""  # the error that a list came upon
        self._executing = False
        self._fd = channel.fileno()
        _under_way.add(self._fd)
        pidfds.expected.add(pid)
        channel.setblocking(False)
        loop.watch(channel.fileno(), lambda _events: self.settle())
        self._limit = loop.after(SETUP_LIMIT_S, self._give_up)

    def settle(self) -> None:
        """Read what the channel has; when it has ended, decide."""
        while self._channel is not None:
            try:
                data, fds, _flags, _address = socket.recv_fds(self._channel, 8192, 1)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._end()
                return
            if data.startswith(AGAIN):
                self.unfinished = os.strerror(data[len(AGAIN)])
                continue
            message = json.loads(data)
            if "warning" in message:
                self.warnings.append(message["warning"])
            elif "console" in message and fds:
                self.console = fds[0]
                os.set_inheritable(self.console, False)
            elif "handover" in message and fds:
                self._take_over(fds[0])
            elif "executing" in message:
                self._executing = True
            elif "error" in message:
                self.fail(message["error"], message["exit_code"])

    def _take_over(self, pidfd: int) -> None:
        os.set_inheritable(pidfd, False)
        pidfds.wait(self.pidfd)  # it ends as soon as it has sent this
        self.pid, self.pidfd = pidfds.pid_of(pidfd), pidfd
        if self.pid:
            pidfds.expected.add(self.pid)
        self.on_handover()

    def fail(self, message: str, exit_code: int) -> None:
        if not self.failed:
            self.failed, self.message, self.exit_code = True, message, exit_code

    def _end(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._limit.cancel()
        _under_way.discard(self._fd)
        self._loop.forget(channel.fileno())
        channel.close()
        if self.unfinished:
            self.on_unfinished()
            return
        if not self._executing:
            self.fail("the process was killed while its surroundings were made", 128)
        self.on_settled()

    def _give_up(self) -> None:
        self.fail(f"the surroundings were not made within {SETUP_LIMIT_S:g} s", 128)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)


@frozen
class Shortcut:
    """Another way to make a process, which may not be open: `compose` adds its list of system calls to an order, or
    raises Unlisted. `fds` are its descriptors, -1 for none."""

    zygote: Zygote
    fds: tuple[int, ...]
    compose: Callable[[Order], None]


def spawn(
    loop: Loop,
    body: Callable[[launch.Channel], None],
    flags: int,
    *,
    cgroup_fd: int = -1,
    pid_namespace: int = -1,
    shortcut: Shortcut | None = None,
) -> Birth:
    """Make a process that runs `body`; `pid_namespace` is a pidfd (or nsfs descriptor) of the one to be born in.

    With a `shortcut` it is tried first; the caller then takes care of `on_unfinished`.

    Closes `cgroup_fd`. OSError if the kernel refuses.
    """
    try:
        birth = _by_list(loop, shortcut, flags, cgroup_fd, pid_namespace) if shortcut is not None else None
        return birth or _by_fork(loop, body, flags, cgroup_fd, pid_namespace)
    finally:
        if cgroup_fd >= 0:
            os.close(cgroup_fd)


def _channel() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def _by_fork(
    loop: Loop, body: Callable[[launch.Channel], None], flags: int, cgroup_fd: int, pid_namespace: int
) -> Birth:
    parent, child = _channel()
    where: AbstractContextManager[None] = nullcontext()
    if pid_namespace >= 0:
        where = syscalls.namespace(pid_namespace, syscalls.CLONE_NEWPID)
    try:
        with where:
            pid, pidfd = syscalls.clone(flags, cgroup_fd=cgroup_fd)
            if pid == 0:
                launch.run(body, child)
    except BaseException:
        parent.close()
        raise
    finally:
        child.close()
    return Birth(loop, parent, pid, pidfd)


def _by_list(loop: Loop, shortcut: Shortcut, flags: int, cgroup_fd: int, pid_namespace: int) -> Birth | None:
    """A process that carries out a list, None if there is to be none.

    It waits for a word on its channel: one that was made by a zygote which could not tell of it any more sees the
    channel's end instead, and ends. So no container is ever made twice, or by a keeper that has gone.
    """
    parent, child = _channel()
    try:
        with child:
            order = Order(flags, child.fileno(), shortcut.fds, cgroup_fd, pid_namespace)
            shortcut.compose(order)
            pid, pidfd = shortcut.zygote.bear(order)
    except (Unlisted, Unavailable, OSError, ValueError, OverflowError):
        parent.close()
        return None
    with suppress(OSError):  # it has been killed already, which is told like any other end
        parent.send(GO)
    return Birth(loop, parent, pid, pidfd)
