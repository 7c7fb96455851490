"""JetStream through its own request subjects: compare-and-set publishes, atomic batches, single messages, streams.

nats-py's JetStream context is not used: its publish costs more than twice as much and hides the broker's error codes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from shared.bus.port import Bus, parse_headers
from shared.errors import BrokerError, BusError, BusTimeout, NoResponders, RevisionConflict, StorageFull

log = logging.getLogger(__name__)

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
ROLLUP = "Nats-Rollup"
TTL = "Nats-TTL"
BATCH = "Nats-Batch-Id"
BATCH_SEQUENCE = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"
MARKER = "Nats-Marker-Reason"
# ours: what a message does to its object, for readers that leave the bodies where they are
OPERATION = "Wherry-Operation"

# err_code of the broker: a conflict that names the sequence, and one of a replicated stream that does not
WRONG_LAST_SEQUENCE = 10071
WRONG_LAST_SEQUENCE_UNNAMED = 10164
NO_MESSAGE = 10037
# the store has reached its limit, as a whole or for one stream
NO_RESOURCES = 10023
NO_STORAGE = 10047
STORE_FAILED = 10077
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014

# a replicated bus without enough servers (10005), without contact to them (10008), or without leader (10009)
NOT_YET = (10005, 10008, 10009)
RETRY_S = 0.5

MAX_BATCH = 1000


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    stream: str = ""
    count: int = 0
    error: _Error | None = None


_ack_decoder = msgspec.json.Decoder(_Ack)


class Outgoing(NamedTuple):
    """One message of a batch."""

    subject: str
    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies in a stream."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str]


class JetStream:
    """The broker's streams over one connection. Every method may raise BusTimeout, Disconnected and NoResponders."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, timeout: float = 5.0
    ) -> int:
        """Store one message; its sequence. RevisionConflict if the expected sequence is not the last, StorageFull,
        BrokerError."""
        message = await self._bus.call(subject, data, headers, timeout)
        return _acknowledged(subject, message.data).seq

    async def publish_batch(self, messages: Sequence[Outgoing], timeout: float = 10.0) -> int:
        """Store 1 to 1000 messages or none of them (ADR-50); the sequence of the last, the others precede it without
        a gap. RevisionConflict does not tell which of the messages it concerns."""
        if not 1 <= len(messages) <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages, not {len(messages)}")
        batch = secrets.token_hex(8)
        last = len(messages)
        for number, (subject, data, headers) in enumerate(messages[:-1], 1):
            await self._bus.publish(subject, data, {**headers, BATCH: batch, BATCH_SEQUENCE: str(number)})
        subject, data, headers = messages[-1]
        reply = await self._bus.call(
            subject, data, {**headers, BATCH: batch, BATCH_SEQUENCE: str(last), BATCH_COMMIT: "1"}, timeout
        )
        return _acknowledged(subject, reply.data).seq

    async def last_message(self, stream: str, subject: str) -> Stored | None:
        """The newest message on a subject, from the stream's leader; None if there is none."""
        return await self._message(stream, {"last_by_subj": subject})

    async def next_message(self, stream: str, subject: str, sequence: int, timeout: float = 5.0) -> Stored | None:
        """The first message on a subject at or after a sequence, from the stream's leader; None if there is none."""
        return await self._message(stream, {"next_by_subj": subject, "seq": sequence}, timeout)

    async def last_sequence(self, stream: str, filters: Sequence[str]) -> int:
        """The sequence of the newest message that fits one of the filters; 0 if there is none."""
        found = [await self.last_message(stream, one) for one in filters]
        return max((one.sequence for one in found if one is not None), default=0)

    async def message(self, stream: str, sequence: int) -> Stored | None:
        """The message with this sequence, from the stream's leader; None if it is gone."""
        return await self._message(stream, {"seq": sequence})

    async def purge(self, stream: str, subject: str = "", before: int = 0) -> int:
        """Remove the messages on a subject (or all) whose sequence is below `before` (or any); how many there were."""
        which = {"filter": subject, "seq": before}
        wanted = {key: value for key, value in which.items() if value}
        answer = await self.api(f"STREAM.PURGE.{stream}", wanted, timeout=30.0)
        return int(answer.get("purged", 0))

    async def stream_info(self, stream: str, timeout: float = 5.0) -> dict[str, Any]:
        """Configuration and state of a stream. BrokerError 10059 if it is not there."""
        return await self.api(f"STREAM.INFO.{stream}", timeout=timeout)

    async def ensure_stream(self, config: Mapping[str, Any], *, wait: bool = False) -> bool:
        """Declare a stream, or bring an existing one to this configuration; whether it was missing.

        With `wait` it is tried again as long as the servers of a replicated bus are not yet enough of them.
        """
        while True:
            try:
                return await self._ensure_stream(config, wait)
            except (BrokerError, BusTimeout, NoResponders) as exc:
                if not wait or (isinstance(exc, BrokerError) and exc.code not in NOT_YET):
                    raise
                log.info("stream %s cannot be declared yet: %s", config["name"], exc)
                await asyncio.sleep(RETRY_S)

    async def _ensure_stream(self, config: Mapping[str, Any], wait: bool) -> bool:
        name = config["name"]
        try:
            # who forms a replicated bus does not answer at first, and who waits for that asks again
            current = (await self.stream_info(name, timeout=1.0 if wait else 5.0))["config"]
        except BrokerError as exc:
            if exc.code != STREAM_NOT_FOUND:
                raise
            # of two replicas that find it missing one creates it, and the same request of the other is answered alike
            await self.api(f"STREAM.CREATE.{name}", config)
            return True
        if any(current.get(key) != value for key, value in config.items()):
            await self.api(f"STREAM.UPDATE.{name}", {**current, **config})
        return False

    async def api(self, verb: str, payload: Any = None, timeout: float = 5.0) -> dict[str, Any]:
        """One request of the JetStream API (`STREAM.INFO.STATE`); BrokerError carries its err_code."""
        data = b"" if payload is None else json.dumps(payload).encode()
        message = await self._bus.call(f"$JS.API.{verb}", data, timeout=timeout)
        try:
            answer = json.loads(message.data)
        except ValueError as exc:
            raise BusError(f"reply to {verb} is not JSON: {exc}") from exc
        if error := answer.get("error"):
            raise BrokerError(f"{verb}: {error.get('description', 'error')}", code=int(error.get("err_code", 0)))
        return dict(answer)

    async def _message(self, stream: str, which: dict[str, Any], timeout: float = 5.0) -> Stored | None:
        try:
            message = (await self.api(f"STREAM.MSG.GET.{stream}", which, timeout))["message"]
        except BrokerError as exc:
            if exc.code == NO_MESSAGE:
                return None
            raise
        return Stored(
            message["subject"],
            int(message["seq"]),
            base64.b64decode(message.get("data", "")),
            parse_headers(base64.b64decode(message.get("hdrs", ""))),
        )


def _acknowledged(subject: str, data: bytes) -> _Ack:
    try:
        ack = _ack_decoder.decode(data)
    except msgspec.DecodeError as exc:
        raise BusError(f"acknowledgement of {subject} cannot be read: {exc}") from exc
    error = ack.error
    if error is None:
        return ack
    if error.err_code == WRONG_LAST_SEQUENCE:
        actual = error.description.rpartition(" ")[2]
        raise RevisionConflict(f"{subject}: {error.description}", actual=int(actual) if actual.isdecimal() else None)
    if error.err_code == WRONG_LAST_SEQUENCE_UNNAMED:
        raise RevisionConflict(f"{subject}: {error.description}")
    if error.err_code in (NO_RESOURCES, STORE_FAILED):
        raise StorageFull(f"{subject}: the broker's store is full: {error.description}")
    raise BrokerError(f"{subject}: {error.description}", code=error.err_code)
