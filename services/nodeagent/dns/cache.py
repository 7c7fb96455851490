"""Answers of upstream resolvers, kept for as long as they say but at most half a minute.

Exists because pods ask for the same few outside names all the time; an answer that has run out is still kept, for a
resolver that is out of reach (RFC 8767).
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from services.nodeagent.dns import wire

MAX_TTL_S = 30
STALE_S = 3600
_CAPACITY = 10000
_FIXED = struct.Struct("!HHIH")


class Key(NamedTuple):
    """What was asked: name in lower case, type."""

    name: bytes
    kind: int


@dataclass(frozen=True, slots=True)
class Response:
    """An upstream answer without its header, question and OPT; `body` has its pointers as in the message.

    `lifetimes` are the offsets in `body` at which records have their TTL, `ttl_s` is how long it may be kept.
    """

    rcode: int
    counts: tuple[int, int, int]
    body: bytes
    lifetimes: tuple[int, ...]
    ttl_s: int
    truncated: bool = False

    @property
    def denial(self) -> bool:
        """Whether it says that there is nothing."""
        return self.rcode != wire.NOERROR or self.counts[0] == 0


def parse(message: bytes, question: bytes) -> Response:
    """Read an answer to the question section `question`; ValueError if it is malformed or answers something else."""
    if len(message) < wire.HEADER_SIZE or not message[2] & 0x80 or message[4:6] != b"\0\1":
        raise ValueError("not an answer to one question")
    start = wire.HEADER_SIZE + len(question)
    if message[wire.HEADER_SIZE : start].lower() != question.lower():
        raise ValueError("the answer to another question")
    counts = list(struct.unpack_from("!HHH", message, 6))
    offset, lifetimes, ttl_s = start, [], MAX_TTL_S
    opt = (0, 0)
    for section, count in enumerate(tuple(counts)):
        for _ in range(count):
            fixed = wire.skip_name(message, offset)
            if fixed + _FIXED.size > len(message):
                raise ValueError("a record is cut off")
            kind, _, ttl, size = _FIXED.unpack_from(message, fixed)
            end = fixed + _FIXED.size + size
            if end > len(message):
                raise ValueError("the data of a record is cut off")
            if kind == wire.OPT:
                if section != 2 or opt != (0, 0):
                    raise ValueError("a stray OPT record")
                opt = (offset, end)
                counts[2] -= 1
            else:
                lifetimes.append(fixed + 4 - start)
                ttl_s = min(ttl_s, ttl)
                if kind == wire.SOA and section == 1:
                    # RFC 2308: how long a denial holds
                    ttl_s = min(ttl_s, int.from_bytes(message[end - 4 : end], "big"))
            offset = end
    if opt[1] and opt[1] != offset:
        # records behind it are dropped: their pointers may lead to where they no longer are
        lifetimes = [position for position in lifetimes if position + start < opt[0]]
        counts[2] = 0
    body = message[start : opt[0] or offset]
    truncated = bool(message[2] & 2)
    return Response(message[3] & 0xF, (counts[0], counts[1], counts[2]), body, tuple(lifetimes), ttl_s, truncated)


def aged(response: Response, age_s: int) -> bytes:
    """The body with every record's lifetime reduced by its age, capped at what a cache may promise."""
    if not response.lifetimes:
        return response.body
    body = bytearray(response.body)
    for position in response.lifetimes:
        left = min(int.from_bytes(body[position : position + 4], "big"), MAX_TTL_S) - age_s
        body[position : position + 4] = max(0, left).to_bytes(4, "big")
    return bytes(body)


class Cache:
    """The latest answers, the oldest of which makes room. Times are seconds of a monotonic clock."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._entries: dict[Key, tuple[float, Response]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: Key, response: Response, now: float) -> None:
        """Keep an answer; errors and what must not be kept are not."""
        if response.truncated or response.rcode not in (wire.NOERROR, wire.NXDOMAIN) or response.ttl_s <= 0:
            return
        self._entries.pop(key, None)
        while len(self._entries) >= self._capacity:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (now, response)

    def get(self, key: Key, now: float) -> tuple[Response, int] | None:
        """An answer that still holds, and its age in seconds."""
        found = self._entries.get(key)
        if found is None or now - found[0] >= found[1].ttl_s:
            return None
        return found[1], int(now - found[0])

    def get_stale(self, key: Key, now: float) -> tuple[Response, int] | None:
        """An answer that held not long ago, and its age."""
        found = self._entries.get(key)
        if found is None or now - found[0] >= STALE_S:
            return None
        return found[1], int(now - found[0])
