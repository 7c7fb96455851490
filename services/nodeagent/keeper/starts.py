"""Starting a container: its group, its pipes, and its first process, made by the zygote, by the keeper itself or by
another runtime: the part of `Containers` that has to do with what there is before the program runs.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from services.nodeagent.keeper import births, bundles, foreign, launch, listed, pidfds, plan
from services.nodeagent.keeper import process as processes
from services.nodeagent.keeper.births import Birth, Shortcut
from services.nodeagent.keeper.container import Container, process_of
from services.nodeagent.keeper.logfile import LogFile
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.process import Process
from services.nodeagent.keeper.sandboxes import Sandbox, Sandboxes
from services.nodeagent.keeper.store import Store
from services.nodeagent.keeper.streams import Output
from services.nodeagent.keeper.zygote import Zygote
from services.nodeagent.runtime.model import ContainerSpec
from shared.kernel import syscalls
from shared.kernel.cgroups.groups import Groups

FAILED_CODE = 128


class Starting:
    """Added to `Containers`, whose attributes and steps it uses."""

    _loop: Loop
    _groups: Groups
    _sandboxes: Sandboxes
    _store: Store
    held: dict[str, Container]
    _zygote: Zygote

    if TYPE_CHECKING:

        def _follow(self, container: Container, birth: Birth) -> None: ...
        def _on_settled(self, container: Container) -> None: ...
        def _on_end(self, container: Container) -> None: ...

    def _make_group(self, container: Container) -> None:
        spec = container.spec
        self._groups.create(container.cgroup)
        container.state.warnings += self._groups.limit(container.cgroup, spec.resources)
        if not spec.privileged:
            container.state.warnings += self._groups.restrict_devices(container.cgroup, plan.ALLOWED_DEVICES)

    def _make_streams(self, container: Container) -> None:
        spec = container.spec
        container.log = LogFile(spec.log_path)
        if spec.tty:
            return
        names = ("stdin", "stdout", "stderr") if spec.stdin else ("stdout", "stderr")
        for name in names:
            os.mkfifo(self._store.path(spec.id, name), 0o600)

    def _open_outputs(self, container: Container) -> None:
        """Read what the container writes. At its second attempt to start the first one's end may have been seen."""
        for output in container.outputs.values():
            output.resume()
        if container.outputs:
            return
        if container.log is None:
            container.log = LogFile(container.spec.log_path)
        for name in ("stdout", "stderr"):
            fd = os.open(self._store.path(container.spec.id, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            container.outputs[name] = Output(self._loop, name, fd, container.log)

    def _child_ends(self, container: Container) -> tuple[int, int, int]:
        """The container's own ends. Output is opened for reading too, which keeps the pipes usable without a keeper;
        so is input that never ends, while `stdin_once` needs an end of file."""
        spec = container.spec
        if spec.tty:
            return -1, -1, -1
        out, err = (os.open(self._store.path(spec.id, name), os.O_RDWR | os.O_CLOEXEC) for name in ("stdout", "stderr"))
        self._open_outputs(container)
        if not spec.stdin:
            return -1, out, err
        path = self._store.path(spec.id, "stdin")
        if not spec.stdin_once:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC), out, err
        into = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(into, True)
        if container.stdin < 0:
            container.stdin = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return into, out, err

    def _launch(self, container: Container, sandbox: Sandbox, root: plan.RootPlan, *, with_list: bool = True) -> None:
        """Make the first process; by a list of system calls, where it is one for a list and `with_list`."""
        spec = container.spec
        process = process_of(spec, sandbox.spec.hostname or os.uname().nodename)
        shared = self._shared_processes(spec, sandbox)
        container.own_pid_namespace = shared < 0 and not sandbox.spec.host_pid
        ends = self._child_ends(container)
        try:
            if spec.runtime:
                birth = self._ask_runtime(container, sandbox, process, root, ends)
            else:
                birth = self._bear(container, sandbox, process, root, ends, shared, with_list=with_list)
        finally:
            for fd in ends:
                if fd >= 0:
                    os.close(fd)
        container.birth = birth
        birth.on_settled = lambda: self._on_settled(container)
        birth.on_unfinished = lambda: self._launch_again(container, sandbox, root)
        birth.on_handover = lambda: self._follow(container, birth)
        self._follow(container, birth)

    def _launch_again(self, container: Container, sandbox: Sandbox, root: plan.RootPlan) -> None:
        """A list came upon something that only launch.py can deal with, or tell what is wrong with it."""
        pidfds.wait(container.pidfd)
        birth = container.birth
        if birth is not None:
            text = f"container {container.spec.id}: made without a list of system calls, which came upon"
            print(f"keeper: {text}: {birth.unfinished.lower()}", file=sys.stderr)
        try:
            self._launch(container, sandbox, root, with_list=False)
        except (OSError, ValueError) as exc:
            if birth is not None:
                birth.fail(str(exc), FAILED_CODE)
                self._on_end(container)

    def _bear(
        self,
        container: Container,
        sandbox: Sandbox,
        process: Process,
        root: plan.RootPlan,
        ends: tuple[int, int, int],
        shared: int,
        *,
        with_list: bool,
    ) -> Birth:
        """A child of the keeper that becomes the container's first process, in the PID namespace of `shared`."""
        spec = container.spec
        job = launch.ContainerJob(
            process=process,
            stdio=launch.Stdio(ends, spec.tty),
            root=root,
            lower=spec.lower,
            writable=spec.writable,
            entrances=self._groups.entrances(container.cgroup),
            namespaces=self._sandboxes.namespaces(sandbox),
            user=self._sandboxes.user_namespace(sandbox),
            own_process_namespace=container.own_pid_namespace,
        )
        flags = syscalls.CLONE_NEWNS
        if container.own_pid_namespace and job.user is None:
            flags |= syscalls.CLONE_NEWPID
        return births.spawn(
            self._loop,
            lambda channel: launch.container(job, channel),
            flags,
            cgroup_fd=self._groups.birth_fd(container.cgroup),
            pid_namespace=shared,
            shortcut=Shortcut(self._zygote, ends, lambda order: listed.container(job, order)) if with_list else None,
        )

    def _ask_runtime(
        self, container: Container, sandbox: Sandbox, process: Process, root: plan.RootPlan, ends: tuple[int, int, int]
    ) -> Birth:
        """A child of the keeper that has another runtime make the container."""
        spec = container.spec
        bundles.validate(root, user_namespace=bool(sandbox.spec.user_range))
        directory = self._store.path(spec.id)
        if process.oom_score_adj is not None and not processes.may_set_oom_score(process.oom_score_adj):
            container.state.warnings.append(processes.oom_score_refused(process.oom_score_adj))
            process.oom_score_adj = None
        document = bundles.config(
            spec,
            process,
            root,
            root_path=foreign.root_path(spec.writable),
            source_directory=foreign.source_directory(spec.writable),
            namespaces=self._sandboxes.namespaces(sandbox),
            pid_namespace=self._pid_namespace(container, sandbox),
            cgroup=self._groups.absolute(container.cgroup),
        )
        with open(f"{directory}/config.json", "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(document, file, ensure_ascii=False)
        job = foreign.Job(
            runtime=spec.runtime,
            id=spec.id,
            directory=directory,
            stdio=launch.Stdio(ends, spec.tty),
            sources=bundles.sources(root),
            lower=spec.lower,
            writable=spec.writable,
            groups=self._groups,
            cgroup=container.cgroup,
        )
        return births.spawn(self._loop, lambda channel: foreign.create(job, channel), syscalls.CLONE_NEWNS)

    def _pid_namespace(self, container: Container, sandbox: Sandbox) -> str | None:
        if sandbox.spec.host_pid:
            return None
        if container.own_pid_namespace:
            return ""
        pid = sandbox.pause_pid if sandbox.pause_fd >= 0 else self.held[container.spec.pid_target].state.pid
        return f"/proc/{pid}/ns/pid"

    def _shared_processes(self, spec: ContainerSpec, sandbox: Sandbox) -> int:
        """A pidfd whose PID namespace the container joins, -1 for none. ValueError if its target does not run."""
        if sandbox.spec.host_pid:
            return -1
        if not spec.pid_target or sandbox.pause_fd >= 0:
            return sandbox.pause_fd
        target = self.held.get(spec.pid_target)
        if target is None or target.state.state != "running":
            raise ValueError(f"container {spec.pid_target}, whose processes are to be shared, does not run")
        return target.pidfd
