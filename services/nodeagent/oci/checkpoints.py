"""`checkpoint` and `restore`: a container into a directory of criu's images and out of it, with runc's options.

The network namespace is never part of the images, since its devices are the caller's; IPC and UTS namespaces are if
they are the container's own. Its streams become those of the `restore` command: a pipe for a pipe, a file of the same
mode for a file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from services.nodeagent.checkpoint import criu, external, programs
from services.nodeagent.checkpoint.external import External
from services.nodeagent.keeper import launch, pidfds
from services.nodeagent.oci import config as configs
from services.nodeagent.oci import creation, hooks, init, lifecycle, root, streams
from services.nodeagent.oci import groups as control_groups
from services.nodeagent.oci.config import NAMESPACES, Config
from services.nodeagent.oci.creation import Wishes
from services.nodeagent.oci.diary import Diary
from services.nodeagent.oci.store import Record, Store
from shared.errors import RuntimeFailure
from shared.kernel import criu as machine
from shared.kernel import netns, syscalls
from shared.kernel.mounts import parse_mountinfo
from shared.records import field, frozen, mutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_JOINED = ("ipc", "network", "time", "uts")


@mutable
class Options:
    """Where the images are, and criu's own options that were asked for, without their dashes."""

    images: str = "checkpoint"
    work: str = ""
    leave_running: bool = False
    criu: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        words = [f"--{name}" for name in self.criu]
        return words if "tcp-established" in self.criu else [*words, criu.CLOSE_TCP]


def checkpoint(store: Store, container_id: str, options: Options, diary: Diary) -> None:
    """Write a running container to a directory; it is deleted then, unless it is to be left running. RuntimeFailure."""
    with store.locked(container_id):
        record = store.load(container_id)
        status = store.status(record)
        if status != "running":
            raise RuntimeFailure(f"container {container_id!r} cannot be checkpointed: it is {status}")
        config = record.parsed()
        _refuse(config, record.groups())
        images, work = _directories(options)
        roots = [entry["destination"].rstrip("/") for entry in config.raw.get("mounts") or () if _is_outside(entry)]
        outside = External(external.mounts_below(roots, record.pid), _files(record))
        outside.save(images)
        words = criu.dump(record.pid, images, record.groups().directory(""), outside.mounts)
        words += [criu.LEAVE] if options.leave_running else []
        files = [name for name in outside.files.values() if name.startswith("file")]
        words = [*criu.with_files(words, files), "--work-dir", work, *options.words()]
        kinds = {kind for kind in _JOINED if config.namespaces.get(kind)} | {"network"}
        joins = [(f"/proc/{record.pid}/ns/{_file_of(kind)}", NAMESPACES[kind][0]) for kind in sorted(kinds)]

        def become(channel: launch.Channel) -> None:
            channel.close_others(set())
            launch.join_namespaces(joins, channel)
            programs.become(words, work, channel)

        _run(become, f"{work}/{criu.DUMP_LOG}", -1)
    if not options.leave_running:
        lifecycle.delete(store, container_id, diary, force=True)


def restore(store: Store, container_id: str, wishes: Wishes, options: Options, diary: Diary) -> Record:
    """Make a container from a bundle and images: it runs when this returns. Leaves nothing if it fails."""
    config = configs.load(wishes.bundle)
    path = control_groups.path_of(container_id, config.linux.get("cgroupsPath") or "", systemd=wishes.systemd_cgroup)
    groups = control_groups.ContainerGroups(path)
    _refuse(config, groups)
    images, work = _directories(options)
    outside = _outside(images)
    store.reserve(container_id)
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"
    record = Record(container_id, config.bundle, config.root, config.raw, created, cgroup=path)
    record.streams = {} if config.terminal else streams.of_process()
    try:
        store.save(record)
        try:
            groups.create()
        finally:
            record.made_groups = groups.made
            store.save(record)
        for warning in groups.apply(config.resources) + groups.restrict_devices(config.resources):
            diary.warn(warning)
        prepared = root.prepare(config, groups)
        try:
            job = _Job(config, prepared, groups, outside, images, work, options)
            _run(lambda channel: _revive(job, channel), f"{work}/{criu.RESTORE_LOG}", groups.birth_fd())
        finally:
            prepared.close()
        with open(f"{work}/{criu.PID_FILE}", encoding="ascii") as file:
            record.pid = int(file.read())
        record.started = pidfds.start_time(record.pid)
        store.save(record)
        if wishes.pid_file:
            creation.write_pid_file(wishes.pid_file, record.pid)
    except BaseException:
        with contextlib.suppress(RuntimeFailure):
            lifecycle.delete(store, container_id, diary, force=True)
        raise
    for problem in hooks.run_regardless(config.hooks("poststart"), store.state(record, "running"), "poststart"):
        diary.warn(problem)
    return record


@frozen
class _Job:
    config: Config
    prepared: root.Prepared
    groups: control_groups.ContainerGroups
    outside: External
    images: str
    work: str
    options: Options


def _revive(job: _Job, channel: launch.Channel) -> None:
    """In a newborn process: become `criu restore`, with the container's root and mounts in a namespace of its own."""
    os.umask(0)
    config = job.config
    channel.close_others(job.prepared.descriptors())
    launch.join_groups(job.groups.entrances())
    launch.join_namespaces(
        [(path, kind) for path, kind in init.joins_of(config) if kind != syscalls.CLONE_NEWNS], channel
    )
    if config.new("network"):
        channel.progress("making the network namespace")
        syscalls.unshare(syscalls.CLONE_NEWNET)
        netns.raise_loopback()
    channel.progress("making the mount and cgroup namespaces")
    syscalls.unshare(syscalls.CLONE_NEWNS | (syscalls.CLONE_NEWCGROUP if config.new("cgroup") else 0))
    syscalls.mount("", "/", "", syscalls.MS_PRIVATE | syscalls.MS_REC)
    staged = _stage(job, channel)
    channel.progress("mounting the root file system")
    place = os.open(config.root, os.O_PATH | os.O_DIRECTORY)
    syscalls.move_mount(job.prepared.tree, place)
    os.close(place)
    descriptors = {}
    for number, stream in enumerate(streams.STREAMS):
        if stream in job.outside.files:
            os.dup2(number, programs.FIRST_FD + number, inheritable=True)
            descriptors[job.outside.files[stream]] = programs.FIRST_FD + number
    channel.progress("matching the mounts of the checkpoint")
    try:
        mounts = external.sources(job.outside.mounts, staged)
    except ValueError as exc:
        raise OSError(str(exc)) from exc
    words = criu.restore(job.images, config.root, mounts, descriptors)
    programs.become([*words, "--work-dir", job.work, *job.options.words()], job.work, channel)


def _stage(job: _Job, channel: launch.Channel) -> dict[str, str]:
    """What comes from the host, on a tmpfs beside the images: places by target."""
    stage = f"{job.work}/stage"
    os.makedirs(stage, exist_ok=True)
    syscalls.mount("stage", stage, "tmpfs", 0, "mode=700")
    staged = {}
    for number, entry in enumerate(job.prepared.entries):
        tree = entry.tree if entry.tree >= 0 else entry.parts[0][2] if entry.parts else -1
        if tree < 0 and not entry.parts:
            continue
        channel.progress(f"{entry.where}: staging {entry.source} for {entry.target}")
        place = f"{stage}/{number}"
        if tree < 0:
            os.mkdir(place)
            syscalls.mount("cgroup2", place, "cgroup2", entry.options.flags, "")
        else:
            programs.stage(tree, place)
        staged[entry.target.rstrip("/")] = place
    return staged


def _run(body: Any, log: str, birth: int) -> None:
    """Run criu by `body` and wait for its end. RuntimeFailure with what went wrong; closes `birth`."""
    parent, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    with parent:
        try:
            pid, pidfd = syscalls.clone(0, cgroup_fd=birth)
            if pid == 0:
                launch.run(body, child)
        finally:
            child.close()
            if birth >= 0:
                os.close(birth)
        os.close(pidfd)
        problem = creation.failure_of(parent)
    if os.waitpid(pid, 0)[1] or problem:
        raise RuntimeFailure(problem or criu.failure(log))


def _refuse(config: Config, groups: control_groups.ContainerGroups) -> None:
    """RuntimeFailure for what cannot be checkpointed or restored."""
    reason = ""
    if not config.new("pid") or not config.new("mount"):
        reason = "a container without PID and mount namespaces of its own"
    elif "user" in config.namespaces:
        reason = "a container with a user namespace"
    elif config.terminal:
        reason = "a container with a terminal"
    if reason:
        raise RuntimeFailure(f"{reason} cannot be checkpointed or restored")
    if groups.version != 2:
        raise RuntimeFailure("containers can be checkpointed only on hosts whose control groups are cgroup2 alone")
    if why := machine.why_not():
        raise RuntimeFailure(why)


def _directories(options: Options) -> tuple[str, str]:
    images = os.path.abspath(options.images)
    work = os.path.abspath(options.work) if options.work else images
    for path in (images, work):
        os.makedirs(path, mode=0o700, exist_ok=True)
    return images, work


def _outside(images: str) -> External:
    try:
        return External.load(images)
    except (OSError, ValueError, TypeError) as exc:
        raise RuntimeFailure(f"{images} holds no checkpoint: {external.EXTERNAL} cannot be read ({exc})") from exc


def _is_outside(entry: dict[str, Any]) -> bool:
    options = entry.get("options") or ()
    return entry.get("type") in ("bind", "cgroup") or "bind" in options or "rbind" in options


def _files(record: Record) -> dict[str, str]:
    """criu's names of the streams that come from outside of the container."""
    with open(f"/proc/{record.pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        inside = {point.id for point in parse_mountinfo(file.read())}
    return streams.outside(record.streams or streams.of_process(record.pid), inside)


def _file_of(kind: str) -> str:
    return "net" if kind == "network" else kind
