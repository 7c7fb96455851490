"""The message form of one revision of an object. The object is the event: whole, with its author and cause, so that
anyone who subscribes understands a message without asking the API server."""

from __future__ import annotations

import time as clock
from typing import Any, NamedTuple

import msgspec

from shared.errors import StateError

VERSION = 1
PUT = "put"
DELETE = "delete"


class Author(NamedTuple):
    """Who wrote: the authenticated user, the client's user agent, the field manager."""

    user: str
    agent: str = ""
    manager: str = ""


class _Author(msgspec.Struct, frozen=True):
    user: str = ""
    agent: str = ""
    manager: str = ""


class Envelope(msgspec.Struct, omit_defaults=False):
    """A decoded message. `obj` stays encoded (msgpack) because most readers never look into most objects."""

    v: int
    id: str
    op: str
    obj: msgspec.Raw
    author: _Author = _Author()
    cause: str = ""
    time: float = 0.0

    @property
    def written_by(self) -> Author:
        return Author(self.author.user, self.author.agent, self.author.manager)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_object_decoder = msgspec.msgpack.Decoder(dict[str, Any])


def encode(
    write_id: str, op: str, obj: dict[str, Any], author: Author, cause: str = "", time: float | None = None
) -> bytes:
    """The bytes of one revision; `time` in unix seconds, now by default. `metadata.resourceVersion` is left out: the
    revision is the message's sequence. StateError if the object holds what msgpack cannot carry."""
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and "resourceVersion" in metadata:
        obj = {**obj, "metadata": {key: value for key, value in metadata.items() if key != "resourceVersion"}}
    try:
        return _encoder.encode(
            {
                "v": VERSION,
                "id": write_id,
                "op": op,
                "obj": obj,
                "author": {"user": author.user, "agent": author.agent, "manager": author.manager},
                "cause": cause,
                "time": clock.time() if time is None else time,
            }
        )
    except (TypeError, OverflowError, ValueError, RecursionError) as exc:
        raise StateError(f"object cannot be encoded: {exc}") from exc


def decode(data: bytes) -> Envelope:
    """The envelope of a message. StateError if it is none, or of an unknown version."""
    try:
        envelope = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise StateError(f"message is not an envelope: {exc}") from exc
    if envelope.v != VERSION or envelope.op not in (PUT, DELETE):
        raise StateError(f"message has version {envelope.v} and operation {envelope.op!r}")
    return envelope


def decode_object(raw: msgspec.Raw | bytes) -> dict[str, Any]:
    """The object inside an envelope. StateError if it is malformed."""
    try:
        return _object_decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise StateError(f"message holds no object: {exc}") from exc
