"""Messages from the broker straight to whoever subscribed, without a queue, a task and a regular expression for each.

Every write of the API server comes back as two messages, its acknowledgement and its revision, and nearly all traffic
of the bus is messages to plain functions. What is not a complete message - a ping, an error, the beginning of something
large - is left to the client library's own parser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from shared.bus.port import Message, Received, parse_headers

if TYPE_CHECKING:
    from nats.aio.client import Client

# of a command line, as the broker limits it
LONGEST_LINE: Final = 4096
VERSION: Final = b"NATS/1.0"
# the beginning of a message up to this size is kept until the rest has come; a larger one is collected by the library
SMALL: Final = 64 << 10


class DirectParser(Parser):
    """`direct` has the callbacks of subscriptions by their number; they are called in the order of the messages."""

    def __init__(self, client: Client) -> None:
        self.direct: dict[int, Callable[[Message], None]] = {}
        self._rest = b""
        super().__init__(client)

    def reset(self) -> None:
        """Forget what was begun: the connection is a new one."""
        self._rest = b""
        super().reset()

    async def parse(self, data: bytes = b"") -> None:
        """Take in what was received."""
        if self.buf or self.state != AWAITING_CONTROL_LINE:
            await super().parse(data)
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        position = 0
        while position < len(data):
            is_plain = data.startswith(b"MSG ", position)
            if not is_plain and not data.startswith(b"HMSG ", position):
                break
            end = data.find(b"\r\n", position, position + LONGEST_LINE)
            if end < 0:
                break
            words = data[position:end].split()
            size = int(words[-1])
            body = end + 2
            stop = body + size
            if len(data) < stop + 2:
                if size < SMALL:
                    self._rest = data[position:]
                    return
                break
            if is_plain:
                reply = words[3] if len(words) == 5 else b""
                head, payload = b"", data[body:stop]
            else:
                reply = words[3] if len(words) == 6 else b""
                middle = body + int(words[-2])
                head, payload = data[body:middle], data[middle:stop]
            await self._hand(int(words[2]), words[1], reply, payload, head)
            position = stop + 2
        if position < len(data):
            await super().parse(data[position:])

    async def _hand(self, number: int, subject: bytes, reply: bytes, payload: bytes, head: bytes) -> None:
        callback = self.direct.get(number)
        if callback is None:
            client: Any = self.nc
            await client._process_msg(number, subject, reply, payload, head)
        else:
            callback(received(subject, reply, payload, head))


def received(subject: bytes, reply: bytes, payload: bytes, head: bytes | None) -> Received:
    """A message of the parts that the protocol has it in."""
    return Received(subject.decode(), reply.decode(), payload, _headers(head) if head else None)


def _headers(head: bytes) -> dict[str, str]:
    """The headers in a block that begins with the version and, in the broker's own messages, a status (ADR-4)."""
    line, _, rest = head.partition(b"\r\n")
    found = parse_headers(rest)
    status = line.removeprefix(VERSION).strip().decode(errors="replace")
    if status:
        found["Status"] = status[:3]
        if len(status) > 3:
            found["Description"] = status[3:].strip()
    return found
