"""The API over the bus, as messages: what client (api.py, watching.py) and server (serve.py) agree on.

Subjects below `api.node.<node>.` or `api.service.<name>.`, all msgpack:

  request            {method, path, query, headers, body} -> {code, body | json}     queue group `apiserver`
  watch              {id, path, query}, the reply inbox takes the messages below      queue group `apiserver`
  watch.<id>.alive   {n, end}: the highest number seen; `end` asks the server to stop

Messages of a watch carry `t` and, from the first batch on, the number `n` of the last batch: `open`, `events` (`e`:
list of events, each a dict or JSON bytes), `beat` at least every 2 s, `end` (the server stops; resume elsewhere),
`error` (`status`). A client that hears nothing for 6 s, misses a number, or loses the broker resumes anew. The server
stops when it hears nothing for 30 s, and pauses while too much is unconfirmed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shared.errors import ApiError, BadRequest, InternalError

QUEUE = "apiserver"

BEAT_S = 2.0
SILENCE_S = 6.0
ALIVE_S = 10.0
ABANDONED_S = 30.0
# a client confirms at least this often while events flow, the server never has more than the window unconfirmed
CONFIRM_BYTES = 512 << 10
WINDOW_BYTES = 8 << 20
# several events of a backlog share a message, up to about this size
MESSAGE_BYTES = 512 << 10
# a longer answer is cut into parts
PART_BYTES = 1 << 20

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}

Event = dict[str, Any]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()
_json_decoder = msgspec.json.Decoder()


def pack(payload: Any) -> bytes:
    """Msgpack."""
    return _encoder.encode(payload)


def unpack(data: bytes) -> dict[str, Any]:
    """A msgpack map. BadRequest if it is anything else."""
    try:
        payload = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BadRequest(f"message is not msgpack: {exc}") from exc
    if not isinstance(payload, dict):
        raise BadRequest("message is not a map")
    return payload


def answer(code: int, body: Any) -> bytes:
    """The answer to a request; bytes are JSON that is passed on as it is."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return _encoder.encode({"code": code, "json": bytes(body)})
    return _encoder.encode({"code": code, "body": body})


def read_answer(data: bytes) -> tuple[int, Any]:
    """Code and body of an answer. InternalError if it is malformed."""
    try:
        payload = unpack(data)
        code = int(payload["code"])
        return code, read_json(payload["json"]) if "json" in payload else payload.get("body")
    except (ApiError, KeyError, TypeError, ValueError) as exc:
        raise InternalError(f"answer of the API server cannot be read: {exc}") from exc


def read_json(data: bytes) -> Any:
    """A JSON document; None for no bytes. ValueError if it is malformed."""
    return _json_decoder.decode(data) if data else None


def read_events(events: list[Any]) -> list[Event]:
    """The events of a message, decoded."""
    return [_json_decoder.decode(event) if isinstance(event, bytes) else event for event in events]
