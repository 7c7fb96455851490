"""Reading a part of a stream from one sequence to another, request by request, so that a slow reader of a long history
holds no more than one request's messages in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from shared.bus.consumer import Delivery, Sizes
from shared.bus.jetstream import JetStream
from shared.bus.port import Bus, Message
from shared.errors import BusError, BusTimeout, Disconnected

REQUEST = 500
EXPIRES_S = 2.0
# the last message may lie on a replica that lags behind; this long without any message is too long
SILENCE_S = 10.0
INACTIVE_S = 60.0
RETRY_S = 0.05

_SECOND = 1_000_000_000


async def scan(
    bus: Bus, stream: str, filters: Sequence[str], start: int | str, *, headers_only: bool = False, limit: int = REQUEST
) -> AsyncGenerator[list[Delivery], None]:
    """The messages from sequence `start` on, or from a time (RFC 3339), in order, in lists of at most `limit`.

    It never ends by itself, for "nothing more yet" cannot be told from "nothing more": the caller stops at the message
    it waits for. BusError if a message is missing, or none comes for SILENCE_S.
    """
    scanner = _Scanner(bus, stream, limit)
    subscription = await bus.subscribe(scanner.inbox, scanner.messages.put_nowait)
    remove = bus.on_connection(lambda connected: None if connected else scanner.messages.put_nowait(None))
    try:
        await scanner.create(filters, start, headers_only)
        while True:
            yield await scanner.fetch()
    finally:
        remove()
        await subscription.unsubscribe()
        with contextlib.suppress(BusError):
            await bus.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{scanner.name}")


class _Scanner:
    def __init__(self, bus: Bus, stream: str, limit: int) -> None:
        self.name = secrets.token_hex(8)
        self.inbox = bus.new_inbox()
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._bus = bus
        self._stream = stream
        self._sizes = Sizes(limit)
        self._expected = 1

    async def create(self, filters: Sequence[str], start: int | str, headers_only: bool) -> None:
        config: dict[str, Any] = {
            "name": self.name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(INACTIVE_S * _SECOND),
            "mem_storage": True,
            "num_replicas": 1,
            "filter_subjects": list(filters),
            "headers_only": headers_only,
        }
        if isinstance(start, int):
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": max(start, 1)}
        else:
            config |= {"deliver_policy": "by_start_time", "opt_start_time": start}
        await JetStream(self._bus).api(
            f"CONSUMER.CREATE.{self._stream}.{self.name}",
            {"stream_name": self._stream, "action": "create", "config": config},
        )

    async def fetch(self) -> list[Delivery]:
        """What one request brings, at least one message. Disconnected, BusTimeout, BusError."""
        deadline = asyncio.get_running_loop().time() + SILENCE_S
        while asyncio.get_running_loop().time() < deadline:
            if found := await self._request():
                return found
        raise BusTimeout(f"stream {self._stream} had nothing to read for {SILENCE_S:g} s")

    async def _request(self) -> list[Delivery]:
        limit = self._sizes.batch()
        request = {"batch": limit, "expires": int(EXPIRES_S * _SECOND)}
        await self._bus.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.name}", json.dumps(request).encode(), reply=self.inbox
        )
        found: list[Delivery] = []
        while len(found) < limit:
            # a request ends by itself; if its end does not come either, something is lost
            try:
                async with asyncio.timeout(EXPIRES_S + SILENCE_S):
                    message = await self.messages.get()
            except TimeoutError as exc:
                raise BusTimeout(f"stream {self._stream} fell silent") from exc
            if message is None:
                raise Disconnected(f"connection lost while reading stream {self._stream}", sent=True)
            headers = message.headers
            if not message.reply and headers and "Status" in headers:
                if headers["Status"] in ("408", "409") and "Nats-Pending-Messages" in headers:
                    return found
                if headers["Status"] == "503":
                    # among several servers, the one asked may hear a moment later of a consumer on another
                    await asyncio.sleep(RETRY_S)
                    return found
                raise BusError(f"stream {self._stream}: status {headers['Status']} {headers.get('Description', '')}")
            found.append(self._delivery(message))
            if found[-1].pending == 0 and self.messages.empty():
                # the rest of the request is of no use: nobody knows when it ends
                return found
        return found

    def _delivery(self, message: Message) -> Delivery:
        _, sequence, consumer_sequence, time, pending = message.reply.rsplit(".", 4)
        if int(consumer_sequence) != self._expected:
            raise BusError(f"stream {self._stream}: message {self._expected} was expected, not {consumer_sequence}")
        self._expected += 1
        self._sizes.count(len(message.data))
        return Delivery(
            message.subject, int(sequence), message.data, message.headers, int(time) / _SECOND, int(pending)
        )
