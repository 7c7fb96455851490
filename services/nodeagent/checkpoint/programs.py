"""criu run by the keeper: in a newborn process that first takes on the pod's surroundings.

The restored processes become children of the keeper, like any container's, and inherit criu's namespaces and group.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from services.nodeagent.checkpoint import criu, external
from services.nodeagent.keeper import births, launch, pidfds, rootfs
from services.nodeagent.keeper.births import Birth
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.plan import Bind, FileSystem, RootPlan
from shared.kernel import criu as machine
from shared.kernel import syscalls
from shared.records import frozen

FIRST_FD = 10  # above those that launch and rootfs still use
_STAGE = "stage"


@frozen
class Dump:
    """One container's image to be made; `namespaces` are the pod's, as (path, CLONE_NEW...)."""

    pid: int
    images: str
    freezer: str
    namespaces: Sequence[tuple[str, int]]
    outside: external.External


@frozen
class Revival:
    """One container to be restored from `images`; `ends` are the container's stdin, stdout, stderr, -1 without;
    `stopped`: its processes are to be left as after SIGSTOP."""

    images: str
    root: RootPlan
    lower: list[str]
    writable: str
    entrances: Sequence[str]
    namespaces: Sequence[tuple[str, int]]
    ends: tuple[int, int, int]
    stopped: bool = False


def run(
    loop: Loop, body: Callable[[launch.Channel], None], log: str, done: Callable[[str], None], *, cgroup_fd: int = -1
) -> Birth:
    """Start criu by `body`; `done` is called with "" when it has succeeded, else with what went wrong."""
    birth = births.spawn(loop, body, 0, cgroup_fd=cgroup_fd)

    def ended(_events: int) -> None:
        birth.settle()
        loop.forget(birth.pidfd)
        outcome = pidfds.wait(birth.pidfd)
        os.close(birth.pidfd)
        if birth.failed:
            done(birth.message)
        else:
            done("" if outcome == (0, 0) else criu.failure(log))

    loop.watch(birth.pidfd, ended)
    return birth


def dump(job: Dump, channel: launch.Channel) -> None:
    """In a newborn process: become `criu dump`."""
    channel.close_others(set())
    launch.join_namespaces(list(job.namespaces), channel)
    words = criu.dump(job.pid, job.images, job.freezer, job.outside.mounts)
    words = criu.with_files(words, list(job.outside.files.values()))
    become([*words, criu.LEAVE, criu.CLOSE_TCP], job.images, channel)


def revive(job: Revival, channel: launch.Channel) -> None:
    """In a newborn process: become `criu restore`, with the container's root and mounts in a namespace of its own."""
    os.umask(0)
    channel.close_others({fd for fd in job.ends if fd >= 0})
    channel.progress("reading what was dumped")
    outside = external.External.load(job.images)
    launch.join_groups(list(job.entrances))
    launch.join_namespaces(list(job.namespaces), channel)
    channel.progress("making the mount and cgroup namespaces")
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWCGROUP)
    staged = _stage(job, channel)
    channel.progress("mounting the root file system")
    os.close(rootfs.mount_overlay(job.writable, job.lower))
    descriptors = {}
    for number, name, fd in zip(range(FIRST_FD, FIRST_FD + 3), ("stdin", "stdout", "stderr"), job.ends, strict=True):
        if name in outside.files and fd >= 0:
            os.dup2(fd, number, inheritable=True)
            descriptors[outside.files[name]] = number
    channel.progress("matching the mounts of the checkpoint")
    try:
        mounts = external.sources(outside.mounts, staged)
    except ValueError as exc:
        raise OSError(str(exc)) from exc
    words = criu.restore(job.images, job.writable, mounts, descriptors)
    become([*words, criu.CLOSE_TCP, *([criu.STOPPED] if job.stopped else [])], job.images, channel)


def _stage(job: Revival, channel: launch.Channel) -> dict[str, str]:
    """Everything that comes from the host, on a tmpfs beside the images: places by target."""
    trees = {}
    for step in job.root.inside:
        if isinstance(step, Bind):
            channel.progress(f"opening {step.source} for {step.target}")
            trees[step.target.rstrip("/")] = (rootfs.open_source(step), step)
    syscalls.mount("", "/", "", syscalls.MS_PRIVATE | syscalls.MS_REC)
    directory = f"{job.images}/{_STAGE}"
    os.makedirs(directory, exist_ok=True)
    syscalls.mount("stage", directory, "tmpfs", 0, "mode=700")
    staged = {}
    for number, (target, (tree, step)) in enumerate(trees.items()):
        place = f"{directory}/{number}"
        channel.progress(f"staging {step.source} for {target}")
        if step.attributes:
            syscalls.mount_setattr(tree, set_attributes=step.attributes, recursive=step.recursive)
        stage(tree, place)
        staged[target] = place
    for step in job.root.inside:
        if isinstance(step, FileSystem) and step.kind == external.CGROUP:
            place = f"{directory}/cgroup"
            os.mkdir(place)
            syscalls.mount(step.kind, place, step.kind, step.flags, step.data)
            staged[step.target] = place
    return staged


def stage(tree: int, place: str) -> None:
    """Put a detached mount at the new path `place`, and let go of its descriptor."""
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
    target = os.open(place, os.O_PATH)
    syscalls.move_mount(tree, target)
    os.close(target)
    os.close(tree)


def become(words: list[str], images: str, channel: launch.Channel) -> None:
    """Become criu in the directory `images`, where its own output goes as well."""
    null = os.open("/dev/null", os.O_RDONLY)
    said = os.open(f"{images}/criu.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for target, fd in enumerate((null, said, said)):
        os.dup2(fd, target, inheritable=True)
    channel.progress("executing criu")
    path = machine.program()
    if not path:
        raise OSError("criu is not installed on this node")
    os.chdir(images)
    channel.announce()
    os.execve(path, words, machine.environment())
