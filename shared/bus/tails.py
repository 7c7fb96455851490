"""The end of a stream, read message by message: it makes a snapshot that was taken while others wrote one moment of it.

nats-server sends the blocks of a stream one after the other, and what it stores meanwhile is in later blocks only in
part, while older revisions that were superseded meanwhile may be missing from earlier ones. Everything that was stored
since the snapshot began, read afterwards up to a message with nothing behind it, completes both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from shared.bus.consumer import Delivery, PullConsumer
from shared.bus.jetstream import BATCH, BATCH_COMMIT, BATCH_SEQUENCE, EXPECTED, MAX_BATCH, JetStream, Outgoing
from shared.bus.port import Bus
from shared.errors import BusError, RevisionConflict

SILENCE_S = 60.0
# batches of fillers before they are removed
PORTION = 50
_BATCH_HEADERS = (BATCH, BATCH_SEQUENCE, BATCH_COMMIT)

_encoder = msgspec.msgpack.Encoder()


class Entry(NamedTuple):
    """A message as it lies in a stream."""

    sequence: int
    subject: str
    headers: dict[str, str]
    data: bytes


_decoder = msgspec.msgpack.Decoder(list[Entry])


def encode(tail: list[Entry]) -> bytes:
    return _encoder.encode(tail)


def decode(data: bytes) -> list[Entry]:
    """BusError if the bytes are no tail."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as exc:
        raise BusError(f"the end of a stream cannot be read: {exc}") from exc


async def read_tail(bus: Bus, stream: str, start: int) -> list[Entry]:
    """Every message from sequence `start` on, until one has nothing behind it. BusError if the stream falls silent."""
    tail: list[Entry] = []
    end = asyncio.Event()

    def deliver(delivery: Delivery) -> None:
        if end.is_set():
            return
        tail.append(Entry(delivery.sequence, delivery.subject, dict(delivery.headers or {}), delivery.data))
        if delivery.pending == 0:
            end.set()

    def created(pending: int) -> None:
        if pending == 0:
            end.set()

    consumer = PullConsumer(bus, stream, [">"], start, deliver)
    try:
        async with asyncio.timeout(SILENCE_S), _beside(consumer.run(created)) as lost:
            waiting = asyncio.ensure_future(end.wait())
            await asyncio.wait((lost, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
    except TimeoutError as exc:
        raise BusError(f"the end of stream {stream} was not reached within {SILENCE_S:g} s") from exc
    if not end.is_set():
        raise BusError(f"stream {stream} could not be read to its end: {lost.result()}")
    return tail


async def replay(bus: Bus, config: dict[str, Any], tail: Iterable[Entry]) -> int:
    """Store the messages of a tail behind what the stream holds already, each at its own sequence; the last sequence.

    What was missing between them is made up by fillers, which are removed again. BusError if that does not come out.
    """
    jetstream = JetStream(bus)
    name = str(config["name"])
    last = int((await jetstream.stream_info(name))["state"]["last_seq"])
    filler = filler_of(config)
    is_filled = False
    for entry in tail:
        if entry.sequence <= last:
            continue
        while last + 1 < entry.sequence:
            last = await jetstream.publish(filler, b"")
            is_filled = True
        last = await _store(jetstream, entry)
        if last != entry.sequence:
            raise BusError(f"message {entry.sequence} of stream {name} was stored as {last}")
    if is_filled:
        await jetstream.api(f"STREAM.PURGE.{name}", {"filter": filler})
    return last


async def advance(bus: Bus, config: dict[str, Any], count: int) -> int:
    """Leave out at least the next `count` sequences of a stream that takes batches; the last one that is left out."""
    jetstream = JetStream(bus)
    name = str(config["name"])
    filler = filler_of(config)
    last = int((await jetstream.stream_info(name))["state"]["last_seq"])
    end = last + count
    # a limit would remove the fillers one by one, which takes a hundred times as long
    current = (await jetstream.stream_info(name))["config"]
    await jetstream.api(f"STREAM.UPDATE.{name}", {**current, "max_msgs_per_subject": -1})
    while last < end:
        for _ in range(min(PORTION, -(-(end - last) // MAX_BATCH))):
            last = await jetstream.publish_batch([Outgoing(filler, b"", {})] * MAX_BATCH, timeout=30.0)
        await jetstream.api(f"STREAM.PURGE.{name}", {"filter": filler}, timeout=30.0)
    await jetstream.api(f"STREAM.UPDATE.{name}", current)
    return last


def filler_of(config: dict[str, Any]) -> str:
    """A subject that a stream captures and nobody reads: in STATE one of a barrier."""
    subjects = sorted(config["subjects"], key=lambda subject: not subject.endswith(".*"))
    return f"{subjects[0].removesuffix('>').removesuffix('*')}restored"


async def _store(jetstream: JetStream, entry: Entry) -> int:
    headers = {name: value for name, value in entry.headers.items() if name not in _BATCH_HEADERS}
    try:
        return await jetstream.publish(entry.subject, entry.data, headers)
    except RevisionConflict:
        # its predecessor was superseded, and so dropped, before the tail was read
        del headers[EXPECTED]
        return await jetstream.publish(entry.subject, entry.data, headers)


@asynccontextmanager
async def _beside(coroutine: Any) -> AsyncIterator[asyncio.Task[str]]:
    task: asyncio.Task[str] = asyncio.create_task(coroutine, name="reader of a tail")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))
