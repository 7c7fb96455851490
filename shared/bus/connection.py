"""The connection to the real broker: nats-py with the habits that the state log needs.

The client is left to speak the protocol; replies are matched by our own inbox (see port.py), nothing is buffered while
disconnected, and no error of the broker ends the attempts to reconnect.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from shared.bus.port import Bus, Callback, Headers, Message, Subscription, deliver, deliver_now, parse_headers
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

    from shared.bus.parsing import DirectParser, received
finally:
    if _hide_aiohttp:
        del sys.modules["aiohttp"]

log = logging.getLogger(__name__)

RECONNECT_WAIT_S = 0.2
CONNECT_LIMIT_S = 5
PING_INTERVAL_S = 5
_BLANK = re.compile(r"[ \t\r\n]")
_REFUSED = re.compile(r'permissions violation for publish to "([^"]+)"')


class _Client(Client):
    """nats-py gives up for ever at any error but two; a server that reloads its users or restarts is no reason to.

    It also spends half of its time on the characters of header names, which the broker has checked already.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ps: DirectParser = DirectParser(self)

    @property
    def direct(self) -> dict[int, Callable[[Message], None]]:
        """The plain functions that get the messages of a subscription, by its number."""
        return self._ps.direct

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        return parse_headers(raw)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        callback = self.direct.get(sid)
        if callback is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            callback(received(subject, reply, data, headers))

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg:
            await super()._process_err(err_msg)
        else:
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None and writer.get_extra_info("sslcontext") is not None:
            # the client's reader does not know of TLS, and would ask in vain for a connection that stays half open
            writer.transport.get_protocol()._over_ssl = True

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
    def __init__(self, client: _Client, inner: NatsSubscription) -> None:
        self._client = client
        self._inner = inner

    async def unsubscribe(self) -> None:
        self._client.direct.pop(self._inner._id, None)
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
        self._flushing = False
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
        self._send(subject, data, headers, reply)

    def post(self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = "") -> None:
        self._send(subject, data, headers, reply)

    def _send(self, subject: str, data: bytes, headers: Headers | None, reply: str) -> None:
        """Queue a message; all of a turn of the event loop go out in one piece.

        The client's own publish does the same for three times the work: it checks each character of header names.
        """
        client = self._client
        if not self._connected.is_set() or not client.is_connected:
            # the client knows before it calls back; who waits for the connection to try again must really wait
            self._set_connected(False)
            raise Disconnected(f"not connected to the broker: {subject} was not sent")
        if len(data) > client.max_payload:
            raise BusError(f"message on {subject} has {len(data)} bytes, more than the broker takes")
        command = encode(subject, data, headers, reply)
        client._pending.append(command)
        client._pending_data_size += len(command)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write what was sent in this turn of the loop, or leave it to the client's writer, which waits for room."""
        self._flushing = False
        client = self._client
        if not client._pending or not client.is_connected:
            return
        writer = getattr(client._transport, "_io_writer", None)
        if client._transport is not None and writer is not None and not writer.transport.get_write_buffer_size():
            commands, client._pending, client._pending_data_size = client._pending, [], 0
            # one TLS record: of several commands each would become one
            client._transport.writelines([b"".join(commands)])
            return
        wake = client._flush_queue
        if wake is not None and wake.empty():
            wake.put_nowait(asyncio.get_running_loop().create_future())

    async def subscribe(self, subject: str, callback: Callback, queue: str = "") -> Subscription:
        async def on_message(message: Msg) -> None:
            await deliver(callback, message)

        try:
            subscription = await self._client.subscribe(subject, queue, on_message)
            if not inspect.iscoroutinefunction(callback):
                self._client.direct[subscription._id] = lambda message: deliver_now(callback, message)
            return _Subscription(self._client, subscription)
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


def encode(subject: str, data: bytes, headers: Headers | None, reply: str) -> bytes:
    """A PUB or HPUB command of the NATS protocol. BusError for what would break out of its line."""
    if not subject or _BLANK.search(subject) or _BLANK.search(reply):
        raise BusError(f"cannot publish {subject!r}: invalid subject")
    address = f"{subject} {reply} " if reply else f"{subject} "
    if not headers:
        return b"PUB %b%d\r\n%b\r\n" % (address.encode(), len(data), data)
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\r") != len(headers) or lines.count("\n") != len(headers):
        raise BusError(f"cannot publish {subject!r}: a header has more than one line")
    block = b"NATS/1.0\r\n%b\r\n" % lines.encode()
    return b"HPUB %b%d %d\r\n%b%b\r\n" % (address.encode(), len(block), len(block) + len(data), block, data)


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
