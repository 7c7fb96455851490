"""systemd's word that the machine is about to go down, and the delay that it grants for ending pods.

systemd-logind announces a shutdown on the system bus and waits for whoever holds a delay lock, at most for its
InhibitDelayMaxSec. The lock is a descriptor: an agent that dies lets go of it.

Source: systemd's Inhibitor Locks (org.freedesktop.login1), which kubelet's shutdown manager uses as well.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

log = logging.getLogger(__name__)

SOCKET = Path("/run/dbus/system_bus_socket")
LOGIND, PLACE, MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
RETRY_S = 5.0


class ShutdownInhibitor:
    """`going_down` is awaited when a shutdown is announced, before it is let go on; `cancelled` follows one that was
    called off. `needed` is how many seconds the former may take.
    """

    def __init__(
        self, address: str, going_down: Callable[[], Awaitable[None]], cancelled: Callable[[], None], needed: float
    ) -> None:
        self._address = address
        self._going_down = going_down
        self._cancelled = cancelled
        self._needed = needed
        self._lock = -1
        self._announced: asyncio.Queue[bool] = asyncio.Queue()

    async def run(self) -> None:
        """Hold the lock until cancelled; a bus or logind that is away is tried again."""
        # few machines that run an agent for a test have a system bus, and the library costs memory
        from dbus_fast.errors import DBusError

        while True:
            try:
                await self._serve()
            except (OSError, DBusError, EOFError) as exc:
                log.info("shutdowns of the machine are not announced here: %s", exc)
            finally:
                self._release()
            await asyncio.sleep(RETRY_S)

    async def _serve(self) -> None:
        from dbus_fast.aio import MessageBus

        bus = await MessageBus(bus_address=self._address, negotiate_unix_fd=True).connect()
        try:
            bus.add_message_handler(self._on_message)
            rule = f"type='signal',interface='{MANAGER}',member='PrepareForShutdown'"
            await _call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", rule)
            await self._take(bus)
            await self._warn_of_delay(bus)
            gone = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
            try:
                while not gone.done():
                    announced = asyncio.ensure_future(self._announced.get())
                    await asyncio.wait((gone, announced), return_when=asyncio.FIRST_COMPLETED)
                    if not announced.done():
                        announced.cancel()
                    elif announced.result():
                        log.warning("the machine is going down: pods are ended first")
                        await self._going_down()
                        self._release()
                    else:
                        self._cancelled()
                        await self._take(bus)
            finally:
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)
        finally:
            bus.disconnect()

    async def _take(self, bus: "MessageBus") -> None:
        self._release()
        words = ("shutdown", "wherry", "pods are ended before the machine goes down", "delay")
        reply = await _call(bus, LOGIND, PLACE, MANAGER, "Inhibit", *words)
        self._lock = reply.unix_fds[0]

    async def _warn_of_delay(self, bus: "MessageBus") -> None:
        reply = await _call(
            bus, LOGIND, PLACE, "org.freedesktop.DBus.Properties", "Get", MANAGER, "InhibitDelayMaxUSec"
        )
        granted = reply.body[0].value / 1e6
        if granted < self._needed:
            log.warning(
                "systemd-logind waits %g s for pods to end, and up to %g s may be needed: set InhibitDelayMaxSec=%d in "
                "/etc/systemd/logind.conf.d/wherry.conf",
                granted,
                self._needed,
                int(self._needed) + 1,
            )

    def _on_message(self, message: "Message") -> None:
        if (message.interface, message.member) == (MANAGER, "PrepareForShutdown"):
            self._announced.put_nowait(bool(message.body[0]))

    def _release(self) -> None:
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = -1


async def _call(bus: "MessageBus", to: str, path: str, interface: str, member: str, *words: str) -> Any:
    """Call a method whose arguments are all strings. Raises DBusError as the peer answers it."""
    from dbus_fast import Message, MessageType
    from dbus_fast.errors import DBusError

    signature = "s" * len(words)
    reply = await bus.call(
        Message(destination=to, path=path, interface=interface, member=member, signature=signature, body=list(words))
    )
    if reply is None or reply.message_type is MessageType.ERROR:
        name = reply.error_name if reply is not None else None
        raise DBusError(name or "no answer", str(reply.body) if reply is not None else member)
    return reply
