"""The connection to the real broker: nats-py with the habits that the state log needs.

The client is left to speak the protocol; replies are matched by our own inbox (see port.py), nothing is buffered while
disconnected, and no error of the broker ends the attempts to reconnect.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.bus.port import Bus, Callback, Headers, Subscription, deliver, parse_headers
from shared.errors import BusError, Disconnected
from shared.settings import BusSettings, Settings

# nats-py imports aiohttp, if it is there, for connections over WebSocket: ten megabytes that no node needs
_hide_aiohttp = "aiohttp" not in sys.modules
if _hide_aiohttp:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
try:
    import nats.errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription as NatsSubscription
finally:
    if _hide_aiohttp:
        del sys.modules["aiohttp"]

log = logging.getLogger(__name__)

RECONNECT_WAIT_S = 0.2
CONNECT_LIMIT_S = 5
PING_INTERVAL_S = 5
_REFUSED = re.compile(r'permissions violation for publish to "([^"]+)"')


class _Client(Client):
    """nats-py gives up for ever at any error but two; a server that reloads its users or restarts is no reason to.

    It also spends half of its time on the characters of header names, which the broker has checked already.
    """

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        return parse_headers(raw)

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg:
            await super()._process_err(err_msg)
        else:
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))

    async def _attempt_reconnect(self) -> None:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            # a TLS connection whose peer vanished would otherwise wait half a minute for its farewell
            writer.transport.abort()
        while not self.is_closed:
            try:
                await super()._attempt_reconnect()
            except Exception:
                log.exception("reconnect failed")
                self._status = Client.RECONNECTING
                await asyncio.sleep(RECONNECT_WAIT_S)
            else:
                return


class _Subscription:
    def __init__(self, inner: NatsSubscription) -> None:
        self._inner = inner

    async def unsubscribe(self) -> None:
        try:
            await self._inner.unsubscribe()
        except nats.errors.Error as exc:
            log.debug("unsubscribe %s: %s", self._inner.subject, exc)


class Connection(Bus):
    """A Bus on a nats-py client."""

    def __init__(self, user: str) -> None:
        super().__init__(user)
        self._client = _Client()
        self._reported = ""
        self._opened = False
        self._closing = False

    async def open(self, settings: BusSettings, name: str) -> None:
        """Connect; keeps trying until it succeeds or is cancelled."""
        self._opened = True
        # the client takes fractions of a second as well, but declares whole ones
        options: dict[str, Any] = {"reconnect_time_wait": RECONNECT_WAIT_S}
        if settings.ca is not None:
            options["tls"] = ssl.create_default_context(cafile=str(settings.ca))
        await self._client.connect(
            settings.servers,
            name=name,
            user=settings.user,
            password=settings.password,
            inbox_prefix=self.prefix,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            max_reconnect_attempts=-1,
            connect_timeout=CONNECT_LIMIT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            pending_size=0,
            **options,
        )
        await self._subscribe_replies()
        self._set_connected(True)

    async def close(self) -> None:
        self._closing = True
        self._set_connected(False)
        self._stop()
        if self._opened:
            await self._client.close()

    async def publish(self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = "") -> None:
        if not self._connected.is_set():
            raise Disconnected(f"not connected to the broker: {subject} was not sent")
        try:
            await self._client.publish(subject, data, reply, dict(headers) if headers else None)
        except (
            nats.errors.ConnectionClosedError,
            nats.errors.OutboundBufferLimitError,
            nats.errors.ConnectionReconnectingError,
            nats.errors.ConnectionDrainingError,
        ) as exc:
            # the client knows before it calls back; who waits for the connection to try again must really wait
            self._set_connected(False)
            raise Disconnected(f"not connected to the broker: {subject} was not sent") from exc
        except nats.errors.MaxPayloadError as exc:
            raise BusError(f"message on {subject} has {len(data)} bytes, more than the broker takes") from exc
        except nats.errors.Error as exc:
            raise BusError(f"cannot publish {subject!r}: {exc}") from exc

    def post(self, subject: str, data: bytes = b"") -> None:
        # the client takes the message in before it waits for anything, and it only ever waits to wake its writer,
        # which is awake already when the queue of wake-ups is full
        coroutine = self.publish(subject, data)
        try:
            coroutine.send(None)
        except StopIteration:
            return
        coroutine.close()

    async def subscribe(self, subject: str, callback: Callback, queue: str = "") -> Subscription:
        async def on_message(message: Msg) -> None:
            await deliver(callback, message)

        try:
            return _Subscription(await self._client.subscribe(subject, queue, on_message))
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError) as exc:
            raise Disconnected(f"connection is closed: cannot subscribe {subject}") from exc
        except nats.errors.Error as exc:
            raise BusError(f"cannot subscribe {subject!r}: {exc}") from exc

    async def flush(self) -> None:
        try:
            # the client's ping overtakes what its writer has not taken up yet; after one round trip it has
            await self._client.flush()
            await self._client.flush()
        except nats.errors.Error as exc:
            raise Disconnected("connection lost while waiting for the broker", sent=True) from exc

    async def _on_error(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if refused := _REFUSED.search(text):
            self._refused(refused.group(1))
            log.error("the broker refused a publish of %s: %s", self.user, error)
        elif "permissions violation" in text:
            log.error("the broker refused a subscription of %s: %s", self.user, error)
        elif isinstance(error, nats.errors.SlowConsumerError):
            log.error("messages on %s were dropped: the subscriber is too slow", error.subject)
        elif text != self._reported and not self._closing:
            # the same failure comes back with every attempt to reconnect
            self._reported = text
            log.warning("bus: %s", text)

    async def _on_disconnected(self) -> None:
        # what was not sent must not be sent later: its caller is told that it failed
        self._client._pending.clear()
        self._client._pending_data_size = 0
        if self.connected:
            log.warning("lost the connection to the broker")
        self._set_connected(False)

    async def _on_reconnected(self) -> None:
        self._reported = ""
        log.info("connected to the broker again")
        self._set_connected(True)


@asynccontextmanager
async def connect(settings: Settings | BusSettings, name: str) -> AsyncIterator[Connection]:
    """A connection to the broker, named `name` in its monitoring; waits until the broker is there.

    SettingsError if the credentials cannot be read.
    """
    target = settings.bus() if isinstance(settings, Settings) else settings
    connection = Connection(target.user)
    try:
        await connection.open(target, name)
        yield connection
    finally:
        await connection.close()
