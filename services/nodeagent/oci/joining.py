"""`exec`: one more process in a container that runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket

from services.nodeagent.keeper import launch, pidfds
from services.nodeagent.keeper import process as processes
from services.nodeagent.keeper.launch import Channel, Stdio
from services.nodeagent.keeper.process import Process
from services.nodeagent.oci import config as configs
from services.nodeagent.oci import init
from services.nodeagent.oci.config import NAMESPACES, Config
from services.nodeagent.oci.diary import Diary
from services.nodeagent.oci.store import Record, Store
from shared.errors import RuntimeFailure
from shared.kernel import syscalls
from shared.records import field, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@mutable
class Addition:
    """What the child needs. `chroot` is a descriptor of the container's root where no mount namespace leads to it."""

    document: dict[str, Any]
    process: Process
    target: int
    kinds: int
    entrances: list[str]
    chroot: int = -1
    preserved: int = 0
    user_namespace: bool = False


@mutable
class Request:
    """The options of `exec` that change the process; `document` is that of --process, else the container's is used."""

    document: dict[str, Any] | None = None
    args: list[str] = field(default_factory=list)
    cwd: str = ""
    env: list[str] = field(default_factory=list)
    user: str = ""
    groups: list[int] = field(default_factory=list)
    capabilities: list[str] = field(default_factory=list)
    terminal: bool = False
    no_new_privileges: bool = False
    preserved: int = 0
    ignore_paused: bool = False


def document_of(config: Config, request: Request) -> dict[str, Any]:
    """The `process` to run: the one given whole, or the container's own with the changes asked for."""
    if request.document is not None:
        configs.check_process(request.document)
        return request.document
    document = dict(config.process or {})
    document["args"] = request.args
    document["terminal"] = request.terminal
    document["cwd"] = request.cwd or document.get("cwd") or "/"
    document["env"] = [*(document.get("env") or ()), *request.env]
    if request.no_new_privileges:
        document["noNewPrivileges"] = True
    user = dict(document.get("user") or {})
    if request.user:
        uid, _, gid = request.user.partition(":")
        if not uid.isdecimal() or not (gid or "0").isdecimal():
            raise ValueError(f"user {request.user!r} is not a number, or two with a colon between them")
        user["uid"] = int(uid)
        user["gid"] = int(gid) if gid else user.get("gid", 0)
    user["additionalGids"] = [*(user.get("additionalGids") or ()), *request.groups]
    document["user"] = user
    if request.capabilities:
        sets = document.get("capabilities") or {}
        names = ("bounding", "effective", "permitted")
        document["capabilities"] = dict(sets) | {
            name: [*(sets.get(name) or ()), *request.capabilities] for name in names
        }
    configs.check_process(document)
    return document


def add(store: Store, container_id: str, request: Request, diary: Diary) -> tuple[int, int]:
    """Start a process; return its pid and its terminal's master, -1 without one. RuntimeFailure if it cannot be."""
    record = store.load(container_id)
    status = store.status(record)
    if status not in ("created", "running") and not (status == "paused" and request.ignore_paused):
        raise RuntimeFailure(f"container {container_id!r} cannot take another process: it is {status}")
    config = record.parsed()
    document = document_of(config, request)
    process, warnings = configs.process_of(document, config.linux.get("seccomp"))
    for warning in warnings:
        diary.warn(warning)
    target = pidfds.open_again(record.pid, record.started)
    if target < 0:
        raise RuntimeFailure(f"container {container_id!r} cannot take another process: it is stopped")
    try:
        return _launch(record, config, document, process, target, request.preserved, diary)
    finally:
        os.close(target)


def _kinds(config: Config, pid: int) -> int:
    """Namespaces other than this process's own, the PID namespace apart; to join one's own user namespace is an
    error (setns(2))."""
    kinds = 0
    for kind, (flag, name) in NAMESPACES.items():
        if kind == "pid" or kind not in config.namespaces:
            continue
        if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
            kinds |= flag
    return kinds


def _launch(
    record: Record,
    config: Config,
    document: dict[str, Any],
    process: Process,
    target: int,
    preserved: int,
    diary: Diary,
) -> tuple[int, int]:
    groups = record.groups()
    addition = Addition(
        document=document,
        process=process,
        target=target,
        kinds=_kinds(config, record.pid),
        entrances=groups.entrances(),
        preserved=preserved,
        user_namespace="user" in config.namespaces,
    )
    if not config.new("mount"):
        addition.chroot = os.open(f"/proc/{record.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    parent, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    birth = groups.birth_fd()
    try:
        with syscalls.namespace(target, syscalls.CLONE_NEWPID):
            pid, pidfd = syscalls.clone(0, cgroup_fd=birth)
            if pid == 0:
                launch.run(lambda channel: _added(addition, channel), child)
        os.close(pidfd)
    finally:
        child.close()
        for fd in (birth, addition.chroot):
            if fd >= 0:
                os.close(fd)
    with parent:
        return pid, _converse(parent, pid, diary)


def _converse(channel: socket.socket, pid: int, diary: Diary) -> int:
    console, executing, error = -1, False, ""
    while True:
        try:
            data, fds, _flags, _address = socket.recv_fds(channel, 8192, 1)
        except ConnectionResetError:
            data, fds = b"", []
        if not data:
            break
        message: dict[str, Any] = json.loads(data)
        executing = executing or "executing" in message
        error = message.get("error", error)
        if "warning" in message:
            diary.warn(message["warning"])
        elif "console" in message and fds:
            console = fds[0]
    if error or not executing:
        if console >= 0:
            os.close(console)
        os.waitpid(pid, 0)
        raise RuntimeFailure(error or "the process was killed before its program ran")
    return console


def _added(addition: Addition, channel: Channel) -> None:
    inherited_umask = os.umask(0)
    process = addition.process
    if process.umask is None:
        process.umask = inherited_umask
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    preserved = set(range(3, 3 + addition.preserved))
    channel.close_others(preserved | {fd for fd in (addition.target, addition.chroot) if fd >= 0})
    if process.oom_score_adj is not None:
        processes.set_oom_score(process.oom_score_adj, channel.warn)
    channel.progress("joining the control groups")
    launch.join_groups(addition.entrances)
    channel.progress("joining the container's namespaces")
    processes.stop_importing()
    if addition.kinds:
        syscalls.setns(addition.target, addition.kinds)
    if addition.user_namespace:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if addition.chroot >= 0:
        channel.progress("entering the container's root")
        os.fchdir(addition.chroot)
        os.chroot(".")
    with contextlib.suppress(OSError):
        syscalls.join_session_keyring("wherry")
    os.setsid()
    if addition.document.get("terminal"):
        channel.progress("making the console")
        size = addition.document.get("consoleSize") or {}
        stdio = Stdio(tty=True, width=size.get("width", 0), height=size.get("height", 0))
        launch.console(process.uid, stdio, channel, console_node=False)
    if "HOME" not in process.env:
        process.env["HOME"] = processes.home_of(process.uid)
    channel.progress("entering the working directory")
    processes.change_directory(process.cwd, create=False)
    init.finish(process, channel, preserved)
