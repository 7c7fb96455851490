"""exec, attach, logs and port-forward: what a client's bytes over the bus meet on the node.

Channels are Kubernetes': 0 stdin, 1 stdout, 2 stderr, 4 terminal size, 255 end of a channel. The outcome is the
Status that closes the stream. Source: KEP-4006, remotecommand's v5 protocol.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from services.nodeagent.draining import drain
from services.nodeagent.layout import sandbox_id
from services.nodeagent.logs import LogOptions, send_log
from services.nodeagent.pods import specs
from services.nodeagent.pods.manager import PodManager
from services.nodeagent.pods.records import ContainerRecord
from services.nodeagent.pods.worker import PodWorker
from services.nodeagent.runtime.pipes import ReadEnd
from services.nodeagent.runtime.sessions import AttachSession, ExecSession, Session
from shared.bus.streams import BusStream
from shared.errors import BadRequest, InternalError, NotFound, RuntimeFailure
from shared.kernel import netns

log = logging.getLogger(__name__)

STDIN, STDOUT, STDERR, RESIZE, CLOSE = 0, 1, 2, 4, 255
CONNECT_LIMIT_S = 10.0
CHUNK = 65536

SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}

Handler = Callable[[dict[str, Any], BusStream], Awaitable[None]]


class Sessions(Protocol):
    """The part of the runtime that opens sessions."""

    async def exec(
        self, container_id: str, argv: list[str], *, tty: bool = False, stdin: bool = False
    ) -> ExecSession: ...

    async def attach(self, container_id: str, *, stdin: bool = True) -> AttachSession: ...


class Streams:
    """The handlers of the agent's StreamServer."""

    def __init__(self, manager: PodManager, runtime: Sessions, node: str) -> None:
        self._manager = manager
        self._runtime = runtime
        self._node = node

    def handlers(self) -> dict[str, Handler]:
        return {"exec": self.exec, "attach": self.attach, "logs": self.logs, "portforward": self.port_forward}

    async def exec(self, params: dict[str, Any], stream: BusStream) -> None:
        """Run a command in a running container."""
        worker = self._worker(params)
        command = [str(word) for word in params.get("command") or ()]
        if not command:
            raise BadRequest("you must specify at least 1 command for the container")
        container = await _running(worker, params, stream)
        if container.suspended:
            raise BadRequest(f'container "{container.name}" is suspended: `wherry pod resume {params["pod"]}` first')
        try:
            session = await self._runtime.exec(
                container.container_id, command, tty=bool(params.get("tty")), stdin=bool(params.get("stdin"))
            )
        except RuntimeFailure as exc:
            raise InternalError(f"error executing command in container: {exc}") from exc
        async with session:
            code = await _attend(session, stream, session.wait)
        await stream.close(SUCCESS if code == 0 else _exit_status(code))

    async def attach(self, params: dict[str, Any], stream: BusStream) -> None:
        """Join the streams of a running container until it ends."""
        worker = self._worker(params)
        container = await _running(worker, params, stream)
        try:
            session = await self._runtime.attach(container.container_id, stdin=bool(params.get("stdin")))
        except RuntimeFailure as exc:
            raise InternalError(f"error attaching to container: {exc}") from exc
        async with session:
            await _attend(session, stream, None)
        await stream.close(SUCCESS)

    async def logs(self, params: dict[str, Any], stream: BusStream) -> None:
        """Send a container's log."""
        worker = self._worker(params)
        name = _container_name(worker, params)
        container = worker.record.container(name)
        options = LogOptions.of(params, datetime.now(UTC))
        attempt = container.attempt - 1 if params.get("previous") else container.attempt
        path = worker.setting.layout.log(name, max(attempt, 0))
        if params.get("previous") and (attempt < 0 or not path.parent.is_dir()):
            raise BadRequest(f'previous terminated container "{name}" in pod "{params["pod"]}" not found')
        if attempt < 0:
            reason = _waiting_reason(worker, name)
            raise BadRequest(f'container "{name}" in pod "{params["pod"]}" is waiting to start: {reason}')
        identity = container.container_id
        with worker.exits() as exits:
            await stream.accept()
            await send_log(
                path,
                options,
                lambda data: stream.send(STDOUT, data),
                lambda: bool(
                    params.get("previous")
                    or container.container_id != identity
                    or container.termination is not None
                    or worker.done
                    or stream.closed
                ),
                exits,
            )
        await stream.close(SUCCESS)

    async def port_forward(self, params: dict[str, Any], stream: BusStream) -> None:
        """Connect to a port inside the pod's network namespace."""
        worker = self._worker(params)
        record, port = worker.record, int(params["port"])
        if not record.sandbox_ready:
            raise BadRequest(f'unable to do port forwarding: pod "{params["pod"]}" is not running')
        path = ""
        if not specs.is_host_network(worker.pod):
            name = worker.setting.layout.node.netns_name(sandbox_id(record.uid, record.sandbox_attempt))
            path = netns.path_of(name)
        await relay_to("127.0.0.1", port, path, f"inside namespace of pod {params['pod']}", stream)

    def _worker(self, params: Mapping[str, Any]) -> PodWorker:
        worker = self._manager.find(params["namespace"], params["pod"], params.get("uid") or "")
        if worker is None:
            raise NotFound(f'pods "{params["pod"]}" not found on node {self._node}')
        return worker


def _container_name(worker: PodWorker, params: Mapping[str, Any]) -> str:
    name = str(params.get("container") or worker.pod["spec"]["containers"][0]["name"])
    if specs.container_spec(worker.pod, name) is None:
        raise BadRequest(f"container {name} is not valid for pod {params['pod']}")
    return name


async def _running(worker: PodWorker, params: Mapping[str, Any], stream: BusStream) -> ContainerRecord:
    name = _container_name(worker, params)
    container = worker.record.container(name)
    # Clients whose upgrade fails try an older protocol and report the failure of that one, so they are let in first.
    await stream.accept()
    if not container.running:
        raise BadRequest(f'container not found ("{name}")')
    return container


def _waiting_reason(worker: PodWorker, name: str) -> str:
    status = worker.container_status(name)
    waiting = status["state"].get("waiting") or {}
    text = waiting.get("message") or waiting.get("reason") or "ContainerCreating"
    return "trying and failing to pull image" if "Image" in waiting.get("reason", "") else str(text)


def _exit_status(code: int) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def _attend(session: Session, stream: BusStream, wait: Callable[[], Awaitable[int]] | None) -> int:
    """Carry bytes both ways until the process (`wait`), or without it the output, ends; its exit code."""
    code = 0
    async with asyncio.TaskGroup() as group:
        outputs = [
            group.create_task(_output(end, channel, stream), name=f"output {channel}")
            for channel, end in ((STDOUT, session.stdout), (STDERR, session.stderr))
            if end is not None
        ]
        reader = group.create_task(_input(session, stream), name="input")
        if wait is not None:
            code = await wait()
            await drain(session)
        for task in outputs:
            await task
        reader.cancel()
    return code


async def _output(end: ReadEnd, channel: int, stream: BusStream) -> None:
    while data := await end.read(CHUNK):
        await stream.send(channel, data)


async def _input(session: Session, stream: BusStream) -> None:
    async for channel, data in stream:
        if channel == STDIN and session.stdin is not None:
            await session.stdin.write(data)
        elif channel == RESIZE:
            size = _size(data)
            if size is not None:
                session.resize(*size)
        elif channel == CLOSE and data[:1] == bytes([STDIN]) and session.stdin is not None:
            _end_input(session)
    # the client has left: end the process and, with its pipes, the tasks that read them
    session.close_streams()
    if isinstance(session, ExecSession):
        session.kill()


def _end_input(session: Session) -> None:
    if isinstance(session, AttachSession):
        session.close_stdin()
    elif session.stdin is not None:
        session.stdin.close()


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        size = json.loads(data)
        return int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError):
        return None


def _socket_in(path: str) -> socket.socket:
    """A TCP socket that belongs to the network namespace at `path`, or to the node's for ""."""
    if not path:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    else:
        with netns.enter(path):
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    return connection


async def relay_to(host: str, port: int, path: str, place: str, stream: BusStream) -> None:
    """Carry a stream to a TCP port as seen from the network namespace at `path` ("" for the node's own).

    InternalError, which names the `place`, if nothing can be reached there.
    """
    connection = await asyncio.to_thread(_socket_in, path)
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            await asyncio.get_running_loop().sock_connect(connection, (host, port))
    except (OSError, TimeoutError) as exc:
        connection.close()
        word = "connection refused" if isinstance(exc, ConnectionRefusedError) else str(exc) or "timed out"
        shown = "localhost" if host == "127.0.0.1" else host
        raise InternalError(f"failed to connect to {shown}:{port} {place}: {word}") from exc
    with connection:
        await stream.accept()
        await _relay(connection, stream)
    await stream.close(SUCCESS)


async def _relay(connection: socket.socket, stream: BusStream) -> None:
    loop = asyncio.get_running_loop()

    async def outward() -> None:
        while data := await loop.sock_recv(connection, CHUNK):
            await stream.send(STDOUT, data)

    async def inward() -> None:
        async for channel, data in stream:
            if channel == STDIN:
                await loop.sock_sendall(connection, data)
            elif channel == CLOSE:
                connection.shutdown(socket.SHUT_WR)

    try:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(outward(), name="forward outward")
            writing = group.create_task(inward(), name="forward inward")
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                writing.cancel()
            elif stream.closed:
                reading.cancel()
    except* OSError as exc:
        log.debug("port forwarding ended: %s", exc)
