"""A raw pull consumer that never loses a message silently.

The client library's ordered consumer dropped messages when its callback awaited, and noticed a restarted broker only
after 18 seconds. This one counts the consumer sequence itself, asks again at half, and gives up (so that its owner
starts a new one where it stopped) at a gap, at silence of the broker's heartbeats, or when the connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.bus.jetstream import JetStream
from shared.bus.port import Bus, Message
from shared.errors import BusError

log = logging.getLogger(__name__)

REQUEST = 2000
FIRST_REQUEST = 128
# bounds what a burst of large objects may pile up in the client between two requests
REQUEST_BYTES = 16 << 20
EXPIRES_S = 30.0
HEARTBEAT_S = 1.0
SILENCE_S = 3.5
# the broker forgets a consumer whose process died
INACTIVE_S = 30.0

_SECOND = 1_000_000_000


@dataclass(slots=True)
class Delivery:
    """A message of a stream: `time` in unix seconds when the broker stored it, `pending` how many matching messages
    were still behind it."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str] | None
    time: float
    pending: int


class Sizes:
    """How many messages to ask for, so that they come to about REQUEST_BYTES.

    The broker has a limit of its own for that, `max_bytes`, but nats-server (2.15) then skips the message that did not
    fit, for good, when the consumer delivers the last message of each subject.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._average = float(REQUEST_BYTES // min(FIRST_REQUEST, most))

    def count(self, size: int) -> None:
        """Take in the size of a message, in bytes."""
        self._average += (size - self._average) * 0.02

    def batch(self) -> int:
        """The number of messages for the next request."""
        return max(1, min(self._most, int(REQUEST_BYTES / max(self._average, 1.0))))


class PullConsumer:
    """One ephemeral consumer. `start` is "last_per_subject", "new", or the first sequence wanted.

    `deliver` is called for every message in order, `idle` at every heartbeat of the broker; both are plain functions.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        filters: Sequence[str],
        start: str | int,
        deliver: Callable[[Delivery], None],
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._filters = list(filters)
        self._start = start
        self._deliver = deliver
        self._idle = idle
        self._name = secrets.token_hex(8)
        self._inbox = bus.new_inbox()
        self._expected = 1
        self._outstanding = 0
        self._asked = 0
        self._sizes = Sizes(REQUEST)
        self._heard = 0.0
        self._lost: asyncio.Future[str] | None = None

    async def run(self, created: Callable[[int], None] = lambda pending: None) -> str:
        """Consume until the consumer is lost, and tell why. `created` gets the number of messages waiting at the start.

        BusError if it could not be created.
        """
        loop = asyncio.get_running_loop()
        self._lost = loop.create_future()
        remove = self._bus.on_connection(lambda connected: None if connected else self._lose("connection lost"))
        subscription = await self._bus.subscribe(self._inbox, self._on_message)
        try:
            info = await JetStream(self._bus).api(
                f"CONSUMER.CREATE.{self._stream}.{self._name}",
                {"stream_name": self._stream, "action": "create", "config": self._config()},
            )
            created(int(info.get("num_pending", 0)))
            self._heard = loop.time()
            self._ask()
            while not self._lost.done():
                await asyncio.wait((self._lost,), timeout=HEARTBEAT_S)
                if loop.time() - self._heard > SILENCE_S:
                    self._lose("the broker fell silent")
            return self._lost.result()
        finally:
            remove()
            await subscription.unsubscribe()
            with contextlib.suppress(BusError):
                await self._bus.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}")

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": self._name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(INACTIVE_S * _SECOND),
            "mem_storage": True,
            "num_replicas": 1,
            "filter_subjects": self._filters,
        }
        if isinstance(self._start, int):
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._start}
        else:
            config["deliver_policy"] = self._start
        return config

    def _lose(self, reason: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)

    def _ask(self) -> None:
        self._asked = self._sizes.batch()
        self._outstanding += self._asked
        request = {
            "batch": self._asked,
            "expires": int(EXPIRES_S * _SECOND),
            "idle_heartbeat": int(HEARTBEAT_S * _SECOND),
        }
        self._bus.post(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}", json.dumps(request).encode(), reply=self._inbox
        )

    def _on_message(self, message: Message) -> None:
        if self._lost is None or self._lost.done():
            return
        self._heard = asyncio.get_running_loop().time()
        headers = message.headers
        try:
            if not message.reply and headers and "Status" in headers:
                self._on_status(headers)
            else:
                self._on_delivery(message)
            if self._outstanding <= self._asked // 2:
                self._ask()
        except BusError as exc:
            self._lose(str(exc))
        except Exception as exc:
            log.exception("message %s of stream %s cannot be taken in", message.subject, self._stream)
            self._lose(f"{type(exc).__name__} in the reader")

    def _on_status(self, headers: dict[str, str]) -> None:
        status = headers["Status"]
        if status == "100":
            if int(headers.get("Nats-Last-Consumer", "0")) >= self._expected:
                self._lose("messages are missing before a heartbeat")
                return
            self._idle()
        elif "Nats-Pending-Messages" in headers:
            # a request ended by time or size; what it did not deliver is no longer on its way
            self._outstanding -= int(headers["Nats-Pending-Messages"])
        else:
            self._lose(f"status {status} {headers.get('Description', '')}".rstrip())

    def _on_delivery(self, message: Message) -> None:
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>
        _, sequence, consumer_sequence, time, pending = message.reply.rsplit(".", 4)
        if int(consumer_sequence) != self._expected:
            self._lose(f"message {self._expected} was expected, not {consumer_sequence}")
            return
        self._expected += 1
        self._outstanding -= 1
        self._sizes.count(len(message.data))
        self._deliver(
            Delivery(message.subject, int(sequence), message.data, message.headers, int(time) / _SECOND, int(pending))
        )
