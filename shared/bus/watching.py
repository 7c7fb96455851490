"""The client's side of a watch over the bus: one inbox, numbered batches, a new start whenever anything is amiss."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import Any

from shared.bus import wire
from shared.bus.port import Bus, Message
from shared.errors import ApiError, BusError, NoResponders, api_error_from_status

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
OPEN_LIMIT_S = 10.0


async def watch(
    bus: Bus, subject: Callable[[str], str], path: str, query: dict[str, Any]
) -> AsyncGenerator[list[wire.Event], None]:
    """See ApiClient.watch. `subject` makes a subject of the caller from its tail."""
    pause = FIRST_PAUSE_S
    while True:
        await bus.wait_connected()
        attempt = _Attempt(bus, subject, path, query)
        try:
            await attempt.open()
            while (events := await attempt.next()) is not None:
                pause = FIRST_PAUSE_S
                if events:
                    version = _last_version(events)
                    if version:
                        query["resourceVersion"] = version
                        # the initial events are behind us: a resumed watch must not send them again
                        query.pop("sendInitialEvents", None)
                        query.pop("resourceVersionMatch", None)
                    yield events
            log.info("watch of %s resumes: %s", path, attempt.reason)
        except BusError as exc:
            log.info("watch of %s tries again: %s", path, exc)
        except ApiError as exc:
            if exc.code < 500 and exc.code != 429:
                raise
            log.info("watch of %s tries again: %s", path, exc)
        finally:
            await attempt.close()
        # many clients lose the same server at the same moment
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, LONGEST_PAUSE_S)


class _Attempt:
    """One opened watch on one replica, until the first irregularity."""

    def __init__(self, bus: Bus, subject: Callable[[str], str], path: str, query: dict[str, Any]) -> None:
        self._bus = bus
        self._subject = subject
        self._path = path
        self._query = {key: str(value) for key, value in query.items()}
        self._id = secrets.token_hex(8)
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._number = 0
        self._unconfirmed = 0
        self._confirmed_at = asyncio.get_running_loop().time()
        self._cleanup = contextlib.AsyncExitStack()
        self._open = False
        self.reason = ""

    async def open(self) -> None:
        """Subscribe, ask, and wait for the server's first word. BusError, ApiError."""
        inbox = self._bus.new_inbox()
        subscription = await self._bus.subscribe(inbox, self._messages.put_nowait)
        self._cleanup.push_async_callback(subscription.unsubscribe)
        self._cleanup.callback(
            self._bus.on_connection(lambda connected: None if connected else self._messages.put_nowait(None))
        )
        payload = wire.pack({"id": self._id, "path": self._path, "query": self._query})
        await self._bus.publish(self._subject("watch"), payload, reply=inbox)
        self._open = True
        message = await self._receive(OPEN_LIMIT_S)
        if message is None:
            raise BusError(self.reason)
        if message["t"] != "open":
            raise BusError(f"the API server began a watch with {message['t']!r}")

    async def next(self) -> list[wire.Event] | None:
        """The next events, an empty list at a beat, None when this attempt is over. ApiError as the server sent it."""
        message = await self._receive(wire.SILENCE_S)
        if message is None:
            return None
        number = int(message.get("n", 0))
        if message["t"] == "events":
            if number != self._number + 1:
                self.reason = f"batch {self._number + 1} is missing"
                return None
            self._number = number
            return wire.read_events(message["e"])
        if message["t"] == "beat":
            if number != self._number:
                self.reason = f"batch {number} is missing"
                return None
            return []
        self.reason = "the API server ended it"
        return None

    async def close(self) -> None:
        """Tell the server to stop, and leave the inbox."""
        if self._open and self._bus.connected:
            with contextlib.suppress(BusError):
                await self._bus.publish(self._subject(f"watch.{self._id}.alive"), wire.pack({"end": True}))
        await self._cleanup.aclose()

    async def _receive(self, limit: float) -> dict[str, Any] | None:
        """The next message. None and a reason after silence or a lost connection."""
        try:
            async with asyncio.timeout(limit):
                raw = await self._messages.get()
        except TimeoutError:
            self.reason = "the API server fell silent"
            return None
        if raw is None:
            self.reason = "the connection to the broker was lost"
            return None
        if raw.headers and raw.headers.get("Status") == "503" and not raw.data:
            raise NoResponders("no API server answers")
        message = wire.unpack(raw.data)
        if message.get("t") == "error":
            self._open = False
            raise api_error_from_status(message.get("status") or {})
        self._unconfirmed += len(raw.data)
        await self._confirm()
        return message

    async def _confirm(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._unconfirmed < wire.CONFIRM_BYTES and now - self._confirmed_at < wire.ALIVE_S:
            return
        self._unconfirmed = 0
        self._confirmed_at = now
        with contextlib.suppress(BusError):
            await self._bus.publish(self._subject(f"watch.{self._id}.alive"), wire.pack({"n": self._number}))


def _last_version(events: list[wire.Event]) -> str:
    for event in reversed(events):
        metadata = event.get("object", {}).get("metadata") or {}
        version = metadata.get("resourceVersion")
        if version and event.get("type") != "ERROR":
            return str(version)
    return ""
