"""Exec and attach: processes and views that belong to one connection and end with it.

Descriptors go straight to the agent, so a session's bytes do not pass through the keeper; only the copies of a
container's own output do, because the log needs them too.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from services.nodeagent.keeper import births, bundles, foreign, launch, pidfds
from services.nodeagent.keeper.births import Birth
from services.nodeagent.keeper.container import Container, process_of
from services.nodeagent.keeper.containers import Containers
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.process import Process
from services.nodeagent.keeper.sandboxes import Sandbox, Sandboxes
from services.nodeagent.keeper.streams import Output, Viewer
from services.nodeagent.runtime.model import SandboxSpec
from shared.kernel import syscalls
from shared.kernel.cgroups.groups import Groups
from shared.records import field, mutable

_KINDS = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)


def _kinds(spec: SandboxSpec) -> int:
    kinds = _KINDS
    if spec.user_range:
        kinds |= syscalls.CLONE_NEWUSER
    if spec.time_offsets:
        kinds |= syscalls.CLONE_NEWTIME
    return kinds


@mutable
class Exec:
    """A process that an exec made. `owner` is the connection that asked for it."""

    number: int
    owner: object
    birth: Birth
    pidfd: int
    ready: bool = False


@mutable
class Attachment:
    """A view on a container. `views` are the pipes being fed."""

    number: int
    owner: object
    container: Container
    views: list[tuple[Output, Viewer]] = field(default_factory=list)


@mutable
class Opened:
    """What the agent gets: a session's number, its streams' names and their descriptors, which the sender closes."""

    number: int
    pid: int
    streams: list[str]
    fds: list[int]


class Sessions:
    """`on_exec_end(owner, number, exit_code, signal)` is called when an exec's process has ended."""

    def __init__(self, loop: Loop, groups: Groups, sandboxes: Sandboxes, containers: Containers) -> None:
        self._loop = loop
        self._groups = groups
        self._sandboxes = sandboxes
        self._containers = containers
        self._numbers = itertools.count(1)
        self._execs: dict[int, Exec] = {}
        self._attachments: dict[int, Attachment] = {}
        self.on_exec_end: Callable[[object, int, int, int], None] = lambda *_args: None

    def exec(
        self,
        owner: object,
        container: Container,
        sandbox: Sandbox,
        args: dict[str, Any],
        done: Callable[[Opened | None, Birth], None],
    ) -> None:
        """Start `args["argv"]` beside a running container's process; `done` gets None if it could not be executed."""
        spec = container.spec
        process = process_of(spec, sandbox.spec.hostname or os.uname().nodename)
        process.env |= args.get("env", {})
        process.argv = list(args["argv"])
        if not process.argv:
            raise ValueError("exec argv is empty")
        process.cwd = args.get("cwd") or spec.cwd
        for name in ("uid", "gid", "groups"):
            if args.get(name) is not None:
                setattr(process, name, args[name])
        tty = bool(args.get("tty"))
        if tty:
            process.env.setdefault("TERM", "xterm")
        theirs, ours, names = _pipes(with_stdin=bool(args.get("stdin")), tty=tty)
        stdio = launch.Stdio((theirs[0], theirs[1], theirs[2]), tty, args.get("width", 0), args.get("height", 0))
        number = next(self._numbers)
        try:
            if spec.runtime:
                birth = self._ask_runtime(container, process, stdio, number)
            else:
                birth = self._bear(container, sandbox, process, stdio)
        except BaseException:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                if fd >= 0:
                    os.close(fd)
        session = Exec(number, owner, birth, birth.pidfd)
        self._execs[session.number] = session
        with_stdin = bool(args.get("stdin"))

        def settled() -> None:
            fds, streams = ours, names
            if birth.console >= 0:
                fds, streams = _console_fds(birth.console, with_stdin=with_stdin)
            if birth.failed:
                for fd in fds:
                    os.close(fd)
                done(None, birth)
                return
            session.ready = True
            done(Opened(session.number, birth.pid, streams, fds), birth)

        birth.on_settled = settled
        birth.on_handover = lambda: self._follow(session)
        self._loop.watch(session.pidfd, lambda _events: self._on_exec_end(session))

    def _bear(self, container: Container, sandbox: Sandbox, process: Process, stdio: launch.Stdio) -> Birth:
        job = launch.ExecJob(
            process=process,
            stdio=stdio,
            target=container.pidfd,
            kinds=_kinds(sandbox.spec),
            user=self._sandboxes.user_namespace(sandbox),
            entrances=self._groups.entrances(container.cgroup),
        )
        return births.spawn(
            self._loop,
            lambda channel: launch.added(job, channel),
            0,
            cgroup_fd=self._groups.birth_fd(container.cgroup),
            pid_namespace=container.pidfd,
        )

    def _ask_runtime(self, container: Container, process: Process, stdio: launch.Stdio, number: int) -> Birth:
        spec = container.spec
        process.oom_score_adj = None  # that of the container stays
        directory = self._containers.directory(container)
        path = f"{directory}/exec-{number}.json"
        document = bundles.process_document(process, terminal=stdio.tty)
        if stdio.width and stdio.height:
            document["consoleSize"] = {"width": stdio.width, "height": stdio.height}
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(document, file, ensure_ascii=False)
        job = foreign.Addition(spec.runtime, spec.id, directory, path, stdio, self._groups, container.cgroup)
        return births.spawn(self._loop, lambda channel: foreign.add(job, channel), syscalls.CLONE_NEWNS)

    def _follow(self, session: Exec) -> None:
        """Another runtime's process has taken the place of the command that made it."""
        self._loop.forget(session.pidfd)
        os.close(session.pidfd)
        session.pidfd = session.birth.pidfd
        self._loop.watch(session.pidfd, lambda _events: self._on_exec_end(session))

    def _on_exec_end(self, session: Exec) -> None:
        pidfd = session.pidfd
        session.birth.settle()
        if session.pidfd != pidfd:
            return
        outcome = pidfds.wait(session.pidfd) or (255, 0)
        self._loop.forget(session.pidfd)
        os.close(session.pidfd)
        del self._execs[session.number]
        if session.ready:
            self.on_exec_end(session.owner, session.number, *outcome)

    def signal_exec(self, number: int, signum: int) -> None:
        """Signal an exec's process; one that has ended is left in peace."""
        session = self._execs.get(number)
        if session is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(session.pidfd, signum)

    def attach(self, owner: object, container: Container, *, stdin: bool) -> Opened:
        """Open a view on a running container."""
        attachment = Attachment(next(self._numbers), owner, container)
        opened = Opened(attachment.number, container.state.pid, [], [])
        if stdin and container.spec.stdin:
            fd = self._open_stdin(container)
            if fd >= 0:
                opened.streams.append("stdin")
                opened.fds.append(fd)
        for name, output in container.outputs.items():
            into, out = os.pipe2(os.O_CLOEXEC)
            attachment.views.append((output, output.add_viewer(out)))
            opened.streams.append(name)
            opened.fds.append(into)
        if container.console >= 0:
            opened.streams.append("console")
            opened.fds.append(os.dup(container.console))
        self._attachments[attachment.number] = attachment
        return opened

    def _open_stdin(self, container: Container) -> int:
        if container.console >= 0:
            return os.dup(container.console)
        if container.spec.stdin_once:
            return os.dup(container.stdin) if container.stdin >= 0 else -1
        with contextlib.suppress(OSError):
            return os.open(self._containers.stdin_path(container), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return -1

    def close_stdin(self, number: int) -> None:
        """The viewer has no more input."""
        attachment = self._attachments.get(number)
        if attachment is not None:
            self._containers.close_stdin(attachment.container)

    def detach(self, number: int) -> None:
        """End a view; the container goes on, but one whose input came from a single attach gets its end of file."""
        attachment = self._attachments.pop(number, None)
        if attachment is None:
            return
        for output, viewer in attachment.views:
            output.drop_viewer(viewer)
        self._containers.close_stdin(attachment.container)

    def forget_container(self, container: Container) -> None:
        """Its views have ended with it."""
        for number in [key for key, value in self._attachments.items() if value.container is container]:
            del self._attachments[number]

    def end_all(self) -> None:
        """Kill every process that was run for the agent, and wait for it: nobody would, after this program."""
        for session in list(self._execs.values()):
            self.signal_exec(session.number, signal.SIGKILL)
            pidfds.wait(session.pidfd)

    def drop_owner(self, owner: object) -> None:
        """The connection has gone: end what belongs to it."""
        for session in list(self._execs.values()):
            if session.owner is owner:
                self.signal_exec(session.number, signal.SIGKILL)
        for attachment in list(self._attachments.values()):
            if attachment.owner is owner:
                self.detach(attachment.number)


def _pipes(*, with_stdin: bool, tty: bool) -> tuple[list[int], list[int], list[str]]:
    """(the process's ends of 0-2, the agent's ends, the names of the latter)."""
    if tty:
        return [-1, -1, -1], [], []
    theirs, ours, names = [-1], [], []
    if with_stdin:
        theirs[0], ours_in = os.pipe2(os.O_CLOEXEC)
        ours.append(ours_in)
        names.append("stdin")
    for name in ("stdout", "stderr"):
        into, out = os.pipe2(os.O_CLOEXEC)
        theirs.append(out)
        ours.append(into)
        names.append(name)
    return theirs, ours, names


def _console_fds(console: int, *, with_stdin: bool) -> tuple[list[int], list[str]]:
    fds, names = [console, os.dup(console)], ["stdout", "console"]
    if with_stdin:
        fds.append(os.dup(console))
        names.append("stdin")
    return fds, names
