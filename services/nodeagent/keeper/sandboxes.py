"""The namespaces that a pod's containers share, kept by bind mounts of their files instead of by a waiting process.

Network: /run/netns/<name>, so that ip-netns(8) lists the pod. IPC and UTS: files beside the record, with the pod's
/dev/shm. Only a shared PID namespace needs a process (see pause.py). Everything is made in the order in which a keeper
that was killed half-way can find and remove it: the record first.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import Any

from services.nodeagent.keeper import launch, namespaces, orphans, pause, pidfds
from services.nodeagent.keeper.spares import Spares
from services.nodeagent.keeper.store import Store, check_id
from services.nodeagent.runtime.model import (
    InterfaceStats,
    Resources,
    SandboxSpec,
    SandboxState,
    decode,
    encode,
)
from shared.kernel import mounts, netns, syscalls
from shared.kernel.cgroups.groups import Groups
from shared.records import mutable

MINIMUM_SHARES, MAXIMUM_SHARES = 2, 262_144


@mutable
class Sandbox:
    """A sandbox as the keeper holds it. `pause_fd` is a pidfd, -1 without a shared PID namespace."""

    spec: SandboxSpec
    state: SandboxState
    pause_pid: int = 0
    pause_started: int = 0
    pause_fd: int = -1


def validate(spec: SandboxSpec) -> None:
    """ValueError naming the field that cannot be right."""
    check_id(spec.id, "sandbox")
    if not spec.host_network:
        netns.path_of(spec.netns_name)
    if not spec.cgroup.startswith("/") or ".." in spec.cgroup.split("/") or spec.cgroup.endswith("/"):
        raise ValueError(f"sandbox cgroup {spec.cgroup!r} is not an absolute path below the node's group")
    namespaces.validate(spec)
    for name in spec.sysctls:
        if name.startswith("net.") and spec.host_network:
            raise ValueError(f"sysctl {name} is not allowed with host network")
        if name.startswith(namespaces.IPC_SYSCTLS) and spec.host_ipc:
            raise ValueError(f"sysctl {name} is not allowed with host IPC")
        if not name.startswith(("net.", *namespaces.IPC_SYSCTLS)):
            raise ValueError(f"sysctl {name} does not belong to a pod's namespaces")


def level_shares(level: str, shares: list[int]) -> int | None:
    """The CPU shares of a QoS level with these pods: the least for best effort, else their sum, as kubelet's
    qosContainerManager has it; None for a group that is no such level."""
    name = level.rpartition("/")[2]
    if name == "besteffort":
        return MINIMUM_SHARES
    if name not in ("burstable", "guaranteed") or not shares:
        return None
    return max(MINIMUM_SHARES, min(MAXIMUM_SHARES, sum(shares)))


def _is_below(spec: SandboxSpec, level: str) -> bool:
    return spec.cgroup.rpartition("/")[0] == level


class Sandboxes:
    def __init__(self, store: Store, groups: Groups, spares: Spares) -> None:
        self._store = store
        self._spares = spares
        self._groups = groups
        self.held: dict[str, Sandbox] = {}

    def path(self, sandbox_id: str, name: str) -> str:
        return self._store.path(sandbox_id, name)

    def create(self, spec: SandboxSpec) -> SandboxState:
        """Make the sandbox, or return the one that is there. OSError, ValueError; then nothing is left."""
        held = self.held.get(spec.id)
        if held is not None:
            return held.state
        validate(spec)
        path = "" if spec.host_network else netns.path_of(spec.netns_name)
        state = SandboxState(spec.id, "ready", path, time.time(), dict(spec.labels))
        sandbox = self.held[spec.id] = Sandbox(spec, state)
        try:
            self._save(sandbox)
            self._groups.create(spec.cgroup)
            if spec.resources is not None:
                self._groups.limit(spec.cgroup, spec.resources)
            self._weigh(spec.cgroup)
            self._make_namespaces(sandbox)
            if spec.share_process and not spec.host_pid:
                self._start_pause(sandbox)
                self._save(sandbox)
        except BaseException:
            self.discard(spec.id)
            raise
        return state

    def _save(self, sandbox: Sandbox) -> None:
        record = {
            "spec": encode(sandbox.spec),
            "state": encode(sandbox.state),
            "pause_pid": sandbox.pause_pid,
            "pause_started": sandbox.pause_started,
        }
        self._store.save(sandbox.spec.id, record)

    def _make_namespaces(self, sandbox: Sandbox) -> None:
        if not sandbox.spec.host_ipc:
            self._make_shm(sandbox.spec)
        user = self.user_namespace(sandbox)
        files = [(user.path, syscalls.CLONE_NEWUSER)] if user is not None else []
        kept = namespaces.Kept((*files, *self.namespaces(sandbox)))
        if kept.kinds:
            namespaces.make(sandbox.spec, kept, self._spares)

    def _make_shm(self, spec: SandboxSpec) -> None:
        directory = self.path(spec.id, "shm")
        os.mkdir(directory, 0o700)
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        owner = f",uid={spec.user_range},gid={spec.user_range}" if spec.user_range else ""
        syscalls.mount("shm", directory, "tmpfs", flags, f"mode=1777,size=65536k{owner}")

    def _start_pause(self, sandbox: Sandbox) -> None:
        cgroup = sandbox.spec.cgroup + "/pause"  # a group with groups below it may not hold processes in v2
        self._groups.create(cgroup)
        entrances, shared = self._groups.entrances(cgroup), self.namespaces(sandbox)
        user = self.user_namespace(sandbox)
        birth = self._groups.birth_fd(cgroup)
        parent, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with parent:
            pid, pidfd = syscalls.clone(pause.FLAGS if user is None else 0, cgroup_fd=birth)
            if pid == 0:
                launch.run(lambda channel: pause.run(entrances, shared, user, channel), child)
            child.close()
            if birth >= 0:
                os.close(birth)
            sandbox.pause_pid, sandbox.pause_fd = pid, pidfd
            message, fds, _flags, _address = socket.recv_fds(parent, 8192, 1)  # ends with its execve, a moment away
            if fds:
                pidfds.wait(pidfd)
                os.close(pidfd)
                os.set_inheritable(fds[0], False)
                sandbox.pause_pid, sandbox.pause_fd = pidfds.pid_of(fds[0]), fds[0]
                message = parent.recv(8192)
            if message:
                raise OSError(f"the pod's first process could not be started: {json.loads(message)['error']}")
            sandbox.pause_started = pidfds.start_time(sandbox.pause_pid)
            pidfds.expected.add(sandbox.pause_pid)

    def user_namespace(self, sandbox: Sandbox) -> launch.UserNamespace | None:
        """The pod's own user namespace, if it has one."""
        spec = sandbox.spec
        return launch.UserNamespace(self.path(spec.id, "user"), spec.user_range) if spec.user_range else None

    def namespaces(self, sandbox: Sandbox) -> list[tuple[str, int]]:
        """What a container's process joins by path, the shared PID namespace apart."""
        spec = sandbox.spec
        result = []
        if not spec.host_network:
            result.append((sandbox.state.netns_path, syscalls.CLONE_NEWNET))
            result.append((self.path(spec.id, "uts"), syscalls.CLONE_NEWUTS))
        if not spec.host_ipc:
            result.append((self.path(spec.id, "ipc"), syscalls.CLONE_NEWIPC))
        if spec.time_offsets:
            result.append((self.path(spec.id, "time"), syscalls.CLONE_NEWTIME))
        return result

    def update_resources(self, sandbox_id: str, resources: Resources) -> None:
        sandbox = self.held[sandbox_id]
        self._groups.limit(sandbox.spec.cgroup, resources)
        sandbox.spec.resources = resources
        self._weigh(sandbox.spec.cgroup)
        self._save(sandbox)

    def _weigh(self, cgroup: str) -> None:
        """Weigh the level above a pod's group by its pods: otherwise one level's pods, be they many or few, would have
        as much of the CPU together as another's."""
        level = cgroup.rpartition("/")[0]
        shares = [
            s.spec.resources.cpu_shares for s in self.held.values() if _is_below(s.spec, level) and s.spec.resources
        ]
        wanted = level_shares(level, [share for share in shares if share is not None])
        if wanted is not None:
            self._groups.limit(level, Resources(cpu_shares=wanted))

    def interfaces(self, sandbox_id: str) -> list[InterfaceStats]:
        path = self.held[sandbox_id].state.netns_path
        if not path:
            return _read_interfaces()
        with netns.enter(path):
            return _read_interfaces()

    def discard(self, sandbox_id: str) -> None:
        """Remove everything a sandbox consists of, also what an interrupted `create` left; idempotent."""
        sandbox = self.held.get(sandbox_id)
        if sandbox is not None and sandbox.pause_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(sandbox.pause_fd, signal.SIGKILL)
            orphans.wait_for(sandbox.pause_fd)
            os.close(sandbox.pause_fd)
            sandbox.pause_fd = -1
        for name in ("uts", "ipc", "time", "user"):
            netns.release(self.path(sandbox_id, name))
        shm = self.path(sandbox_id, "shm")
        mounts.unmount(shm)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(shm)
        if sandbox is not None:
            if sandbox.spec.netns_name and not sandbox.spec.host_network:
                netns.delete(sandbox.spec.netns_name)
            self._groups.kill(sandbox.spec.cgroup)
        self._store.remove(sandbox_id)
        self.held.pop(sandbox_id, None)

    def remove_group(self, cgroup: str) -> bool:
        """Remove a pod's group unless another sandbox of the same pod uses it; False while it is busy."""
        if any(other.spec.cgroup == cgroup for other in self.held.values()):
            return True
        if not self._groups.remove(cgroup, parents=True):
            return False
        if any(_is_below(other.spec, cgroup.rpartition("/")[0]) for other in self.held.values()):
            self._weigh(cgroup)
        return True

    def recover(self) -> None:
        """Take up what an earlier keeper left; a sandbox whose namespaces are gone (a reboot) is "gone"."""
        for sandbox_id, record in self._store.load().items():
            if record is None or "state" not in record:
                self.discard(sandbox_id)
                continue
            sandbox = self._revive(record)
            self.held[sandbox_id] = sandbox
            problem = self._missing(sandbox)
            if problem:
                sandbox.state.state, sandbox.state.message = "gone", problem

    @staticmethod
    def _revive(record: dict[str, Any]) -> Sandbox:
        sandbox = Sandbox(
            decode(SandboxSpec, record["spec"]),
            decode(SandboxState, record["state"]),
            record["pause_pid"],
            record["pause_started"],
        )
        sandbox.pause_fd = pidfds.open_again(sandbox.pause_pid, sandbox.pause_started)
        return sandbox

    def _missing(self, sandbox: Sandbox) -> str:
        user = self.user_namespace(sandbox)
        for path in [path for path, _kind in self.namespaces(sandbox)] + ([user.path] if user is not None else []):
            if not mounts.is_mount_point(path):
                return f"namespace {path} is gone"
        if sandbox.spec.share_process and not sandbox.spec.host_pid and sandbox.pause_fd < 0:
            return "the shared PID namespace has ended"
        return ""


def _read_interfaces() -> list[InterfaceStats]:
    with open("/proc/thread-self/net/dev", encoding="ascii") as file:
        lines = file.read().splitlines()[2:]
    result = []
    for line in lines:
        name, _, numbers = line.partition(":")
        values = [int(word) for word in numbers.split()]
        result.append(InterfaceStats(name.strip(), *values[:4], *values[8:12]))
    return result
