"""`create`: from a bundle to a first process that waits for `start`, or to nothing at all with a reason.

Everything is made in the order in which it can be undone: the state directory, the control groups, the process. Kernel
objects are those of the container's own process, so that nothing has to outlive this command.
"""

from __future__ import annotations

import contextlib
import os
import time
from contextlib import nullcontext

from services.nodeagent.keeper import launch, pidfds
from services.nodeagent.oci import config as configs
from services.nodeagent.oci import groups as control_groups
from services.nodeagent.oci import hooks, init, root, streams
from services.nodeagent.oci.config import NAMESPACES, Config
from services.nodeagent.oci.diary import Diary
from services.nodeagent.oci.store import Record, Store
from shared import quickjson
from shared.errors import RuntimeFailure
from shared.kernel import signals, sockets, syscalls
from shared.kernel.sockets import Socket
from shared.records import field, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@mutable
class Wishes:
    """The options of `create` and `run`. `console` is where the terminal's master goes: a socket's path, or "" to
    keep it as `Created.console`."""

    bundle: str = "."
    pid_file: str = ""
    console_socket: str = ""
    systemd_cgroup: bool = False
    keep_keyring: bool = False
    preserved: int = 0


@mutable
class Conversation:
    """What the newborn process has said."""

    console: int = -1
    ready: bool = False
    pid: int = 0
    mounted: list[str] = field(default_factory=list)
    error: str = ""


def create(store: Store, container_id: str, wishes: Wishes, diary: Diary) -> tuple[Record, int]:
    """Create a container; return its record and the terminal's master, -1 without one. Leaves nothing if it fails."""
    config = configs.load(wishes.bundle)
    if config.terminal and not wishes.console_socket:
        raise RuntimeFailure("process.terminal is set, but there is no --console-socket to send the terminal to")
    return _create(store, container_id, config, wishes, diary)


def create_attached(store: Store, container_id: str, wishes: Wishes, diary: Diary) -> tuple[Record, int]:
    """As `create`, for a caller that handles the terminal itself."""
    return _create(store, container_id, configs.load(wishes.bundle), wishes, diary)


def _create(store: Store, container_id: str, config: Config, wishes: Wishes, diary: Diary) -> tuple[Record, int]:
    path = control_groups.path_of(container_id, config.linux.get("cgroupsPath") or "", systemd=wishes.systemd_cgroup)
    store.reserve(container_id)
    record = Record(
        container_id,
        config.bundle,
        config.root,
        config.raw,
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z",
        cgroup=path,
        mount_namespace=config.namespaces.get("mount", ""),
        streams={} if config.terminal else streams.of_process(),
    )
    begun = False
    try:
        store.save(record)
        groups = control_groups.ContainerGroups(path)
        try:
            groups.create()
        finally:
            record.made_groups = groups.made
        begun = True
        for warning in groups.apply(config.resources) + groups.restrict_devices(config.resources):
            diary.warn(warning)
        console = _launch(store, record, config, groups, wishes, diary)
        store.save(record)
        if wishes.pid_file:
            write_pid_file(wishes.pid_file, record.pid)
    except BaseException:
        _undo(store, record, config, diary, begun=begun)
        raise
    return record, console


def write_pid_file(path: str, pid: int) -> None:
    """Written whole or not at all: somebody may be waiting for it."""
    temporary = f"{os.path.dirname(path) or '.'}/.{os.path.basename(path)}"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(temporary, path)


def _undo(store: Store, record: Record, config: Config, diary: Diary, *, begun: bool) -> None:
    if record.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signals.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(record.pid, 0)
    with contextlib.suppress(OSError):
        record.groups().remove()
    unmount(record)
    state = store.state(record, "stopped")
    store.remove(record.id)
    if begun and record.pid:
        for problem in hooks.run_regardless(config.hooks("poststop"), state, "poststop"):
            diary.warn(problem)


def unmount(record: Record) -> None:
    """Take away the mounts of a container whose mount namespace is not its own."""
    if not record.mounts:
        return
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            if record.mount_namespace:
                fd = os.open(record.mount_namespace, os.O_RDONLY)
                syscalls.setns(fd, syscalls.CLONE_NEWNS)
            for path in reversed(record.mounts):
                with contextlib.suppress(OSError):
                    syscalls.umount(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        os._exit(0)
    os.waitpid(pid, 0)


def _launch(
    store: Store,
    record: Record,
    config: Config,
    groups: control_groups.ContainerGroups,
    wishes: Wishes,
    diary: Diary,
) -> int:
    process = None
    if config.process is not None:
        process, warnings = configs.process_of(config.process, config.linux.get("seccomp"))
        for warning in warnings:
            diary.warn(warning)
    if config.raw.get("hooks"):
        hooks.load()
    listener = sockets.Socket()
    with listener:
        bind_in(listener, store.path(record.id), "start.sock")
        listener.listen(1)
        prepared = root.prepare(config, groups)
        try:
            job = init.Job(
                config=config,
                process=process,
                prepared=prepared,
                entrances=groups.entrances(),
                joins=init.joins_of(config),
                listener=listener,
                state=store.state(record, "creating"),
                keep_keyring=wishes.keep_keyring,
                preserved=wishes.preserved,
            )
            channel = _spawn(job, config, groups, record)
        finally:
            prepared.close()
    with channel:
        return _converse(channel, store, record, config, wishes, diary)


def bind_in(listener: Socket, directory: str, name: str) -> None:
    """Bind below a directory whose path may be longer than a socket address can be (unix(7))."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def _spawn(job: init.Job, config: Config, groups: control_groups.ContainerGroups, record: Record) -> Socket:
    """Give birth in the namespaces that only birth can be given in; return this end of the channel."""
    flags = 0
    for kind, path in config.namespaces.items():
        if not path and kind not in ("cgroup", "time"):
            flags |= NAMESPACES[kind][0]
    parent, child = sockets.pair()
    birth = groups.birth_fd()
    try:
        if config.namespaces.get("user"):
            record.pid = _spawn_below(job, flags, birth, parent, child, config)
            return parent
        pid_path = config.namespaces.get("pid")
        where = syscalls.namespace(pid_path, syscalls.CLONE_NEWPID) if pid_path else nullcontext()
        with where:
            record.pid, pidfd = syscalls.clone(flags, cgroup_fd=birth)
            if record.pid == 0:
                launch.run(lambda channel: init.run(job, channel), child)
        os.close(pidfd)
        if config.new("user"):
            root.write_maps(record.pid, config.linux["uidMappings"], config.linux["gidMappings"])
            parent.send(b"mapped")
    except BaseException:
        parent.close()
        raise
    finally:
        child.close()
        if birth >= 0:
            os.close(birth)
    return parent


def _spawn_below(job: init.Job, flags: int, birth: int, parent: Socket, child: Socket, config: Config) -> int:
    """Give birth in a user namespace that exists: new namespaces belong to it only if they are made from inside, so
    that a process goes in, gives birth there, says to whom and ends; this one becomes the parent then."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    # not by the channel: who is born may say something there first
    heard, told = os.pipe()

    def stage(channel: launch.Channel) -> None:
        kinds = (("pid", syscalls.CLONE_NEWPID), ("user", syscalls.CLONE_NEWUSER))
        channel.progress("joining the user namespace")
        opened = [(os.open(path, os.O_RDONLY), kind) for name, kind in kinds if (path := config.namespaces.get(name))]
        for fd, kind in opened:
            syscalls.setns(fd, kind)
            os.close(fd)
        pid, _pidfd = syscalls.clone(flags, cgroup_fd=birth)
        if pid == 0:
            launch.run(lambda inner: init.run(job, inner), child)
        os.write(told, str(pid).encode())
        os._exit(0)

    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        launch.run(stage, child)
    os.close(pidfd)
    os.waitpid(pid, 0)
    os.set_blocking(heard, False)
    try:
        return int(os.read(heard, 32))
    except BlockingIOError:
        pass  # it has said nothing there, so it failed
    finally:
        os.close(heard)
        os.close(told)
    try:
        # nobody is left who could still say something: waiting would be for ever
        why = quickjson.loads(parent.recv(8192, sockets.MSG_DONTWAIT))["error"]
    except BlockingIOError:
        why = "the process that joined the user namespace was killed"
    raise RuntimeFailure(why)


def failure_of(channel: sockets.Base) -> str:
    """Hear a newborn process until its program runs, or until it has failed: why, or ""."""
    problem, executing = "", False
    while data := channel.recv(8192):
        message: dict[str, Any] = quickjson.loads(data)
        problem = message.get("error", problem)
        executing = executing or "executing" in message
    return problem or ("" if executing else "the process was killed before its program ran")


def _converse(channel: Socket, store: Store, record: Record, config: Config, wishes: Wishes, diary: Diary) -> int:
    """Hear the newborn process until it waits for `start`. RuntimeFailure with its reason if it does not get there."""
    record.started = pidfds.start_time(record.pid)
    heard = Conversation()
    try:
        while not heard.ready:
            data, fd = sockets.receive(channel, 8192)
            if not data:
                raise RuntimeFailure(heard.error or "the container's process was killed while it was made")
            message: dict[str, Any] = quickjson.loads(data)
            if "warning" in message:
                diary.warn(message["warning"])
            elif "mounted" in message:
                record.mounts = message["mounted"]
            elif "console" in message and fd >= 0:
                heard.console = fd
            elif "error" in message:
                raise RuntimeFailure(message["error"])
            elif "hooks" in message:
                hooks.run_all(config.hooks("prestart"), store.state(record, "created"), "prestart")
                hooks.run_all(config.hooks("createRuntime"), store.state(record, "creating"), "createRuntime")
                channel.send(b"go on")
            elif "ready" in message:
                heard.ready = True
        if heard.console >= 0 and wishes.console_socket:
            from services.nodeagent.oci.consoles import send_console

            send_console(heard.console, wishes.console_socket)
            os.close(heard.console)
            heard.console = -1
        channel.send(b"go on")
    except BaseException:
        if heard.console >= 0:
            os.close(heard.console)
        raise
    return heard.console
