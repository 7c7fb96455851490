"""The keeper's containers written to images and made from them: the part of `Containers` that runs criu.

A container is restored like it is started: with its record, group and streams made first. Then criu makes the
processes, as children of the keeper, and from there on they are a container like any other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from services.nodeagent.checkpoint import criu, external, programs
from services.nodeagent.keeper import pidfds
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.plan import RootPlan
from services.nodeagent.keeper.sandboxes import Sandbox, Sandboxes
from services.nodeagent.keeper.store import Store
from services.nodeagent.runtime.model import ContainerSpec
from shared.kernel import criu as machine
from shared.kernel.cgroups.groups import Groups

if TYPE_CHECKING:
    from services.nodeagent.keeper.container import Container

FAILED_CODE = 128


def refuse(spec: ContainerSpec, sandbox: Sandbox) -> None:
    """ValueError for a container that criu could not tell from others, or that is not the keeper's own."""
    reason = ""
    if sandbox.spec.share_process or sandbox.spec.host_pid or spec.pid_target:
        reason = "that shares its processes with others"
    elif sandbox.spec.user_range:
        reason = "with a user namespace of its pod's own"
    elif spec.runtime:
        reason = f"of the runtime {spec.runtime}"
    elif spec.tty:
        reason = "with a terminal"
    if reason:
        raise ValueError(f"a container {reason} cannot be checkpointed or restored")


class Checkpointing:
    """Added to `Containers`, whose attributes and steps it uses."""

    _loop: Loop
    _groups: Groups
    _sandboxes: Sandboxes
    _store: Store

    if TYPE_CHECKING:

        def _begin(
            self,
            spec: ContainerSpec,
            sandbox: Sandbox,
            done: Callable[[Container], None],
            launched: Callable[[Container, RootPlan], None],
        ) -> None: ...
        def _root(self, spec: ContainerSpec, sandbox: Sandbox) -> RootPlan: ...
        def _child_ends(self, container: Container) -> tuple[int, int, int]: ...
        def _save(self, container: Container) -> None: ...
        def _settle_end(self, container: Container) -> None: ...
        def _leave_nothing(self, container: Container) -> None: ...
        def _on_end(self, container: Container) -> None: ...
        def _tell(self, waiting: list[Callable[[], None]]) -> None: ...

    def restore(
        self,
        spec: ContainerSpec,
        sandbox: Sandbox,
        images: str,
        done: Callable[[Container], None],
        *,
        frozen: bool = False,
    ) -> None:
        """Like `start`, but the processes are those that `checkpoint` wrote to `images`. With `frozen` they are as
        after `freeze`, before any has run."""
        refuse(spec, sandbox)
        self._begin(spec, sandbox, done, lambda container, root: self._revive(container, sandbox, root, images, frozen))

    def _revive(self, container: Container, sandbox: Sandbox, root: RootPlan, images: str, frozen: bool) -> None:
        ends = self._child_ends(container)
        job = programs.Revival(
            images=images,
            root=root,
            lower=container.spec.lower,
            writable=container.spec.writable,
            entrances=self._groups.entrances(container.cgroup),
            namespaces=self._sandboxes.namespaces(sandbox),
            ends=ends,
            stopped=frozen,
        )
        try:
            container.birth = programs.run(
                self._loop,
                lambda channel: programs.revive(job, channel),
                f"{images}/{criu.RESTORE_LOG}",
                lambda problem: self._on_revived(container, images, problem, frozen),
                cgroup_fd=self._groups.birth_fd(container.cgroup),
            )
        finally:
            for fd in ends:
                if fd >= 0:
                    os.close(fd)

    def _on_revived(self, container: Container, images: str, problem: str, frozen: bool) -> None:
        """criu has ended: what it left is the container now."""
        container.birth = None
        state = container.state
        if not problem:
            with open(f"{images}/{criu.PID_FILE}", encoding="ascii") as file:
                state.pid = int(file.read())
            container.started = pidfds.start_time(state.pid)
            container.pidfd = pidfds.open_again(state.pid, container.started)
            if container.pidfd < 0:
                problem = "the restored process has ended at once"
        if problem:
            state.exit_code, state.message, state.finished_at = FAILED_CODE, f"restoring: {problem}", time.time()
            self._groups.kill(container.cgroup)
            self._settle_end(container)
            self._tell(container.on_started)
            self._leave_nothing(container)
            return
        state.state, state.started_at = "running", time.time()
        if frozen:
            self._freeze_stopped(container)
        self._loop.watch(container.pidfd, lambda _events: self._on_end(container))
        self._save(container)
        self._tell(container.on_started)

    def _freeze_stopped(self, container: Container) -> None:
        """From stopped by SIGSTOP, as criu leaves them, to frozen by their group, of which they know nothing."""
        self._groups.freeze(container.cgroup, True)
        container.state.paused = True
        for pid in self._groups.processes(container.cgroup):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def check(self, container: Container, sandbox: Sandbox) -> str:
        """The freezer of a container that can be checkpointed as far as can be told while it runs. ValueError."""
        refuse(container.spec, sandbox)
        return self._groups.freezer(container.cgroup)

    def checkpoint(self, container: Container, sandbox: Sandbox, images: str, done: Callable[[str], None]) -> None:
        """Write a paused container's processes to the directory `images`; they stay paused. `done` gets "" or what went
        wrong. ValueError for a container that cannot be checkpointed."""
        spec = container.spec
        freezer = self.check(container, sandbox)
        if not container.state.paused:
            raise ValueError(f"container {spec.id} is not paused")
        files = {}
        for name in ("stdin", "stdout", "stderr"):
            path = self._store.path(spec.id, name)
            if os.path.exists(path):
                files[name] = machine.file_name(path)
        outside = external.External(external.mounts_of(self._root(spec, sandbox), container.state.pid), files)
        outside.save(images)
        namespaces = self._sandboxes.namespaces(sandbox)
        job = programs.Dump(container.state.pid, images, freezer, namespaces, outside)
        log = f"{images}/{criu.DUMP_LOG}"
        programs.run(self._loop, lambda channel: programs.dump(job, channel), log, done)
