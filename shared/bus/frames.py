"""One end of an ordered, flow-controlled, multiplexed byte stream: a state machine that turns frames into data, credit
and an end. It knows nothing of subjects; streams.py carries its frames.

Frame: kind (1 byte), number (4 bytes, big endian, from 0 in each direction), payload.

  DATA    channel (1 byte) and bytes        CREDIT  bytes that were consumed (4 bytes)
  ACCEPT  empty: the handler took over      CLOSE   msgpack Status or nil
  REFUSE  msgpack Status                    BEAT    empty, when nothing else was sent for a while

Numbers must be contiguous: the broker delivers in order but at most once, so a lost frame breaks the stream rather than
silently leaving out a piece of somebody's tar archive. A sender may have WINDOW bytes unconsumed; control channels
(resize, errors, close) do not count, so they pass a stdin that nobody reads.
"""

from __future__ import annotations

import struct
from collections import deque
from enum import IntEnum
from typing import Any

import msgspec

from shared.errors import StreamBroken

WINDOW = 512 << 10
PIECE = 64 << 10
# credit is returned in portions: a message per read would double the traffic
CREDIT_STEP = WINDOW // 4

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE_CHANNEL = 0, 1, 2, 3, 4, 255
_UNCOUNTED = frozenset((ERROR, RESIZE, CLOSE_CHANNEL))

_HEAD = struct.Struct(">BI")
_CREDIT = struct.Struct(">I")


class Kind(IntEnum):
    DATA = 0
    CREDIT = 1
    ACCEPT = 2
    REFUSE = 3
    CLOSE = 4
    BEAT = 5


class Endpoint:
    """Pure: `feed` takes a frame in; the methods that make frames return the bytes to send."""

    def __init__(self) -> None:
        self.received: deque[tuple[int, bytes]] = deque()
        self.credit = WINDOW
        self.accepted = False
        self.refused: dict[str, Any] | None = None
        self.peer_closed = False
        self.status: dict[str, Any] | None = None
        self._sent = 0
        self._expected = 0
        self._consumed = 0

    def feed(self, frame: bytes) -> None:
        """Take a frame in. StreamBroken if one is missing or malformed."""
        if len(frame) < _HEAD.size:
            raise StreamBroken("a frame is too short")
        kind, number = _HEAD.unpack_from(frame)
        if number != self._expected:
            raise StreamBroken(f"frame {self._expected} is missing")
        self._expected += 1
        payload = frame[_HEAD.size :]
        try:
            if kind == Kind.DATA:
                self.received.append((payload[0], payload[1:]))
            elif kind == Kind.CREDIT:
                self.credit += _CREDIT.unpack(payload)[0]
            elif kind == Kind.ACCEPT:
                self.accepted = True
            elif kind == Kind.REFUSE:
                self.refused = msgspec.msgpack.decode(payload, type=dict[str, Any])
                self.peer_closed = True
            elif kind == Kind.CLOSE:
                self.status = msgspec.msgpack.decode(payload, type=dict[str, Any] | None)
                self.peer_closed = True
            elif kind != Kind.BEAT:
                raise StreamBroken(f"frame {number} has unknown kind {kind}")
        except (msgspec.DecodeError, struct.error, IndexError) as exc:
            raise StreamBroken(f"frame {number} is malformed: {exc}") from exc

    def take(self) -> tuple[int, bytes]:
        """The next data received; IndexError if there is none."""
        channel, data = self.received.popleft()
        if channel not in _UNCOUNTED:
            self._consumed += len(data)
        return channel, data

    def credit_due(self) -> bytes | None:
        """The frame that gives back what was taken, once it is worth a message."""
        if self._consumed < CREDIT_STEP:
            return None
        amount, self._consumed = self._consumed, 0
        return self._frame(Kind.CREDIT, _CREDIT.pack(amount))

    def may_send(self, channel: int) -> int:
        """How many bytes may go out on a channel now."""
        return PIECE if channel in _UNCOUNTED else min(PIECE, self.credit)

    def data(self, channel: int, data: bytes) -> bytes:
        """A DATA frame; at most `may_send` bytes."""
        if channel not in _UNCOUNTED:
            self.credit -= len(data)
        return self._frame(Kind.DATA, bytes((channel,)) + data)

    def accept(self) -> bytes:
        return self._frame(Kind.ACCEPT)

    def refuse(self, status: dict[str, Any]) -> bytes:
        return self._frame(Kind.REFUSE, msgspec.msgpack.encode(status))

    def close(self, status: dict[str, Any] | None) -> bytes:
        return self._frame(Kind.CLOSE, msgspec.msgpack.encode(status))

    def beat(self) -> bytes:
        return self._frame(Kind.BEAT)

    def _frame(self, kind: Kind, payload: bytes = b"") -> bytes:
        frame = _HEAD.pack(kind, self._sent) + payload
        self._sent += 1
        return frame
