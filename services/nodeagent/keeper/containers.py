"""The containers of a node: started, watched, ended, remembered.

A container goes created -> running -> exited and is then only remembered, until it is removed; its group is removed as
soon as it has ended. Every step that another keeper must know of is recorded before it is answered. Nothing here
blocks: a start is answered when the program runs, a removal when the last process has gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from services.nodeagent.checkpoint.keeping import Checkpointing
from services.nodeagent.keeper import foreign, pidfds, plan
from services.nodeagent.keeper.births import Birth
from services.nodeagent.keeper.container import Container
from services.nodeagent.keeper.logfile import LogFile
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.sandboxes import Sandbox, Sandboxes
from services.nodeagent.keeper.starts import Starting
from services.nodeagent.keeper.store import Store
from services.nodeagent.keeper.streams import Output
from services.nodeagent.keeper.validation import validate, validate_ids
from services.nodeagent.keeper.zygote import Zygote
from services.nodeagent.runtime.model import (
    ContainerSpec,
    ContainerState,
    Resources,
    decode,
    encode,
)
from shared.kernel.cgroups.groups import Groups
from shared.records import field_names

RETRY_FIRST_S = 0.002
RETRY_MAX_S = 0.25
REMOVAL_LIMIT_S = 20.0
REAPING_INTERVAL_S = 0.01
REAPING_TRIES = 50
UNSEEN_EXIT_CODE = 137  # as kubelet reports a container whose end nobody saw


class Containers(Starting, Checkpointing):
    """`on_exit` is called for every container that has run and has ended."""

    def __init__(self, loop: Loop, store: Store, groups: Groups, sandboxes: Sandboxes, zygote: Zygote) -> None:
        self._loop = loop
        self._store = store
        self._groups = groups
        self._sandboxes = sandboxes
        self._zygote = zygote
        self._group_mounts = tuple(groups.container_mounts())
        self.held: dict[str, Container] = {}
        self.on_exit: Callable[[Container], None] = lambda _container: None

    def start(self, spec: ContainerSpec, sandbox: Sandbox, done: Callable[[Container], None]) -> None:
        """Start, or join the start of, a container; `done` is called when its program runs or cannot.

        ValueError and OSError are raised at once, and then nothing is left.
        """
        self._begin(spec, sandbox, done, lambda container, root: self._launch(container, sandbox, root))

    def _begin(
        self,
        spec: ContainerSpec,
        sandbox: Sandbox,
        done: Callable[[Container], None],
        launched: Callable[[Container, plan.RootPlan], None],
    ) -> None:
        held = self.held.get(spec.id)
        if held is not None:
            if held.birth is None:
                done(held)
            else:
                held.on_started.append(lambda: done(held))
            return
        validate(spec)
        validate_ids(spec, sandbox.spec)
        root = self._root(spec, sandbox)
        container = self._admit(spec, sandbox)
        container.on_started.append(lambda: done(container))
        try:
            self._record(container)
            self._make_group(container)
            self._make_streams(container)
            launched(container, root)
        except BaseException:
            self._forget(container)
            raise

    def _root(self, spec: ContainerSpec, sandbox: Sandbox) -> plan.RootPlan:
        return plan.plan_root(spec, sandbox.spec, self._sandboxes.path(sandbox.spec.id, "shm"), self._group_mounts)

    def _admit(self, spec: ContainerSpec, sandbox: Sandbox) -> Container:
        state = ContainerState(
            id=spec.id,
            sandbox_id=spec.sandbox_id,
            name=spec.name,
            state="created",
            created_at=time.time(),
            log_path=spec.log_path,
            stop_signal=spec.stop_signal,
            tty=spec.tty,
            stdin=spec.stdin,
            labels=dict(spec.labels),
        )
        container = Container(spec, state, spec.cgroup or f"{sandbox.spec.cgroup}/{spec.id}")
        self.held[spec.id] = container
        return container

    def _record(self, container: Container) -> None:
        """Record what never changes."""
        fixed = {"spec": encode(container.spec), "cgroup": container.cgroup}
        self._store.save(container.spec.id, fixed | self._changes(container))

    def _save(self, container: Container) -> None:
        """Record what changes."""
        self._store.save(container.spec.id, self._changes(container))

    @staticmethod
    def _changes(container: Container) -> dict[str, Any]:
        return {
            "state": encode(container.state),
            "started": container.started,
            "stdin_closed": container.stdin_closed,
            "own_pid_namespace": container.own_pid_namespace,
        }

    def _follow(self, container: Container, birth: Birth) -> None:
        """Watch the process that is, or has become, the container's first."""
        if container.pidfd >= 0:
            self._loop.forget(container.pidfd)
            os.close(container.pidfd)
        container.pidfd, container.state.pid = birth.pidfd, birth.pid
        container.started = pidfds.start_time(birth.pid)
        self._loop.watch(container.pidfd, lambda _events: self._on_end(container))
        self._save(container)

    def _on_settled(self, container: Container) -> None:
        birth = container.birth
        if birth is None or birth.failed:
            return  # its process is about to end, and then everything is told
        container.birth = None
        container.state.state = "running"
        container.state.started_at = time.time()
        container.state.warnings += birth.warnings
        if birth.console >= 0:
            self._take_console(container, birth.console)
        self._save(container)
        self._tell(container.on_started)

    @staticmethod
    def _tell(waiting: list[Callable[[], None]]) -> None:
        calls = list(waiting)
        waiting.clear()
        for call in calls:
            call()

    def _on_end(self, container: Container) -> None:
        """The first process has ended."""
        birth = container.birth
        if birth is not None:
            pidfd = container.pidfd
            birth.settle()
            if container.pidfd != pidfd:
                return  # it was the process that made way for this one
        has_run = container.state.state == "running"
        outcome = pidfds.wait(container.pidfd, container.state.pid)
        state = container.state
        state.finished_at = time.time()
        if birth is not None and birth.failed:
            state.exit_code, state.message = birth.exit_code, birth.message
            if birth.console >= 0:
                os.close(birth.console)
        elif outcome is not None:
            state.exit_code, state.signal = outcome
        else:
            state.exit_code, state.message = UNSEEN_EXIT_CODE, "the end of the process was not seen"
        container.birth = None
        state.oom_killed = state.exit_code != 0 and self._groups.oom_kills(container.cgroup) > 0
        if not container.own_pid_namespace:  # else the kernel has killed everything before it told us
            self._groups.kill(container.cgroup)
        self._settle_end(container)
        if has_run:
            self.on_exit(container)
        self._tell(container.on_started)
        self._leave_nothing(container)

    def _leave_nothing(self, container: Container) -> None:
        """Let go of what an ended container still has: what its runtime remembers of it, and its group."""

        def remove_group(_code: int = 0) -> None:
            if container.spec.runtime:
                self._groups.sweep(container.cgroup)
            self._remove_group(container, RETRY_FIRST_S, time.monotonic() + REMOVAL_LIMIT_S)

        if container.spec.runtime:
            words = ["delete", "--force", container.spec.id]
            foreign.run_beside(self._loop, foreign.command(container.spec.runtime, words), remove_group)
        else:
            remove_group()

    def _on_adopted_end(self, container: Container, tries: int) -> None:
        """A process that an earlier keeper started has ended; its code may not be readable in this very moment."""
        self._loop.forget(container.pidfd)
        if tries and pidfds.wait(container.pidfd, container.state.pid) is None:
            self._loop.after(REAPING_INTERVAL_S, lambda: self._on_adopted_end(container, tries - 1))
        else:
            self._on_end(container)

    def _settle_end(self, container: Container) -> None:
        container.state.state, container.state.pid, container.state.paused = "exited", 0, False
        self._close(container)
        self._save(container)

    def _close(self, container: Container) -> None:
        """Let go of every descriptor."""
        for output in container.outputs.values():
            output.finish()
        container.outputs.clear()
        if container.log is not None:
            container.log.close()
        if container.pidfd >= 0:
            self._loop.forget(container.pidfd)
            os.close(container.pidfd)
        for fd in (container.console, container.stdin):
            if fd >= 0:
                os.close(fd)
        container.log, container.pidfd, container.console, container.stdin = None, -1, -1, -1

    def _remove_group(self, container: Container, delay: float, deadline: float) -> None:
        if self._groups.remove(container.cgroup):
            container.group_removed = True
            self._tell(container.on_ended)
        elif time.monotonic() < deadline:
            self._groups.kill(container.cgroup)
            again = min(delay * 2, RETRY_MAX_S)
            self._loop.after(delay, lambda: self._remove_group(container, again, deadline))
        else:
            self._tell(container.on_ended)  # the waiters see that the group is still there

    def _forget(self, container: Container) -> None:
        """Undo a start that raised: nothing runs yet, or only just."""
        if container.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(container.pidfd, signal.SIGKILL)
            pidfds.wait(container.pidfd)
        container.birth = None
        self._close(container)
        self._groups.kill(container.cgroup)
        self._groups.remove(container.cgroup)
        self._store.remove(container.spec.id)
        self.held.pop(container.spec.id, None)

    def signal(self, container: Container, signum: int, *, everyone: bool) -> None:
        """Signal the first process, or all; one that has ended is left in peace."""
        if not container.alive or container.pidfd < 0:
            return
        if container.spec.runtime:
            words = ["kill", container.spec.id, str(signum)]
            foreign.run_beside(self._loop, foreign.command(container.spec.runtime, words), lambda _code: None)
        with contextlib.suppress(ProcessLookupError):
            if not container.spec.runtime or signum == signal.SIGKILL:
                signal.pidfd_send_signal(container.pidfd, signum)
        if everyone:
            for pid in self._groups.processes(container.cgroup):
                if pid != container.state.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signum)
        if signum == signal.SIGKILL and container.state.paused:
            self.freeze(container, frozen=False)

    def freeze(self, container: Container, *, frozen: bool) -> None:
        self._groups.freeze(container.cgroup, frozen)
        container.state.paused = frozen
        self._save(container)

    def update_resources(self, container: Container, resources: Resources) -> None:
        container.state.warnings = self._groups.limit(container.cgroup, resources)
        for name in field_names(Resources):
            value = getattr(resources, name)
            if value is not None and value != "":
                setattr(container.spec.resources, name, value)
        self._record(container)

    def directory(self, container: Container) -> str:
        """Where its record is, and what another runtime has to find."""
        return self._store.path(container.spec.id)

    def stdin_path(self, container: Container) -> str:
        return self._store.path(container.spec.id, "stdin")

    def close_stdin(self, container: Container) -> None:
        """Give a `stdin_once` container its end of file."""
        if container.spec.stdin_once and container.stdin >= 0:
            os.close(container.stdin)
            container.stdin, container.stdin_closed = -1, True
            self._save(container)

    def remove(self, container: Container, done: Callable[[bool], None]) -> None:
        """Kill what is left and forget it; `done(False)` if processes would not go within REMOVAL_LIMIT_S."""

        def finish() -> None:
            if container.group_removed and self.held.get(container.spec.id) is container:
                self._store.remove(container.spec.id)
                del self.held[container.spec.id]
            done(container.group_removed)

        if container.group_removed:
            finish()
            return
        container.on_ended.append(finish)
        if container.alive:
            self.signal(container, signal.SIGKILL, everyone=False)
            self._groups.kill(container.cgroup)
        elif len(container.on_ended) == 1:
            self._leave_nothing(container)

    def recover(self, terminals: Mapping[str, int]) -> None:
        """Take up what an earlier keeper left: watch what runs, end what was half made, note what has ended.

        `terminals` are masters of terminals by container id; those of no container that runs are closed.
        """
        for container_id, record in self._store.load().items():
            if record is None or "state" not in record:
                self._store.remove(container_id)
                continue
            container = Container(
                decode(ContainerSpec, record["spec"]),
                decode(ContainerState, record["state"]),
                record["cgroup"],
                record["started"],
                stdin_closed=record["stdin_closed"],
                own_pid_namespace=record["own_pid_namespace"],
            )
            self.held[container_id] = container
            if container.alive:
                self._adopt(container)
            elif container.spec.runtime:
                self._leave_nothing(container)
            else:
                container.group_removed = self._groups.remove(container.cgroup)
        for container_id, master in terminals.items():
            owner = self.held.get(container_id)
            if owner is not None and owner.state.state == "running":
                owner.log = LogFile(owner.spec.log_path)
                self._take_console(owner, master)
            else:
                os.close(master)

    def _take_console(self, container: Container, master: int) -> None:
        if container.log is not None:
            container.console = master
            container.outputs["stdout"] = Output(self._loop, "stdout", os.dup(master), container.log)

    def _adopt(self, container: Container) -> None:
        state = container.state
        container.pidfd = pidfds.open_again(state.pid, container.started)
        if state.state == "running" and container.pidfd >= 0:
            if not container.spec.tty:
                self._open_outputs(container)
            if container.spec.stdin_once and container.spec.stdin and not container.stdin_closed:
                with contextlib.suppress(OSError):  # it has closed its own end
                    path = self._store.path(container.spec.id, "stdin")
                    container.stdin = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._loop.watch(container.pidfd, lambda _events: self._on_adopted_end(container, REAPING_TRIES))
            return
        if state.state == "created":
            state.message = "the start was interrupted: the keeper was restarted"
        else:
            state.message = "the end was not seen: the keeper was away"
        state.exit_code, state.finished_at = UNSEEN_EXIT_CODE, time.time()
        with contextlib.suppress(FileNotFoundError):
            self._groups.kill(container.cgroup)
        self._settle_end(container)
        self._leave_nothing(container)
