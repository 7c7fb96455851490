"""Containers of another OCI runtime: a child of the keeper drives it and hands the container's process over.

The child has a mount namespace of its own, in which it puts the root and the volumes together; with it they vanish, so
a killed keeper leaves no mounts. `create`, our own control groups, `start`; then the process, whose parents have ended,
is the keeper's (prctl(2), PR_SET_CHILD_SUBREAPER), which from then on treats it like one of its own. Commands that only
end or signal something are run beside the loop. Source: OCI runtime-spec 1.0, runtime.md; runc(8).
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, NoReturn

from services.nodeagent.keeper import pidfds, rootfs
from services.nodeagent.keeper import process as processes
from services.nodeagent.keeper.launch import Channel, Stdio
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.plan import Bind
from services.nodeagent.keeper.process import StartFailure
from shared.kernel import mounts, syscalls
from shared.kernel.cgroups.groups import Groups
from shared.kernel.mounts import mount_points
from shared.records import mutable

_NOT_FOUND = ("executable file not found", "no such file or directory")
_DENIED = ("permission denied", "exec format error")
_ERRORS_SHOWN = 2000
_NOT_EXECUTED = 242  # a code that no runtime gives


@mutable
class Job:
    """One container to create; `directory` holds config.json, and `runtime` is the command with its global options."""

    runtime: list[str]
    id: str
    directory: str
    stdio: Stdio
    sources: list[Bind]
    lower: list[str]
    writable: str
    groups: Groups
    cgroup: str


@mutable
class Addition:
    """One process to add to container `id`: `process` is a file as `exec --process` takes it."""

    runtime: list[str]
    id: str
    directory: str
    process: str
    stdio: Stdio
    groups: Groups
    cgroup: str


def root_path(writable: str) -> str:
    """Where the container's root is mounted."""
    return f"{writable}/root"


def source_directory(writable: str) -> str:
    """Below which the parts of the host are mounted by their number."""
    return f"{writable}/mounts"


def create(job: Job, channel: Channel) -> None:
    """In a child with a mount namespace of its own: make the container and start it. Does not return if it can."""
    _begin(job, channel)
    trees = []
    for step in job.sources:
        channel.progress(f"opening {step.source} for {step.target}")
        trees.append(rootfs.open_source(step))
    channel.progress("putting the root together")
    _mount_root(job)
    _mount_sources(job.writable, trees)
    pid = _run_for_pid(job, ["create", "--bundle", job.directory], channel)
    _call(job, ["start", job.id], channel)
    _hand_over(pid, channel)


def add(job: Addition, channel: Channel) -> None:
    """In a child: add a process to a container."""
    _begin(job, channel)
    try:
        pid = _run_for_pid(job, ["exec", "--detach", "--process", job.process], channel)
    finally:
        os.unlink(job.process)
    _hand_over(pid, channel)


def _begin(job: Job | Addition, channel: Channel) -> None:
    os.umask(0o022)
    channel.close_others({fd for fd in job.stdio.fds if fd >= 0})
    syscalls.mount("", "/", "", syscalls.MS_SLAVE | syscalls.MS_REC)


def _mount_root(job: Job) -> None:
    upper, work = rootfs.prepare_writable(job.writable, job.lower)
    target = root_path(job.writable)
    os.makedirs(target, exist_ok=True)
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (*job.lower, upper, work)]
    names = [f"/proc/self/fd/{fd}" for fd in fds]
    syscalls.mount("overlay", target, "overlay", 0, rootfs.overlay_options(names[:-2], names[-2], names[-1]))
    for fd in fds:
        os.close(fd)


def _mount_sources(writable: str, trees: list[int]) -> None:
    directory = source_directory(writable)
    os.makedirs(directory, exist_ok=True)
    syscalls.mount("sources", directory, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=700")
    for number, tree in enumerate(trees):
        path = f"{directory}/{number}"
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        target = os.open(path, os.O_PATH)
        syscalls.move_mount(tree, target)
        os.close(target)
        os.close(tree)


def _run_for_pid(job: Job | Addition, words: list[str], channel: Channel) -> int:
    """Run a command that leaves a process behind; return its pid, which is then in our own groups too."""
    pid_file = f"{job.directory}/pid.{os.getpid()}"
    options = ["--pid-file", pid_file]
    listener = None
    directory = -1
    if job.stdio.tty:
        # by way of a descriptor, because the path of a socket may have 107 bytes and a container's directory has more
        directory = os.open(job.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        console = f"/proc/{os.getpid()}/fd/{directory}/console.{os.getpid()}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(console)
        listener.listen(1)
        options += ["--console-socket", console]
    try:
        _call(job, [*words, *options, job.id], channel, job.stdio.fds)
        if listener is not None:
            master = _receive_console(listener)
            channel.send_console(master)
            os.close(master)
        with open(pid_file, encoding="ascii") as file:
            pid = int(file.read())
        channel.progress("joining the control groups")
        job.groups.adopt(job.cgroup, pid)
        return pid
    finally:
        for name in (pid_file, f"{job.directory}/console.{os.getpid()}"):
            if os.path.exists(name):
                os.unlink(name)
        if directory >= 0:
            os.close(directory)


def _receive_console(listener: socket.socket) -> int:
    listener.settimeout(10)
    connection, _address = listener.accept()
    with connection:
        _data, fds, _flags, _peer = socket.recv_fds(connection, 4096, 1)
    if not fds:
        raise StartFailure("the runtime sent no terminal over the console socket", 128)
    return fds[0]


def _call(job: Job | Addition, words: list[str], channel: Channel, fds: tuple[int, int, int] = (-1, -1, -1)) -> None:
    """Run one command to its end. StartFailure with what the runtime wrote to its log."""
    channel.progress(f"running {os.path.basename(job.runtime[0])} {words[0]}")
    log = f"{job.directory}/log.{os.getpid()}"
    argv = command(job.runtime, words, log)
    pid = os.fork()
    if pid == 0:
        execute(argv, fds, channel.fail)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    text = _last_error(log)
    if code == _NOT_EXECUTED:
        raise StartFailure("", 128)  # the reason has been told already
    if code != 0:
        message = text or f"{os.path.basename(argv[0])} {words[0]} ended with code {code}"
        raise StartFailure(message, _exit_code(message))


def _exit_code(message: str) -> int:
    """What a shell would give for the runtime's complaint about the program."""
    if any(words in message.lower() for words in _NOT_FOUND):
        return 127
    return 126 if any(words in message.lower() for words in _DENIED) else 128


def _last_error(log: str) -> str:
    """The last error of a log in JSON lines; the log is removed."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        os.unlink(log)
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        try:
            record: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("level", "error") == "error":
            return str(record.get("msg", ""))[:_ERRORS_SHOWN]
    return ""


def _hand_over(pid: int, channel: Channel) -> None:
    pidfd = os.pidfd_open(pid)
    channel.announce()
    channel.hand_over(pidfd)
    os._exit(0)


def command(runtime: list[str], words: list[str], log: str = "/dev/null") -> list[str]:
    """A whole command line: the global options come before the command."""
    return [*runtime, "--log", log, "--log-format", "json", *words]


def execute(argv: list[str], fds: tuple[int, int, int], complain: Callable[[str, int], None]) -> NoReturn:
    """In a child: become a command of the runtime.

    Runtimes know either generation of control groups, and some refuse a host that has both (crun: "hybrid mode not
    supported"); so the second is hidden from them beside the first, and our own groups of it are joined by us.
    """
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_SLAVE | syscalls.MS_REC)
        points = mount_points()
        if any(point.kind == "cgroup" for point in points):
            for point in points:
                if point.kind == "cgroup2":
                    mounts.unmount(point.target)
        null = os.open("/dev/null", os.O_RDWR)
        for number, fd in enumerate(fds):
            os.dup2(fd if fd >= 0 else null, number, inheritable=True)
        processes.reset()
        os.execve(argv[0], argv, {"PATH": os.environ.get("PATH", processes.DEFAULT_PATH)})
    except OSError as exc:
        complain(f"runtime {argv[0]}: {(exc.strerror or '').lower()}", 128)
    finally:
        os._exit(_NOT_EXECUTED)


def run_beside(loop: Loop, argv: list[str], done: Callable[[int], None]) -> None:
    """Run a command without waiting for it; `done` gets its exit code."""
    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        execute(argv, (-1, -1, -1), lambda _text, _code: None)
    pidfds.expected.add(pid)

    def ended(_events: int) -> None:
        loop.forget(pidfd)
        outcome = pidfds.wait(pidfd)
        os.close(pidfd)
        done(outcome[0] if outcome is not None else _NOT_EXECUTED)

    loop.watch(pidfd, ended)
