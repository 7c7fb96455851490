"""Carrying out one check: exec, httpGet, tcpSocket or grpc.

Network checks go from the node's namespace to the pod's address, as kubelet's do; each is a coroutine, never a thread.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.nodeagent import durations
from services.nodeagent.draining import drain
from services.nodeagent.probes import grpc, http
from services.nodeagent.runtime.sessions import ExecSession
from shared.errors import RuntimeFailure

OUTPUT_LIMIT = 10 << 10


@dataclass(frozen=True, slots=True)
class Target:
    """What is checked: a container, the pod's address, and the container's ports by name."""

    container_id: str
    address: str
    ports: Mapping[str, int]

    def port(self, value: object) -> int:
        """A port given by number or name. ValueError if the container has no port of that name."""
        if isinstance(value, int):
            return value
        if str(value) in self.ports:
            return self.ports[str(value)]
        if str(value).isdecimal():
            return int(str(value))
        raise ValueError(f'strconv.Atoi: parsing "{value}": invalid syntax')


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a check succeeded, and what to tell the user if not.

    `unknown`: it could not be carried out, which says nothing about the container. `output` is what a command printed,
    None for other checks.
    """

    success: bool
    message: str = ""
    unknown: bool = False
    output: str | None = None


class Executor(Protocol):
    """The part of the runtime that runs a command in a container."""

    async def exec(self, container_id: str, argv: list[str]) -> ExecSession: ...


class Prober:
    """Checks of all containers of the node."""

    def __init__(self, runtime: Executor) -> None:
        self._runtime = runtime

    async def check(self, action: Mapping[str, Any], target: Target, timeout_s: float) -> Outcome:
        """Carry out a probe's or lifecycle handler's action. Never raises but for cancellation."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._act(action, target, timeout_s)
        except TimeoutError:
            return Outcome(False, self._late(action, target, timeout_s))
        except (http.HttpFailure, grpc.GrpcFailure, OSError) as exc:
            return Outcome(False, str(exc))
        except (RuntimeFailure, ValueError) as exc:
            return Outcome(False, str(exc), unknown=True)

    async def _act(self, action: Mapping[str, Any], target: Target, timeout_s: float) -> Outcome:
        if action.get("exec"):
            return await self._exec(action["exec"].get("command") or [], target)
        if action.get("httpGet"):
            return await _http(action["httpGet"], target)
        if action.get("tcpSocket"):
            return await _tcp(action["tcpSocket"], target)
        if action.get("grpc"):
            service = action["grpc"].get("service") or ""
            await grpc.check(target.address, int(action["grpc"]["port"]), service, durations.text(timeout_s))
            return Outcome(True)
        return Outcome(False, "missing probe handler")

    async def _exec(self, command: Sequence[str], target: Target) -> Outcome:
        session = await self._runtime.exec(target.container_id, list(command))
        async with session:
            output = bytearray()

            async def collect(end: Any) -> None:
                while end is not None and (data := await end.read()):
                    output.extend(data[: OUTPUT_LIMIT - len(output)])

            async with asyncio.TaskGroup() as group:
                group.create_task(collect(session.stdout), name="probe stdout")
                group.create_task(collect(session.stderr), name="probe stderr")
                code = await session.wait()
                await drain(session)
        text = output.decode(errors="replace")
        return Outcome(code == 0, f"command '{' '.join(command)}' exited with {code}: {text}", output=text)

    @staticmethod
    def _late(action: Mapping[str, Any], target: Target, timeout_s: float) -> str:
        if action.get("exec"):
            command = " ".join(action["exec"].get("command") or ())
            return f'command timed out: "{command}" timed out after {durations.text(timeout_s)}'
        if action.get("httpGet"):
            url = _url(action["httpGet"], target)
            return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        if action.get("grpc"):
            return f"timeout: health rpc did not complete within {durations.text(timeout_s)}"
        tcp = action.get("tcpSocket") or {}
        return f"dial tcp {tcp.get('host') or target.address}:{target.port(tcp.get('port', 0))}: i/o timeout"


def _url(action: Mapping[str, Any], target: Target) -> str:
    host = action.get("host") or target.address
    host = f"[{host}]" if ":" in host else host
    path = action.get("path") or "/"
    scheme = str(action.get("scheme") or "HTTP").lower()
    return f"{scheme}://{host}:{target.port(action['port'])}{path if path.startswith('/') else '/' + path}"


async def _http(action: Mapping[str, Any], target: Target) -> Outcome:
    headers = [(header["name"], header.get("value") or "") for header in action.get("httpHeaders") or ()]
    answer = await http.get(_url(action, target), headers)
    if 200 <= answer.code < 400:
        return Outcome(True, answer.body.decode(errors="replace"))
    return Outcome(False, f"HTTP probe failed with statuscode: {answer.code}")


async def _tcp(action: Mapping[str, Any], target: Target) -> Outcome:
    host, port = action.get("host") or target.address, target.port(action["port"])
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as exc:
        word = "connection refused" if isinstance(exc, ConnectionRefusedError) else str(exc)
        return Outcome(False, f"dial tcp {host}:{port}: connect: {word}")
    writer.transport.abort()
    return Outcome(True)


def container_ports(spec: Mapping[str, Any]) -> dict[str, int]:
    """The container's named ports."""
    return {port["name"]: int(port["containerPort"]) for port in spec.get("ports") or () if port.get("name")}
