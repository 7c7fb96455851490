"""The first process of a container between clone3 and the user's program, which waits half-way for `start`.

The first half makes the surroundings and reports to `create` (see keeper/launch.py for the channel); then the process
listens on a socket in the container's state directory. `start` connects, and is told over this connection in the same
words how the second half went: its end after "executing" means that the program runs.
"""

from __future__ import annotations

import contextlib
import os

from services.nodeagent.keeper import launch
from services.nodeagent.keeper import process as processes
from services.nodeagent.keeper.launch import Channel, Stdio
from services.nodeagent.keeper.process import Process, StartFailure
from services.nodeagent.oci import hooks, root
from services.nodeagent.oci.config import NAMESPACES, PERSONALITIES, Config
from shared.kernel import signals, sockets, syscalls
from shared.kernel.sockets import Socket
from shared.records import mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ENDING = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)


@mutable
class Job:
    """All that the first process needs. `joins` are (path, CLONE_NEW...) of namespaces that exist already, the user
    and PID namespaces apart, which it is born in."""

    config: Config
    process: Process | None
    prepared: root.Prepared
    entrances: list[str]
    joins: list[tuple[str, int]]
    listener: Socket
    state: dict[str, Any]
    own_session: bool = True
    keep_keyring: bool = False
    preserved: int = 0


def run(job: Job, channel: Channel) -> None:
    """The first half, and then the wait; the second half is entered from there."""
    inherited_umask = os.umask(0)
    if job.process is not None and job.process.umask is None:
        job.process.umask = inherited_umask
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # the interpreter's memory and /proc/self/exe are not the container's
    preserved = set(range(3, 3 + job.preserved))
    channel.close_others(job.prepared.descriptors() | preserved | {job.listener.fileno()})
    if job.process is not None and job.process.oom_score_adj is not None:
        processes.set_oom_score(job.process.oom_score_adj, channel.warn)
    processes.stop_importing()
    _isolate(job, channel)
    directory, made = root.assemble(job.prepared, channel.progress)
    if made:
        channel.tell({"mounted": made})
    for name, value in (job.config.linux.get("sysctl") or {}).items():
        channel.progress(f"setting the parameter {name}")
        write_parameter(name, value)
    if job.config.hooks("prestart") or job.config.hooks("createRuntime"):
        channel.progress("waiting for the hooks of the runtime")
        channel.ask("hooks")
    _run_hooks(job, "createContainer", "creating", channel)
    root.enter(job.prepared, directory, channel.progress)
    if not job.keep_keyring:
        with contextlib.suppress(OSError):  # a kernel without keys, or a filter of an outer container
            syscalls.join_session_keyring(job.state["id"])
    os.setsid()
    if job.process is not None:
        _ready(job, job.process, channel)
    channel.progress("waiting for start")
    channel.ask("ready")
    _wait(job, channel, preserved)


def _isolate(job: Job, channel: Channel) -> None:
    """Groups and namespaces, in the order in which each still permits the next."""
    config = job.config
    if config.new("user"):
        channel.progress("waiting for the user namespace's mappings")
        channel.wait()
    channel.progress("joining the control groups")
    launch.join_groups(job.entrances)
    launch.join_namespaces(job.joins, channel)
    if config.new("cgroup"):
        channel.progress("making the cgroup namespace")
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    if config.new("time"):
        channel.progress("making the time namespace")
        _make_time_namespace(config.linux.get("timeOffsets") or {})
    if "user" in config.namespaces:
        channel.progress("becoming root of the user namespace")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if config.raw.get("hostname"):
        channel.progress("setting the host name")
        sockets.sethostname(config.raw["hostname"])
    if config.raw.get("domainname"):
        channel.progress("setting the domain name")
        syscalls.set_domain_name(config.raw["domainname"])


def _make_time_namespace(offsets: dict[str, Any]) -> None:
    """Clocks can only be set before anything runs in it (time_namespaces(7))."""
    syscalls.unshare(syscalls.CLONE_NEWTIME)
    for clock, offset in offsets.items():
        fd = os.open("/proc/self/timens_offsets", os.O_WRONLY)
        os.write(fd, f"{clock} {offset.get('secs') or 0} {offset.get('nanosecs') or 0}\n".encode())
        os.close(fd)
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
    syscalls.setns(fd, syscalls.CLONE_NEWTIME)
    os.close(fd)


def write_parameter(name: str, value: str) -> None:
    """Set a kernel parameter of this process's namespaces (sysctl(8))."""
    path = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _run_hooks(job: Job, name: str, status: str, channel: Channel) -> None:
    """Hooks in the container's namespaces, which know the process by its pid there."""
    wanted = job.config.hooks(name)
    if wanted:
        channel.progress(f"running {name} hooks")
        hooks.run_all(wanted, job.state | {"status": status, "pid": os.getpid()}, name)


def _ready(job: Job, process: Process, channel: Channel) -> None:
    """All of the process that `create` can already say no to."""
    document = job.config.process or {}
    persona = job.config.linux.get("personality") or {}
    if persona:
        channel.progress("setting the execution domain")
        syscalls.personality(PERSONALITIES[persona["domain"]])
    if job.config.terminal:
        channel.progress("making the console")
        size = document.get("consoleSize") or {}
        stdio = Stdio(tty=True, width=size.get("width", 0), height=size.get("height", 0))
        launch.console(process.uid, stdio, channel, console_node=True)
    if "HOME" not in process.env:
        process.env["HOME"] = processes.home_of(process.uid)
    channel.progress("entering the working directory")
    processes.change_directory(process.cwd, create=True)
    processes.find_program(process)


def _wait(job: Job, channel: Channel, preserved: set[int]) -> None:
    """Wait for `start`. The first process of a PID namespace is not ended by a signal it has no handler for."""
    for number in _ENDING:
        signals.signal(number, lambda caught, _frame: os._exit(128 + caught))
    connection = job.listener.accept()
    job.listener.close()
    channel.close()
    launch.run(lambda start: _start(job, start, preserved), connection)


def _start(job: Job, channel: Channel, preserved: set[int]) -> None:
    channel.progress("starting")
    channel.wait()
    process = job.process
    if process is None:
        raise StartFailure("process is not set", 128)
    _run_hooks(job, "startContainer", "created", channel)
    finish(process, channel, preserved)


def finish(process: Process, channel: Channel, preserved: set[int]) -> None:
    """From the container's surroundings to the program."""
    channel.close_others(preserved)
    for fd in preserved:
        with contextlib.suppress(OSError):
            os.set_inheritable(fd, True)
    channel.progress("setting resource limits")
    processes.set_rlimits(process.rlimits, channel.warn)
    channel.progress("taking on the process's identity")
    processes.become(process)
    channel.progress("executing the program")
    channel.announce()
    processes.execute(process)


def joins_of(config: Config) -> list[tuple[str, int]]:
    """Namespaces to join by path; mount last, because the paths are the host's."""
    kinds = ("cgroup", "ipc", "network", "time", "uts", "mount")
    return [(path, NAMESPACES[kind][0]) for kind in kinds if (path := config.namespaces.get(kind))]
