"""exec and attach of clients that speak SPDY/3.1: one stream for each of error, stdin, stdout, stderr and resize.

The client opens all of them and then waits; the outcome goes as a Status on the error stream (protocol v4). Older
versions of the protocol tell it as plain text, which no client of the last ten years needs.

Source: Kubernetes' remotecommand over SPDY (k8s.io/streaming, httpstream/spdy).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.apiserver.streaming import spdy
from services.apiserver.streaming.pipes import Pipe
from shared.bus.streams import BusStream
from shared.errors import StreamBroken
from shared.objects import json

log = logging.getLogger(__name__)

COMMAND_PROTOCOLS = ("v4.channel.k8s.io",)
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
OPEN_LIMIT_S = 30.0
"""How long the client may take to open its streams, as in Kubernetes."""
LEAVE_LIMIT_S = 10.0
PIECE = 64 * 1024


@dataclass(slots=True)
class CommandSession:
    """One command; `wanted` are the kinds of streams that the client will open."""

    pipe: Pipe
    stream: BusStream
    wanted: frozenset[str]
    _codec: spdy.Session = field(default_factory=spdy.Session)
    _kinds: dict[int, str] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _complete: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Carry both directions until the command ends or the client leaves."""
        try:
            async with asyncio.TaskGroup() as group:
                inward = group.create_task(self._inward(), name="client to node")
                group.create_task(self._outward(inward), name="node to client")
        except* (ConnectionResetError, StreamBroken, spdy.ProtocolError) as gone:
            log.debug("command ends: %s", gone.exceptions[0])
        finally:
            await self.stream.close()

    async def _inward(self) -> None:
        try:
            while (data := await self.pipe.receive()) is not None:
                for event in self._codec.feed(data):
                    await self._on_event(event)
        finally:
            # the client is gone: the agent's handler must learn it even when it is silent
            await self.stream.close()

    async def _on_event(self, event: spdy.Incoming) -> None:
        match event:
            case spdy.Opened(number, headers, finished):
                await self._on_opened(number, headers)
                if finished:
                    await self._on_data(number, b"", finished)
            case spdy.Received(number, data, finished):
                await self._on_data(number, data, finished)
            case spdy.Reset(number):
                await self._on_data(number, b"", True)
            case spdy.Pinged(number):
                await self.pipe.send(spdy.pong(number))

    async def _on_opened(self, number: int, headers: Mapping[str, str]) -> None:
        kind = headers.get("streamtype", "")
        if kind not in self.wanted or kind in self._numbers:
            await self.pipe.send(spdy.reset(number, spdy.REFUSED_STREAM))
            return
        await self.pipe.send(self._codec.reply(number))
        self._kinds[number], self._numbers[kind] = kind, number
        if self._numbers.keys() >= self.wanted:
            self._complete.set()

    async def _on_data(self, number: int, data: bytes, finished: bool) -> None:
        kind = self._kinds.get(number, "")
        if self.stream.closed:
            return
        if kind == "stdin":
            if data:
                await self.stream.send(STDIN, data)
            if finished:
                await self.stream.send(CLOSE, bytes((STDIN,)))
        elif kind == "resize":
            # sizes are JSON documents, a line each
            for line in data.splitlines():
                await self.stream.send(RESIZE, line)

    async def _outward(self, inward: asyncio.Task[None]) -> None:
        async with asyncio.timeout(OPEN_LIMIT_S):
            await self._complete.wait()
        outputs = {STDOUT: self._numbers.get("stdout"), STDERR: self._numbers.get("stderr")}
        try:
            async for channel, data in self.stream:
                number = outputs.get(channel)
                if number is not None:
                    for start in range(0, len(data), PIECE):
                        await self.pipe.send(spdy.data(number, data[start : start + PIECE]))
            status = self.stream.status or {"metadata": {}, "status": "Success"}
        except StreamBroken as exc:
            status = {"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500, "message": str(exc)}
        await self.pipe.send(spdy.data(self._numbers["error"], json.encode(status), finished=True))
        for number in outputs.values():
            if number is not None:
                await self.pipe.send(spdy.data(number, b"", finished=True))
        # The client reads what it was sent and leaves; a connection closed before that loses what it has not read yet.
        await asyncio.wait((inward,), timeout=LEAVE_LIMIT_S)
        inward.cancel()
