"""What happens in a newborn process between clone3 and execve, for a container's first process and for exec sessions.

The keeper learns of it over a SOCK_SEQPACKET channel: warnings, a console's descriptor, that execve is about to be
called, an error. A successful execve closes the channel: its end after that announcement means that the program runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable

from services.nodeagent.keeper import mapped, rootfs
from services.nodeagent.keeper import process as processes
from services.nodeagent.keeper.plan import RootPlan
from services.nodeagent.keeper.process import Process, StartFailure
from shared import quickjson
from shared.kernel import sockets, syscalls
from shared.records import field, frozen, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414


@mutable
class Stdio:
    """Descriptors for 0, 1, 2 (-1: /dev/null of the container), or a console made inside the container."""

    fds: tuple[int, int, int] = (-1, -1, -1)
    tty: bool = False
    width: int = 0
    height: int = 0


@frozen
class UserNamespace:
    """A pod's own user namespace: the file that keeps it, and the node's id of its root."""

    path: str
    root_id: int


@mutable
class ContainerJob:
    """All that the first process of a container needs; `namespaces` are (path, CLONE_NEW...) to join."""

    process: Process
    stdio: Stdio
    root: RootPlan
    lower: list[str]
    writable: str
    entrances: list[str]
    namespaces: list[tuple[str, int]]
    user: UserNamespace | None = None
    own_process_namespace: bool = True


@mutable
class ExecJob:
    """All that a process added to a container needs; `target` is a pidfd of the container's first process."""

    process: Process
    stdio: Stdio
    target: int
    kinds: int
    entrances: list[str] = field(default_factory=list)
    user: UserNamespace | None = None


def warning(text: str) -> bytes:
    """How the channel tells of what could not be done as asked for."""
    return quickjson.dumps({"warning": text}).encode()


class Channel:
    """The child's end of the channel, which also remembers what was being done when an error strikes."""

    def __init__(self, end: sockets.Base) -> None:
        self._end = end
        self.doing = ""

    def progress(self, doing: str) -> None:
        self.doing = doing

    def warn(self, text: str) -> None:
        self._end.send(warning(text))

    def fail(self, message: str, exit_code: int) -> None:
        self.tell({"error": message[:4000], "exit_code": exit_code})

    def announce(self) -> None:
        self.tell({"executing": True})

    def send_console(self, master: int) -> None:
        sockets.send_fd(self._end, b'{"console":true}', master)

    def hand_over(self, pidfd: int) -> None:
        sockets.send_fd(self._end, b'{"handover":true}', pidfd)

    def tell(self, message: dict[str, Any]) -> None:
        self._end.send(quickjson.dumps(message).encode())

    def ask(self, what: str) -> None:
        """Tell the other side how far this one is, and wait until it says to go on."""
        self.tell({what: True})
        self.wait()

    def wait(self) -> None:
        """Wait for the word to go on. StartFailure if the other side has gone instead."""
        if not self._end.recv(64):
            raise StartFailure(f"{self.doing}: the process that asked for it has gone", 128)

    def fileno(self) -> int:
        return self._end.fileno()

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


def run(body: Callable[[Channel], None], end: sockets.Base) -> NoReturn:
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
    _own_streams(job.stdio.fds, job.process.uid, job.user)
    join_namespaces(job.namespaces, channel)
    processes.stop_importing()
    if job.user is None:
        _leave_cgroup_namespace(channel)
        root = rootfs.gather(job.root, job.writable, job.lower, channel.progress)
    else:
        namespace = os.open(job.user.path, os.O_RDONLY)
        root = mapped.gather(job.root, job.writable, job.lower, namespace, job.user.root_id, channel.progress)
        own = syscalls.CLONE_NEWPID if job.own_process_namespace else 0
        be_reborn(namespace, syscalls.CLONE_NEWNS | own, channel)
        _leave_cgroup_namespace(channel)
        mapped.attach_root(root)
    rootfs.furnish(job.root, root, channel.progress)
    _finish(job.process, job.stdio, channel, first=True)


def _leave_cgroup_namespace(channel: Channel) -> None:
    channel.progress("making the cgroup namespace")
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)


def be_reborn(user_namespace: int, flags: int, channel: Channel) -> None:
    """Go on as root of a user namespace, in a new process whose new namespaces (`flags`) belong to it.

    Namespaces are owned by the user namespace that their maker is in, so the process that joined it has to make
    another one, which it hands over to the keeper as the keeper's own child, and ends.
    """
    channel.progress("joining the user namespace")
    syscalls.setns(user_namespace, syscalls.CLONE_NEWUSER)
    os.close(user_namespace)
    pid, pidfd = syscalls.clone(flags | syscalls.CLONE_PARENT)
    if pid:
        channel.hand_over(pidfd)
        os._exit(0)
    become_root(channel)


def become_root(channel: Channel) -> None:
    """Take on the ids of the root of the user namespace that this process is in."""
    channel.progress("becoming root of the user namespace")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def added(job: ExecJob, channel: Channel) -> None:
    """A process in a container that runs already."""
    os.umask(0)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    channel.close_others({fd for fd in (*job.stdio.fds, job.target) if fd >= 0})
    if job.process.oom_score_adj is not None:
        processes.set_oom_score(job.process.oom_score_adj, lambda _text: None)
    channel.progress("joining the control groups")
    join_groups(job.entrances)
    _own_streams(job.stdio.fds, job.process.uid, job.user)
    channel.progress("joining the container's namespaces")
    processes.stop_importing()
    syscalls.setns(job.target, job.kinds)
    if job.user is not None:
        become_root(channel)
    _finish(job.process, job.stdio, channel, first=False)


def _finish(process: Process, stdio: Stdio, channel: Channel, *, first: bool) -> None:
    channel.progress("starting a session")
    os.setsid()
    if stdio.tty:
        channel.progress("making the console")
        console(process.uid, stdio, channel, console_node=first)
    else:
        _redirect(stdio.fds)
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


def _own_streams(fds: tuple[int, int, int], uid: int, user: UserNamespace | None) -> None:
    """The streams belong to the container's user, so that /dev/stdout can be opened again."""
    owner = uid + user.root_id if user is not None else uid
    for fd in fds:
        if fd >= 0 and owner:
            with contextlib.suppress(OSError):
                os.fchown(fd, owner, -1)


def _redirect(fds: tuple[int, int, int]) -> None:
    null = os.open("/dev/null", os.O_RDWR) if -1 in fds else -1
    for target, fd in enumerate(fds):
        os.dup2(fd if fd >= 0 else null, target, inheritable=True)


def console(uid: int, stdio: Stdio, channel: Channel, *, console_node: bool) -> None:
    """Open a terminal pair in the container's own devpts, hand the master to the keeper, be its session's leader."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    if stdio.width and stdio.height:
        fcntl.ioctl(master, _TIOCSWINSZ, struct.pack("HHHH", stdio.height, stdio.width, 0, 0))
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
