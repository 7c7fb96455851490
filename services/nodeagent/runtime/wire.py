"""Framing of the socket between agent and keeper, shared by both ends so that they cannot drift apart.

A frame is a 4-byte big-endian length and that many bytes of JSON. File descriptors travel as SCM_RIGHTS (unix(7)) with
the first byte of the frame whose `fds` key says how many belong to it; a stream socket delivers them no later than that
byte, so a receiver that queues descriptors and takes `fds` of them per frame always pairs them rightly.

Requests: `{"id", "call", "args"}`; answers: `{"id", "result"}` or `{"id", "error": {"kind", "message", ...}}`; events,
which answer nothing: `{"event", ...}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MAX_FRAME = 16 * 1024 * 1024
MAX_FDS = 8

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def pack(message: dict[str, Any]) -> bytes:
    body = _encode(message).encode("utf-8", "surrogateescape")
    return len(body).to_bytes(4, "big") + body


class Unpacker:
    """Collects bytes and descriptors as they come and yields whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fds: list[int] = []

    def feed(self, data: bytes, fds: list[int]) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield (message, its descriptors); the caller owns the descriptors. ValueError on a malformed stream."""
        self._buffer += data
        self._fds += fds
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > MAX_FRAME:
                raise ValueError(f"frame of {length} bytes is longer than {MAX_FRAME}")
            if len(self._buffer) < 4 + length:
                return
            message = json.loads(self._buffer[4 : 4 + length].decode("utf-8", "surrogateescape"))
            del self._buffer[: 4 + length]
            if not isinstance(message, dict):
                raise ValueError("frame is not a JSON object")
            count = message.get("fds", 0)
            taken, self._fds = self._fds[:count], self._fds[count:]
            yield message, taken

    def take_fds(self) -> list[int]:
        """Descriptors that no frame has claimed, for closing when the connection ends."""
        fds, self._fds = self._fds, []
        return fds
