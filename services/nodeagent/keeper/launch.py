"""What happens in a newborn process between clone3 and execve, for a container's first process and for exec sessions.

The keeper learns of it over a SOCK_SEQPACKET channel: warnings, a console's descriptor, that execve is about to be
called, an error. A successful execve closes the channel: its end after that announcement means that the program runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from services.nodeagent.keeper import process as processes
from services.nodeagent.keeper import rootfs
from services.nodeagent.keeper.plan import RootPlan
from services.nodeagent.keeper.process import Process, StartFailure
from shared.kernel import syscalls

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E


@dataclass(slots=True)
class Stdio:
    """Descriptors for 0, 1, 2 (-1: /dev/null of the container), or a console made inside the container."""

    fds: tuple[int, int, int] = (-1, -1, -1)
    tty: bool = False
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class ContainerJob:
    """All that the first process of a container needs; `namespaces` are (path, CLONE_NEW...) to join."""

    process: Process
    stdio: Stdio
    root: RootPlan
    lower: list[str]
    writable: str
    entrances: list[str]
    namespaces: list[tuple[str, int]]
    own_cgroup_namespace: bool = True


@dataclass(slots=True)
class ExecJob:
    """All that a process added to a container needs; `target` is a pidfd of the container's first process."""

    process: Process
    stdio: Stdio
    target: int
    kinds: int
    entrances: list[str] = field(default_factory=list)


class Channel:
    """The child's end of the channel, which also remembers what was being done when an error strikes."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.doing = ""

    def progress(self, doing: str) -> None:
        self.doing = doing

    def warn(self, text: str) -> None:
        self.tell({"warning": text})

    def fail(self, message: str, exit_code: int) -> None:
        self.tell({"error": message[:4000], "exit_code": exit_code})

    def announce(self) -> None:
        self.tell({"executing": True})

    def send_console(self, master: int) -> None:
        socket.send_fds(self._end, [b'{"console":true}'], [master])

    def tell(self, message: dict[str, Any]) -> None:
        self._end.send(json.dumps(message).encode())

    def ask(self, what: str) -> None:
        """Tell the other side how far this one is, and wait until it says to go on."""
        self.tell({what: True})
        self.wait()

    def wait(self) -> None:
        """Wait for the word to go on. StartFailure if the other side has gone instead."""
        if not self._end.recv(64):
            raise StartFailure(f"{self.doing}: the process that asked for it has gone", 128)

    def close(self) -> None:
        self._end.close()

    def close_others(self, keep: set[int]) -> None:
        """Close every descriptor but 0-2, the channel and `keep`, so that no path through them leads out."""
        lowest = 3
        for fd in sorted(keep | {self._end.fileno()}):
            if fd >= lowest:
                os.closerange(lowest, fd)
                lowest = fd + 1
        os.closerange(lowest, 1 << 20)


def run(body: Callable[[Channel], None], end: socket.socket) -> NoReturn:
    """Run `body` in the child; whatever goes wrong is reported, and the interpreter is never returned to."""
    channel = Channel(end)
    code = 128
    try:
        processes.reset()
        body(channel)
    except StartFailure as exc:
        code = exc.exit_code
        channel.fail(exc.message, code)
    except OSError as exc:
        detail = (exc.strerror or str(exc)).lower()
        where = f": {exc.filename}" if exc.filename and str(exc.filename) not in channel.doing else ""
        channel.fail(f"{channel.doing}: {detail}{where}", code)
    except BaseException as exc:
        channel.fail(f"{channel.doing}: {type(exc).__name__}: {exc}", code)
    finally:
        os._exit(code)


def join_namespaces(namespaces: list[tuple[str, int]], channel: Channel) -> None:
    """Join (path, CLONE_NEW...) one after the other."""
    for path, kind in namespaces:
        channel.progress(f"joining the namespace {path}")
        fd = os.open(path, os.O_RDONLY)
        syscalls.setns(fd, kind)
        os.close(fd)


def join_groups(entrances: list[str]) -> None:
    """Enter control groups, each by its file."""
    for path in entrances:
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, b"0")
        os.close(fd)


def container(job: ContainerJob, channel: Channel) -> None:
    """The first process of a container."""
    os.umask(0)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # the interpreter's memory and /proc/self/exe are not the container's
    channel.close_others({fd for fd in job.stdio.fds if fd >= 0})
    if job.process.oom_score_adj is not None:
        processes.set_oom_score(job.process.oom_score_adj, channel.warn)
    channel.progress("joining the control groups")
    join_groups(job.entrances)
    join_namespaces(job.namespaces, channel)
    if job.own_cgroup_namespace:
        channel.progress("making the cgroup namespace")
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    processes.stop_importing()
    rootfs.assemble(job.root, job.writable, job.lower, channel.progress)
    _finish(job.process, job.stdio, channel, first=True)


def added(job: ExecJob, channel: Channel) -> None:
    """A process in a container that runs already."""
    os.umask(0)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    channel.close_others({fd for fd in (*job.stdio.fds, job.target) if fd >= 0})
    if job.process.oom_score_adj is not None:
        processes.set_oom_score(job.process.oom_score_adj, lambda _text: None)
    channel.progress("joining the control groups")
    join_groups(job.entrances)
    channel.progress("joining the container's namespaces")
    processes.stop_importing()
    syscalls.setns(job.target, job.kinds)
    _finish(job.process, job.stdio, channel, first=False)


def _finish(process: Process, stdio: Stdio, channel: Channel, *, first: bool) -> None:
    channel.progress("starting a session")
    os.setsid()
    if stdio.tty:
        channel.progress("making the console")
        console(process.uid, stdio, channel, console_node=first)
    else:
        _redirect(stdio.fds, process.uid)
    channel.close_others(set())
    channel.progress("setting resource limits")
    processes.set_rlimits(process.rlimits, channel.warn)
    process.env.setdefault("PATH", processes.DEFAULT_PATH)
    if not process.env.get("HOME"):
        process.env["HOME"] = processes.home_of(process.uid)
    channel.progress("entering the working directory")
    processes.change_directory(process.cwd or "/", create=first)
    channel.progress("taking on the process's identity")
    processes.become(process)
    channel.progress("executing the program")
    channel.announce()
    processes.execute(process)


def _redirect(fds: tuple[int, int, int], uid: int) -> None:
    """Put the streams in place. They belong to the container's user, so that /dev/stdout can be opened again."""
    null = os.open("/dev/null", os.O_RDWR) if -1 in fds else -1
    for target, fd in enumerate(fds):
        if fd >= 0 and uid:
            with contextlib.suppress(OSError):
                os.fchown(fd, uid, -1)
        os.dup2(fd if fd >= 0 else null, target, inheritable=True)


def console(uid: int, stdio: Stdio, channel: Channel, *, console_node: bool) -> None:
    """Open a terminal pair in the container's own devpts, hand the master to the keeper, be its session's leader."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    if stdio.width and stdio.height:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", stdio.height, stdio.width, 0, 0))
    os.fchown(slave, uid, -1)
    if console_node:
        with contextlib.suppress(FileExistsError):
            os.close(os.open("/dev/console", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o620))
        syscalls.mount(os.ttyname(slave), "/dev/console", "", syscalls.MS_BIND)
    channel.send_console(master)
    os.close(master)
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    for target in range(3):
        os.dup2(slave, target, inheritable=True)
    if slave > 2:
        os.close(slave)
