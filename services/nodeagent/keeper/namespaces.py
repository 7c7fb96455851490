"""Making the namespaces that a pod's containers share, each kept by a bind mount of its file.

Without a user namespace the keeper steps into new ones and back out. With one, a child is their maker, because
namespaces belong to the user namespace in which they are made; the keeper, which alone may do so, writes the mappings
and keeps the files (user_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket

from services.nodeagent.keeper import launch, pidfds, spares
from services.nodeagent.keeper.spares import Spares
from services.nodeagent.runtime.model import SandboxSpec
from shared.kernel import netns, syscalls
from shared.records import frozen

IPC_SYSCTLS = ("fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm")

_FILES = {
    syscalls.CLONE_NEWUSER: "user",
    syscalls.CLONE_NEWNET: "net",
    syscalls.CLONE_NEWUTS: "uts",
    syscalls.CLONE_NEWIPC: "ipc",
    syscalls.CLONE_NEWTIME: "time_for_children",
}
_CLOCKS = ("monotonic", "boottime")


@frozen
class Kept:
    """Where a pod's namespaces are kept: (path, CLONE_NEW...)."""

    files: tuple[tuple[str, int], ...]

    @property
    def kinds(self) -> int:
        return sum(kind for _path, kind in self.files)


def validate(spec: SandboxSpec) -> None:
    """ValueError naming what cannot be combined."""
    if spec.user_range:
        for name in ("host_network", "host_pid", "host_ipc"):
            if getattr(spec, name):
                raise ValueError(f"sandbox {name} is not possible with a user namespace")
        if spec.user_range < 0 or not 0 < spec.user_range_size <= (1 << 32) - 1 - spec.user_range:
            raise ValueError(f"sandbox user_range {spec.user_range}:{spec.user_range_size} is not within 32 bits")
    for clock in spec.time_offsets:
        if clock not in _CLOCKS:
            raise ValueError(f"sandbox time_offsets {clock!r} is neither monotonic nor boottime")


def default_sysctls(spec: SandboxSpec) -> dict[str, str]:
    """As containerd and Docker set them: no service of a pod needs a capability to bind port 80 or to ping."""
    groups = f"0 {spec.user_range_size - 1}" if spec.user_range else "0 2147483647"
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": groups}


def make(spec: SandboxSpec, kept: Kept, ready: Spares) -> None:
    """Make and keep them all, or take some that are `ready`, and set up what belongs to them. OSError, and then the
    caller releases what there is."""
    if spec.user_range:
        _make_owned(spec, kept)
        return
    if kept.kinds == spares.KINDS:
        with ready.new():
            _name(spec, kept.kinds)
            _keep(kept, "thread-self")
        return
    with syscalls.unshared(kept.kinds):
        _furnish(spec, kept.kinds)
        _set_clocks(spec, "self")
        _keep(kept, "thread-self")


def _keep(kept: Kept, process: str) -> None:
    for path, kind in kept.files:
        netns.release(path)
        netns.keep(f"/proc/{process}/ns/{_FILES[kind]}", path)


def _furnish(spec: SandboxSpec, kinds: int) -> None:
    """From inside: loopback, host name, kernel parameters."""
    if kinds & syscalls.CLONE_NEWNET:
        _furnish_network(default_sysctls(spec))
    _name(spec, kinds)


def furnish_spare() -> None:
    """From inside of namespaces for whatever pod."""
    _furnish_network(default_sysctls(SandboxSpec("")))


def _furnish_network(sysctls: dict[str, str]) -> None:
    netns.raise_loopback()
    for name, value in sysctls.items():
        with contextlib.suppress(OSError):
            netns.write_sysctl(name, value)


def _name(spec: SandboxSpec, kinds: int) -> None:
    """What is the pod's own: host name and the kernel parameters that it asks for."""
    if kinds & syscalls.CLONE_NEWUTS:
        socket.sethostname(spec.hostname or spec.id[:12])
    for name, value in spec.sysctls.items():
        netns.write_sysctl(name, value)


def _set_clocks(spec: SandboxSpec, process: str) -> None:
    """Clocks can only be set before anything runs in a time namespace (time_namespaces(7))."""
    for clock, offset in spec.time_offsets.items():
        seconds, nanoseconds = divmod(offset, 10**9)
        with open(f"/proc/{process}/timens_offsets", "w", encoding="ascii") as file:
            file.write(f"{clock} {seconds} {nanoseconds}\n")


def _make_owned(spec: SandboxSpec, kept: Kept) -> None:
    parent, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    with parent:
        try:
            pid, pidfd = syscalls.clone(syscalls.CLONE_NEWUSER)
        except OSError as exc:
            child.close()
            text = f"this node cannot make user namespaces: {os.strerror(exc.errno or 0).lower()}"
            raise OSError(exc.errno, text) from exc
        if pid == 0:
            parent.close()
            launch.run(lambda channel: _owner(spec, kept.kinds, channel), child)
        child.close()
        try:
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                    file.write(f"0 {spec.user_range} {spec.user_range_size}\n")
            parent.send(b"mapped")
            _await(parent)
            _set_clocks(spec, str(pid))
            _keep(kept, str(pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            pidfds.wait(pidfd)
            os.close(pidfd)


def _owner(spec: SandboxSpec, kinds: int, channel: launch.Channel) -> None:
    channel.wait()
    launch.become_root(channel)
    channel.progress("making the pod's namespaces")
    syscalls.unshare(kinds & ~syscalls.CLONE_NEWUSER)
    _furnish(spec, kinds)
    channel.ask("made")


def _await(channel: socket.socket) -> None:
    data = channel.recv(8192)
    message = json.loads(data) if data else {"error": "the maker of the pod's namespaces was killed"}
    if "error" in message:
        raise OSError(message["error"])
