"""The keeper's calls: what each request of the agent means for sandboxes, containers and sessions.

A call either returns its result, or takes the `Answer` and gives it later; a failure of either kind becomes an error
with a `kind` that the client turns back into its exception.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from services.nodeagent.keeper import namespaces
from services.nodeagent.keeper.births import Birth
from services.nodeagent.keeper.container import Container
from services.nodeagent.keeper.containers import RETRY_FIRST_S, RETRY_MAX_S, Containers
from services.nodeagent.keeper.loop import Loop
from services.nodeagent.keeper.orphans import Orphans
from services.nodeagent.keeper.sandboxes import Sandbox, Sandboxes
from services.nodeagent.keeper.server import Connection, Server
from services.nodeagent.keeper.sessions import Opened, Sessions
from services.nodeagent.keeper.spares import Spares
from services.nodeagent.keeper.store import Store
from services.nodeagent.keeper.zygote import Zygote
from services.nodeagent.runtime.model import (
    ContainerSpec,
    ContainerStats,
    Resources,
    SandboxSpec,
    decode,
    encode,
)
from shared.kernel import mounts, netns
from shared.kernel.cgroups.groups import Groups

PROTOCOL = 1
SANDBOX_REMOVAL_LIMIT_S = 20.0

Args = dict[str, Any]


class Refused(Exception):
    """A request that cannot be done; `kind` tells the client which exception it is."""

    def __init__(self, kind: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.extra = extra


class Answer:
    """The one answer to one request."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number

    def give(self, result: Any, fds: list[int] | None = None) -> None:
        if self._number:
            self._connection.send({"id": self._number, "result": result}, fds)

    def refuse(self, kind: str, message: str, **extra: Any) -> None:
        if self._number:
            self._connection.send({"id": self._number, "error": {"kind": kind, "message": message, **extra}})


class Later:
    """Returned by a call that gives its answer itself."""


LATER = Later()


class Keeper:
    """One node's keeper: `directory` holds its socket and its records."""

    def __init__(self, loop: Loop, directory: str, socket_path: str, groups: Groups) -> None:
        self._loop = loop
        self._groups = groups
        self.zygote = Zygote()
        spares = Spares(loop, namespaces.furnish_spare)
        self.sandboxes = Sandboxes(Store(directory, "sandboxes"), groups, spares)
        self.containers = Containers(loop, Store(directory, "containers"), groups, self.sandboxes, self.zygote)
        self.sessions = Sessions(loop, groups, self.sandboxes, self.containers)
        self.server = Server(loop, socket_path, self._handle)
        self.containers.on_exit = self._on_exit
        self.sessions.on_exec_end = self._on_exec_end
        self.server.on_drop = self.sessions.drop_owner
        self._orphans = Orphans(loop, self._may_have_orphans)
        self._removing: set[str] = set()

    def start(self, terminals: Mapping[str, int]) -> None:
        """Take up what an earlier keeper left and listen; `terminals` are masters of terminals by container id."""
        mounts.ensure_shared_directory(netns.DIRECTORY)
        self.sandboxes.recover()
        self.containers.recover(terminals)
        self._orphans.watch()
        self.server.listen()

    def _may_have_orphans(self) -> bool:
        foreign = any(container.spec.runtime for container in self.containers.held.values())
        return foreign or any(sandbox.spec.host_pid for sandbox in self.sandboxes.held.values())

    def _handle(self, connection: Connection, message: Args) -> None:
        answer = Answer(connection, int(message.get("id", 0)))
        call: Callable[[Connection, Answer, Args], Any] | None = getattr(self, f"call_{message.get('call')}", None)
        if call is None:
            answer.refuse("unsupported", f"the keeper knows no call {message.get('call')!r}")
            return
        try:
            result = call(connection, answer, message.get("args", {}))
        except Refused as exc:
            answer.refuse(exc.kind, exc.message, **exc.extra)
        except (ValueError, TypeError, KeyError) as exc:
            answer.refuse("invalid", f"{message['call']}: {exc}")
        except OSError as exc:
            about = f": {exc.filename}" if exc.filename else ""
            answer.refuse("failed", f"{message['call']}: {exc.strerror or exc}{about}")
        else:
            if result is not LATER:
                answer.give(result)

    def _on_exit(self, container: Container) -> None:
        self.sessions.forget_container(container)
        self.server.broadcast({"event": "exit", "state": encode(container.state)})

    def _on_exec_end(self, owner: object, number: int, exit_code: int, signum: int) -> None:
        if isinstance(owner, Connection):
            owner.send({"event": "exec_exit", "session": number, "exit_code": exit_code, "signal": signum})

    def _sandbox(self, sandbox_id: str) -> Sandbox:
        sandbox = self.sandboxes.held.get(sandbox_id)
        if sandbox is None:
            raise Refused("unknown", f"sandbox {sandbox_id!r} is not known")
        return sandbox

    def _container(self, container_id: str) -> Container:
        container = self.containers.held.get(container_id)
        if container is None:
            raise Refused("unknown", f"container {container_id!r} is not known")
        return container

    def _running(self, container_id: str) -> Container:
        container = self._container(container_id)
        if container.state.state != "running":
            raise Refused("not_running", f"container {container_id} is not running but {container.state.state}")
        return container

    def call_hello(self, _connection: Connection, _answer: Answer, _args: Args) -> Any:
        return {"protocol": PROTOCOL, "pid": os.getpid(), "cgroups": self._groups.layout}

    def call_list(self, _connection: Connection, _answer: Answer, _args: Args) -> Any:
        return {
            "sandboxes": [encode(sandbox.state) for sandbox in self.sandboxes.held.values()],
            "containers": [encode(container.state) for container in self.containers.held.values()],
        }

    def call_create_sandbox(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        return encode(self.sandboxes.create(decode(SandboxSpec, args["spec"])))

    def call_update_sandbox_resources(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        sandbox = self._sandbox(args["id"])
        self.sandboxes.update_resources(sandbox.spec.id, decode(Resources, args["resources"]))
        return None

    def call_sandbox_stats(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        sandbox = self._sandbox(args["id"])
        group = self._stats(sandbox.spec.id, sandbox.spec.cgroup)
        return {"group": group, "interfaces": [encode(item) for item in self.sandboxes.interfaces(args["id"])]}

    def call_remove_sandbox(self, _connection: Connection, answer: Answer, args: Args) -> Any:
        sandbox_id = args["id"]
        sandbox = self.sandboxes.held.get(sandbox_id)
        if sandbox is None:
            return None
        self._removing.add(sandbox_id)
        members = [item for item in self.containers.held.values() if item.spec.sandbox_id == sandbox_id]
        waiting = len(members)
        stuck: list[str] = []

        def one_gone(container: Container, gone: bool) -> None:
            nonlocal waiting
            waiting -= 1
            if not gone:
                stuck.append(container.spec.id)
            if not waiting:
                self._finish_sandbox(sandbox, stuck, answer)

        for container in members:
            self.containers.remove(container, lambda gone, item=container: one_gone(item, gone))  # type: ignore[misc]
        if not members:
            self._finish_sandbox(sandbox, stuck, answer)
        return LATER

    def _finish_sandbox(self, sandbox: Sandbox, stuck: list[str], answer: Answer) -> None:
        self._removing.discard(sandbox.spec.id)
        if stuck:
            answer.refuse("failed", f"processes of containers {', '.join(stuck)} do not end")
            return
        try:
            self.sandboxes.discard(sandbox.spec.id)
        except OSError as exc:
            answer.refuse("failed", f"sandbox {sandbox.spec.id}: {exc}")
            return
        self._remove_group(sandbox.spec.cgroup, RETRY_FIRST_S, time.monotonic() + SANDBOX_REMOVAL_LIMIT_S, answer)

    def _remove_group(self, cgroup: str, delay: float, deadline: float, answer: Answer) -> None:
        if self.sandboxes.remove_group(cgroup):
            answer.give(None)
        elif time.monotonic() < deadline:
            again = min(delay * 2, RETRY_MAX_S)
            self._loop.after(delay, lambda: self._remove_group(cgroup, again, deadline, answer))
        else:
            answer.refuse("failed", f"processes of group {cgroup} do not end")

    def call_start_container(self, _connection: Connection, answer: Answer, args: Args) -> Any:
        spec, sandbox = self._ready_for(args)
        self.containers.start(spec, sandbox, lambda container: self._answer_start(answer, container))
        if spec.runtime or sandbox.spec.host_pid:  # looking through all containers is not for every start
            self._orphans.watch()
        return LATER

    def call_restore_container(self, _connection: Connection, answer: Answer, args: Args) -> Any:
        spec, sandbox = self._ready_for(args)
        images, frozen = str(args["images"]), bool(args.get("frozen"))
        self.containers.restore(
            spec, sandbox, images, lambda container: self._answer_start(answer, container), frozen=frozen
        )
        self._orphans.watch()
        return LATER

    def call_check_checkpoint(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        container = self._running(args["id"])
        try:
            self.containers.check(container, self._sandbox(container.spec.sandbox_id))
        except ValueError as exc:
            raise Refused("impossible", str(exc)) from exc
        return None

    def call_checkpoint_container(self, _connection: Connection, answer: Answer, args: Args) -> Any:
        container = self._running(args["id"])

        def done(problem: str) -> None:
            if problem:
                answer.refuse("failed", problem)
            else:
                answer.give(None)

        sandbox = self._sandbox(container.spec.sandbox_id)
        self.containers.checkpoint(container, sandbox, str(args["images"]), done)
        return LATER

    def _ready_for(self, args: Args) -> tuple[ContainerSpec, Sandbox]:
        spec = decode(ContainerSpec, args["spec"])
        sandbox = self._sandbox(spec.sandbox_id)
        if sandbox.state.state != "ready" or spec.sandbox_id in self._removing:
            raise Refused("failed", f"sandbox {spec.sandbox_id} is not ready: {sandbox.state.message or 'it is going'}")
        return spec, sandbox

    @staticmethod
    def _answer_start(answer: Answer, container: Container) -> None:
        state = container.state
        if state.state == "exited" and not state.started_at:
            answer.refuse("start", state.message, exit_code=state.exit_code)
        else:
            answer.give(encode(state))

    def call_signal(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        container = self._container(args["id"])
        self.containers.signal(container, int(args["signum"]), everyone=bool(args.get("everyone")))
        return None

    def call_remove_container(self, _connection: Connection, answer: Answer, args: Args) -> Any:
        container = self.containers.held.get(args["id"])
        if container is None:
            return None

        def done(gone: bool) -> None:
            if gone:
                answer.give(None)
            else:
                answer.refuse("failed", f"processes of container {container.spec.id} do not end")

        self.containers.remove(container, done)
        return LATER

    def call_update_resources(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        self.containers.update_resources(self._running(args["id"]), decode(Resources, args["resources"]))
        return None

    def call_pause(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        self.containers.freeze(self._running(args["id"]), frozen=True)
        return None

    def call_resume(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        self.containers.freeze(self._running(args["id"]), frozen=False)
        return None

    def _stats(self, item_id: str, cgroup: str) -> Args:
        counters = encode(self._groups.counters(cgroup))
        return encode(ContainerStats(id=item_id, time=time.time(), **counters))

    def call_stats(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        container = self._running(args["id"])
        return self._stats(container.spec.id, container.cgroup)

    def call_stats_all(self, _connection: Connection, _answer: Answer, _args: Args) -> Any:
        result = {}
        for container in self.containers.held.values():
            if container.state.state == "running":
                with contextlib.suppress(FileNotFoundError):
                    result[container.spec.id] = self._stats(container.spec.id, container.cgroup)
        return result

    def call_exec(self, connection: Connection, answer: Answer, args: Args) -> Any:
        container = self._running(args["id"])

        def done(opened: Opened | None, birth: Birth) -> None:
            if opened is None:
                answer.refuse("start", birth.message, exit_code=birth.exit_code)
            else:
                answer.give({"session": opened.number, "pid": opened.pid, "streams": opened.streams}, opened.fds)
                if not connection.open:
                    self.sessions.signal_exec(opened.number, 9)

        self.sessions.exec(connection, container, self._sandbox(container.spec.sandbox_id), args, done)
        return LATER

    def call_exec_signal(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        self.sessions.signal_exec(int(args["session"]), int(args["signum"]))
        return None

    def call_attach(self, connection: Connection, answer: Answer, args: Args) -> Any:
        opened = self.sessions.attach(connection, self._running(args["id"]), stdin=bool(args.get("stdin")))
        answer.give({"session": opened.number, "streams": opened.streams}, opened.fds)
        return LATER

    def call_attach_stdin_closed(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        self.sessions.close_stdin(int(args["session"]))
        return None

    def call_detach(self, _connection: Connection, _answer: Answer, args: Args) -> Any:
        self.sessions.detach(int(args["session"]))
        return None
