"""A container as the keeper holds it, and its process as numbers."""

from __future__ import annotations

from collections.abc import Callable

from services.nodeagent.keeper import capabilities, seccomp
from services.nodeagent.keeper.births import Birth
from services.nodeagent.keeper.logfile import LogFile
from services.nodeagent.keeper.process import Process
from services.nodeagent.keeper.streams import Output
from services.nodeagent.runtime.model import ContainerSpec, ContainerState
from shared.records import field, mutable


@mutable
class Container:
    """A container as the keeper holds it. `started` is the first process's start time in clock ticks."""

    spec: ContainerSpec
    state: ContainerState
    cgroup: str
    started: int = 0
    pidfd: int = -1
    birth: Birth | None = None
    log: LogFile | None = None
    outputs: dict[str, Output] = field(default_factory=dict)
    console: int = -1
    stdin: int = -1
    stdin_closed: bool = False
    own_pid_namespace: bool = True
    group_removed: bool = False
    on_started: list[Callable[[], None]] = field(default_factory=list)
    on_ended: list[Callable[[], None]] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return self.state.state != "exited"


def process_of(spec: ContainerSpec, hostname: str) -> Process:
    """The container's process as numbers; also the model for its exec sessions. ValueError for unknown names."""
    granted = capabilities.granted(spec.capabilities, privileged=spec.privileged)
    env = {"HOSTNAME": hostname, **spec.env}
    if spec.tty:
        env.setdefault("TERM", "xterm")
    program, flags = _filter(spec, granted)
    return Process(
        argv=list(spec.argv),
        env=env,
        cwd=spec.cwd,
        uid=spec.uid,
        gid=spec.gid,
        groups=list(spec.groups),
        umask=spec.umask,
        capabilities=capabilities.mask(granted),
        no_new_privileges=spec.no_new_privileges,
        apparmor=spec.apparmor,
        seccomp=program,
        seccomp_flags=flags,
        rlimits=dict(spec.rlimits),
        oom_score_adj=spec.oom_score_adj,
    )


def _filter(spec: ContainerSpec, granted: frozenset[str]) -> tuple[bytes, int]:
    """The seccomp program and its flags. ValueError naming what a profile of the pod's own cannot have."""
    if spec.seccomp_profile:
        from services.nodeagent.oci import filters  # few containers have one

        return filters.program(spec.seccomp_profile), filters.flags(spec.seccomp_profile)
    if spec.seccomp == "default" and not spec.privileged:
        return seccomp.program(granted), 0
    return b"", 0
