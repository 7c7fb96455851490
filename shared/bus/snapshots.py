"""Whole streams as nats-server packs them (JetStream's STREAM.SNAPSHOT and STREAM.RESTORE), sequences, times and all.

Only for a bus that nobody writes to: while a snapshot is taken the server stores deletions without removing what they
roll up, and blocks that it has not sent yet go on changing, so what comes out is no single moment of the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.bus.jetstream import NOT_YET, RETRY_S, JetStream
from shared.bus.port import Bus, Message
from shared.errors import BrokerError, BusError

CHUNK_BYTES = 256 << 10
SILENCE_S = 30.0
RESTORE_S = 120.0
# how long servers that do not hear of each other are given to do so
PEERS_S = 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The configuration and state of a stream as JetStream tells them; its content lies in `path`."""

    config: dict[str, Any]
    state: dict[str, Any]
    path: Path

    @property
    def name(self) -> str:
        return str(self.config["name"])


async def take(bus: Bus, stream: str, path: Path) -> Snapshot:
    """Write a stream to a file. BusError if the server falls silent or fails."""
    received: asyncio.Queue[Message] = asyncio.Queue()
    inbox = bus.new_inbox()
    subscription = await bus.subscribe(inbox, received.put_nowait)
    try:
        request = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": CHUNK_BYTES}
        answer = await JetStream(bus).api(f"STREAM.SNAPSHOT.{stream}", request, timeout=SILENCE_S)
        with path.open("wb") as file:
            async for chunk in _chunks(bus, received, stream):
                file.write(chunk)
    finally:
        await subscription.unsubscribe()
    return Snapshot(answer["config"], answer["state"], path)


async def _chunks(bus: Bus, received: asyncio.Queue[Message], stream: str) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                message = await received.get()
        except TimeoutError as exc:
            raise BusError(f"snapshot of {stream}: the server fell silent") from exc
        status = (message.headers or {}).get("Status", "204")
        if not message.data:
            # the end, which carries a status when it is a failure
            if not status.startswith("2"):
                raise BusError(f"snapshot of {stream}: {(message.headers or {}).get('Description', status)}")
            return
        yield message.data
        if message.reply:
            # the server sends on only when this is heard
            await bus.publish(message.reply)


async def put_back(bus: Bus, snapshot: Snapshot, replicas: int) -> dict[str, Any]:
    """Make the stream on a bus that has none of its name, with so many replicas; the state that it has then.

    Waits while the bus has too few servers that hear of each other. BrokerError or BusError if the server refuses it;
    BusError also if what it took differs from the snapshot.
    """
    jetstream = JetStream(bus)
    name = snapshot.name
    config = {**snapshot.config, "num_replicas": replicas}
    answer = await _offer(jetstream, name, {"config": config, "state": snapshot.state})
    target = answer["deliver_subject"]
    with snapshot.path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            await bus.call(target, chunk, timeout=SILENCE_S)
    # an empty chunk is the end; its answer comes when the stream is there
    await bus.call(target, timeout=RESTORE_S)
    state: dict[str, Any] = (await jetstream.stream_info(name))["state"]
    # messages may have expired since, and the markers of that are new ones
    if state["last_seq"] < snapshot.state["last_seq"]:
        raise BusError(f"stream {name} ends at {state['last_seq']} and not at {snapshot.state['last_seq']}")
    return state


async def _offer(jetstream: JetStream, name: str, request: dict[str, Any]) -> dict[str, Any]:
    """The server's answer to the offer of a stream: where it takes the content."""
    deadline = asyncio.get_running_loop().time() + PEERS_S
    while True:
        try:
            return await jetstream.api(f"STREAM.RESTORE.{name}", request, RESTORE_S)
        except BrokerError as exc:
            # servers that have just started take the others for gone until the first word of each
            if exc.code not in NOT_YET or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(RETRY_S)
