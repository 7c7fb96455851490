"""The floor of the history: one message in the log itself, so that every reader learns of it in order and all agree.

It is written before anything is removed. Whoever has read from the history and then finds, behind a barrier, that the
floor is still below, has read all there was.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from shared.bus.jetstream import EXPECTED, ROLLUP, JetStream
from shared.errors import StateError
from shared.events.subjects import FLOOR
from shared.state.streams import STATE

VERSION = 1


class Floor(NamedTuple):
    """`revision` is the oldest at which the state can still be told. What was superseded up to `purged` is gone, so
    that a compaction that was interrupted goes on there. `sequence` is the message's own, 0 if there is none."""

    revision: int = 0
    purged: int = 0
    sequence: int = 0


class _Floor(msgspec.Struct):
    v: int
    floor: int
    purged: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Floor)


def decode(data: bytes, sequence: int = 0) -> Floor:
    """The floor in a message. StateError if it is none, or of an unknown version."""
    try:
        decoded = _decoder.decode(data)
    except msgspec.DecodeError as exc:
        raise StateError(f"message on {FLOOR} is no floor: {exc}") from exc
    if decoded.v != VERSION:
        raise StateError(f"message on {FLOOR} has version {decoded.v}, this release knows {VERSION}")
    return Floor(decoded.floor, decoded.purged, sequence)


async def read(jetstream: JetStream) -> Floor:
    """The floor as the leader of the stream knows it; zeros if nothing was ever compacted."""
    stored = await jetstream.last_message(STATE, FLOOR)
    return decode(stored.data, stored.sequence) if stored else Floor()


async def write(jetstream: JetStream, floor: Floor) -> Floor:
    """Publish a floor on top of the one that `floor.sequence` names. RevisionConflict if another was faster."""
    data = _encoder.encode(_Floor(VERSION, floor.revision, floor.purged))
    sequence = await jetstream.publish(FLOOR, data, {EXPECTED: str(floor.sequence), ROLLUP: "sub"})
    return floor._replace(sequence=sequence)
