"""The agent's hold on the keeper: one socket, requests answered in any order, events as they happen.

Everything is driven by the loop's reader and writer callbacks, so there is no task to supervise. A lost keeper is
reconnected to by a timer; requests made meanwhile wait for it, and those that were under way are made again, since all
are idempotent but exec and attach, which fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.nodeagent.runtime.model import (
    ContainerSpec,
    ContainerState,
    ContainerStats,
    InterfaceStats,
    Resources,
    SandboxSpec,
    SandboxState,
    decode,
    encode,
)
from services.nodeagent.runtime.sessions import AttachSession, ExecSession
from services.nodeagent.runtime.wire import MAX_FDS, Unpacker, pack
from shared.errors import RuntimeFailure

Numbers = list[int]  # aliases, because KeeperClient.list hides the built-in inside the class
Words = list[str]
Interfaces = list[InterfaceStats]
Build = Callable[[Any, Numbers], Any]

REQUEST_TIMEOUT_S = 60.0
CHECKPOINT_TIMEOUT_S = 600.0
RECONNECT_FIRST_S = 0.02
RECONNECT_MAX_S = 1.0


class StartError(RuntimeFailure):
    """A process could not be started; `exit_code` is 127 (not found), 126 (not executable) or 128 (its setup failed).

    The container is listed as exited with the same code and message.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class KeeperLost(RuntimeFailure):
    """The keeper went away before it answered; what was asked for may or may not have happened."""


class UnknownId(RuntimeFailure):
    """The keeper holds no sandbox, container or session of that id."""


class NotRunning(RuntimeFailure):
    """The container exists, but the call needs it to be running."""


class Impossible(RuntimeFailure):
    """The container is of a kind for which the call does not exist."""


_ERRORS: dict[str, type[RuntimeFailure]] = {
    "unknown": UnknownId,
    "not_running": NotRunning,
    "impossible": Impossible,
}


def _error(error: dict[str, Any]) -> RuntimeFailure:
    if error.get("kind") == "start":
        return StartError(error["message"], int(error.get("exit_code", 128)))
    return _ERRORS.get(error.get("kind", ""), RuntimeFailure)(error["message"])


class KeeperClient:
    """The keeper of one node. Make it with `connect`.

    `on_exit(state)` is called for every container that has run and ends, and again for each ended container after a
    reconnection: it must be idempotent. Whether the kernel killed for memory is in that state (`oom_killed`), and for
    a container that goes on in its stats (`oom_kills`). `on_reconnect()` is called after the keeper was away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._unpacker = Unpacker()
        self._output = bytearray()
        self._ids = itertools.count(1)
        self._pending: dict[int, tuple[asyncio.Future[Any], Build]] = {}
        self._execs: dict[int, ExecSession] = {}
        self._up = asyncio.Event()
        self._closed = False
        self._was_connected = False
        self._retry: asyncio.TimerHandle | None = None
        self._delay = RECONNECT_FIRST_S
        self.on_exit: Callable[[ContainerState], None] | None = None
        self.on_reconnect: Callable[[], None] | None = None

    @classmethod
    async def connect(cls, path: Path | str, *, timeout_s: float = 10.0) -> KeeperClient:
        """Connect, waiting up to `timeout_s` for the keeper to appear. RuntimeFailure if it does not."""
        client = cls(Path(path))
        client._attempt()
        try:
            await client._request("hello", {}, timeout_s=timeout_s)
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._lose(KeeperLost("the connection to the keeper was closed"))

    @property
    def connected(self) -> bool:
        return self._socket is not None

    async def __aenter__(self) -> KeeperClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxState:
        """Make the pod's namespaces and group; idempotent by id."""
        return decode(SandboxState, await self._request("create_sandbox", {"spec": encode(spec)}))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """End and remove the sandbox with every container in it; an unknown id is no error."""
        await self._request("remove_sandbox", {"id": sandbox_id})

    async def start_container(self, spec: ContainerSpec) -> ContainerState:
        """Start, and return when its program runs. Idempotent by id: a known container is not started again.

        StartError if the program could not be executed or its surroundings not be made.
        """
        return decode(ContainerState, await self._request("start_container", {"spec": encode(spec)}))

    async def check_checkpoint(self, container_id: str) -> None:
        """Impossible, with the reason, for a running container that `checkpoint_container` would refuse."""
        await self._request("check_checkpoint", {"id": container_id})

    async def checkpoint_container(self, container_id: str, images: str) -> None:
        """Write the processes of a paused container to a directory; they stay paused. RuntimeFailure says why not."""
        await self._request(
            "checkpoint_container", {"id": container_id, "images": images}, timeout_s=CHECKPOINT_TIMEOUT_S
        )

    async def restore_container(self, spec: ContainerSpec, images: str, *, frozen: bool = False) -> ContainerState:
        """Like `start_container`, with the processes that `checkpoint_container` wrote to a directory; `frozen` ones
        wait for `resume`."""
        args = {"spec": encode(spec), "images": images, "frozen": frozen}
        return decode(ContainerState, await self._request("restore_container", args, timeout_s=CHECKPOINT_TIMEOUT_S))

    async def signal(self, container_id: str, signum: int, *, everyone: bool = False) -> None:
        """Signal the first process, or all of the container's. An exited container is no error."""
        await self._request("signal", {"id": container_id, "signum": signum, "everyone": everyone})

    async def remove_container(self, container_id: str) -> None:
        """Kill what is left of it and forget it; its log stays. An unknown id is no error."""
        await self._request("remove_container", {"id": container_id})

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        await self._request("update_resources", {"id": container_id, "resources": encode(resources)})

    async def update_sandbox_resources(self, sandbox_id: str, resources: Resources) -> None:
        await self._request("update_sandbox_resources", {"id": sandbox_id, "resources": encode(resources)})

    async def pause(self, container_id: str) -> None:
        """Freeze all its processes."""
        await self._request("pause", {"id": container_id})

    async def resume(self, container_id: str) -> None:
        await self._request("resume", {"id": container_id})

    async def list(self) -> tuple[list[SandboxState], list[ContainerState]]:
        """Everything the keeper holds, also what is only half made or has ended."""
        result = await self._request("list", {})
        return (
            [decode(SandboxState, item) for item in result["sandboxes"]],
            [decode(ContainerState, item) for item in result["containers"]],
        )

    async def stats(self, container_id: str) -> ContainerStats:
        return decode(ContainerStats, await self._request("stats", {"id": container_id}))

    async def stats_all(self) -> dict[str, ContainerStats]:
        """The counters of all running containers, in one round trip."""
        result = await self._request("stats_all", {})
        return {key: decode(ContainerStats, value) for key, value in result.items()}

    async def sandbox_stats(self, sandbox_id: str) -> tuple[ContainerStats, Interfaces]:
        """The counters of the pod's group and of its network interfaces."""
        result = await self._request("sandbox_stats", {"id": sandbox_id})
        interfaces = [decode(InterfaceStats, item) for item in result["interfaces"]]
        return decode(ContainerStats, result["group"]), interfaces

    async def exec(
        self,
        container_id: str,
        argv: Words,
        *,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        tty: bool = False,
        stdin: bool = False,
        uid: int | None = None,
        gid: int | None = None,
        groups: Numbers | None = None,
        width: int = 0,
        height: int = 0,
    ) -> ExecSession:
        """Start a process in a running container. What is None is as the container's own process has it; `env` adds
        to the container's environment. StartError, UnknownId, NotRunning."""
        args = {
            "id": container_id,
            "argv": argv,
            "env": env or {},
            "cwd": cwd,
            "tty": tty,
            "stdin": stdin,
            "uid": uid,
            "gid": gid,
            "groups": groups,
            "width": width,
            "height": height,
        }
        session: ExecSession = await self._request("exec", args, build=self._build_exec, discard=self._discard_exec)
        return session

    async def attach(self, container_id: str, *, stdin: bool = True) -> AttachSession:
        """Join the container's own streams from now on; `stdin` is given only if the container was started with it."""

        def build(result: Any, fds: Numbers) -> AttachSession:
            return AttachSession(result["session"], dict(zip(result["streams"], fds, strict=True)), self._post)

        session: AttachSession = await self._request(
            "attach", {"id": container_id, "stdin": stdin}, build=build, discard=AttachSession.close
        )
        return session

    def _build_exec(self, result: Any, fds: Numbers) -> ExecSession:
        streams = dict(zip(result["streams"], fds, strict=True))
        session = ExecSession(result["session"], result["pid"], streams, self._post)
        self._execs[session.session] = session
        return session

    @staticmethod
    def _discard_exec(session: ExecSession) -> None:
        session.close()

    async def _request(
        self,
        call: str,
        args: dict[str, Any],
        *,
        build: Build = lambda result, fds: result,
        discard: Callable[[Any], None] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    await self._up.wait()
                    try:
                        return await self._ask(call, args, build, discard)
                    except KeeperLost:
                        if discard is not None or self._closed:
                            raise
        except TimeoutError:
            raise RuntimeFailure(f"the keeper at {self._path} did not answer {call} within {timeout_s:g} s") from None

    async def _ask(self, call: str, args: dict[str, Any], build: Build, discard: Callable[[Any], None] | None) -> Any:
        """One try; an answer that comes after the caller was cancelled is discarded."""
        future: asyncio.Future[Any] = self._loop.create_future()
        number = next(self._ids)
        self._pending[number] = (future, build)
        try:
            self._send({"id": number, "call": call, "args": args})
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._abandon(future, discard)
            raise

    @staticmethod
    def _abandon(future: asyncio.Future[Any], discard: Callable[[Any], None] | None) -> None:
        def settle(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and done.exception() is None and discard is not None:
                discard(done.result())

        future.add_done_callback(settle)

    def _post(self, call: str, args: dict[str, Any]) -> None:
        if self._socket is not None:
            self._send({"id": 0, "call": call, "args": args})

    def _send(self, message: dict[str, Any]) -> None:
        if self._socket is None:
            raise KeeperLost("the keeper went away")
        self._output += pack(message)
        self._flush()

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._output:
                sent = self._socket.send(self._output)
                del self._output[:sent]
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._flush)
            return
        except OSError:
            self._disconnected()
            return
        self._loop.remove_writer(self._socket.fileno())

    def _attempt(self) -> None:
        self._retry = None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.setblocking(False)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            self._retry = self._loop.call_later(self._delay, self._attempt)
            self._delay = min(self._delay * 2, RECONNECT_MAX_S)
            return
        self._delay = RECONNECT_FIRST_S
        self._socket = connection
        self._unpacker = Unpacker()
        self._loop.add_reader(connection.fileno(), self._on_readable)
        self._up.set()
        if self._was_connected:
            self._catch_up()
        self._was_connected = True

    def _catch_up(self) -> None:
        def build(result: Any, fds: Numbers) -> None:
            for item in result["containers"]:
                if item["state"] == "exited" and self.on_exit is not None:
                    self.on_exit(decode(ContainerState, item))
            if self.on_reconnect is not None:
                self.on_reconnect()

        number = next(self._ids)
        future: asyncio.Future[Any] = self._loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._pending[number] = (future, build)
        self._send({"id": number, "call": "list", "args": {}})

    def _on_readable(self) -> None:
        if self._socket is None:
            return
        try:
            data, fds, _flags, _address = socket.recv_fds(self._socket, 262144, MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._disconnected()
            return
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            for message, taken in self._unpacker.feed(data, fds):
                self._dispatch(message, taken)
        except ValueError:
            self._disconnected()

    def _dispatch(self, message: dict[str, Any], fds: Numbers) -> None:
        event = message.get("event")
        if event == "exit":
            if self.on_exit is not None:
                self.on_exit(decode(ContainerState, message["state"]))
        elif event == "exec_exit":
            session = self._execs.pop(message["session"], None)
            if session is not None:
                session.finish(message["exit_code"])
        else:
            future, build = self._pending.pop(message.get("id", 0), (None, None))
            if future is None or build is None:
                for fd in fds:
                    os.close(fd)
            elif "error" in message:
                future.set_exception(_error(message["error"]))
            else:
                future.set_result(build(message["result"], fds))

    def _disconnected(self) -> None:
        self._lose(KeeperLost("the keeper went away"))
        if not self._closed and self._retry is None:
            self._retry = self._loop.call_later(self._delay, self._attempt)

    def _lose(self, reason: KeeperLost) -> None:
        connection, self._socket = self._socket, None
        self._up.clear()
        if connection is not None:
            self._loop.remove_reader(connection.fileno())
            self._loop.remove_writer(connection.fileno())
            connection.close()
        self._output.clear()
        for fd in self._unpacker.take_fds():
            with contextlib.suppress(OSError):
                os.close(fd)
        pending, self._pending = self._pending, {}
        for future, _build in pending.values():
            future.set_exception(reason)
            future.exception()
        sessions, self._execs = self._execs, {}
        for session in sessions.values():
            session.finish(reason)
