"""Answers over time: watches as lines of JSON and logs as bytes, in chunks, at the pace of the client."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Protocol

from services.apiserver import instruments, negotiation, render
from services.apiserver.http import answers
from services.apiserver.negotiation import Accepted
from services.apiserver.protocol import JSON, Event, Raw, Request, Stream, Watching
from shared.errors import NotAcceptable
from shared.objects.registry import Resource

# what is written before the client is given the chance to take some of it
PIECE_BYTES = 256 << 10


class Sink(Protocol):
    """Where chunks go: `is_full` tells that `drained` would have to wait."""

    chunked: bool

    @property
    def is_full(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    async def drained(self) -> None: ...


def watch_form(request: Request) -> Accepted:
    """The form of a watch's events: lines of JSON in any case; clients that prefer protobuf name JSON as well."""
    try:
        accepted = negotiation.accept(request.headers.get("accept", ""))
    except NotAcceptable:
        return Accepted(JSON)
    return Accepted(JSON, accepted.transformation, accepted.version)


class _Outlet:
    """The connection of a watcher that waits for events."""

    def __init__(self, sink: Sink, request: Request, resource: Resource, accepted: Accepted) -> None:
        self._sink = sink
        self._query = request.query
        self._resource = resource
        self._accepted = accepted
        self.form: Hashable = (accepted, request.query.get("includeObject"), sink.chunked)

    @property
    def is_full(self) -> bool:
        return self._sink.is_full

    def encode(self, events: Sequence[Event]) -> bytes:
        lines = [render.event(self._resource, one, self._accepted, self._query) for one in events]
        return _chunk(self._sink, lines[0] if len(lines) == 1 else b"".join(lines))

    def write(self, data: bytes) -> None:
        self._sink.write(data)

    async def drained(self) -> None:
        await self._sink.drained()


async def send_watch(sink: Sink, request: Request, outcome: Watching) -> None:
    """Send events until the watch ends: what was before it and what it is late with from here, the rest directly."""
    resource = outcome.resource
    accepted = watch_form(request)
    counter = instruments.WATCH_EVENTS.labels(resource.group, resource.version, resource.kind)
    running = instruments.LONG_RUNNING.labels("WATCH")
    running.inc()
    try:
        # a client waits for the headers to know that the watch stands
        sink.write(answers.streamed(request, Raw(b"", JSON), chunked=sink.chunked))
        outcome.attach(_Outlet(sink, request, resource, accepted))
        async for batch in outcome.batches:
            counter.inc(len(batch))
            for piece in _pieces(render.event(resource, one, accepted, request.query) for one in batch):
                sink.write(_chunk(sink, piece))
                if sink.is_full:
                    await sink.drained()
    finally:
        running.dec()
        outcome.close()
        _end(sink)


async def send_stream(sink: Sink, request: Request, outcome: Stream) -> None:
    """Send bytes until they end."""
    try:
        begun = Raw(b"", outcome.content_type, outcome.status, outcome.headers)
        sink.write(answers.streamed(request, begun, chunked=sink.chunked))
        async for data in outcome.chunks:
            if data:
                sink.write(_chunk(sink, data))
            if sink.is_full:
                await sink.drained()
        _end(sink)
    finally:
        if outcome.close is not None:
            await outcome.close()


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size > PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield piece[0] if len(piece) == 1 else b"".join(piece)


def _chunk(sink: Sink, data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if sink.chunked else data


def _end(sink: Sink) -> None:
    if sink.chunked:
        sink.write(answers.LAST_CHUNK)
