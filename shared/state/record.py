"""One revision of an object as a process holds it: encoded until somebody looks, because a cache holds far more objects
than anyone reads, and a decoded Pod weighs ten times its bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from shared.bus.jetstream import EXPECTED
from shared.errors import StateError
from shared.events import envelope
from shared.events.envelope import Author
from shared.events.subjects import Ref
from shared.state import sharing
from shared.state.sharing import Pieces, Shares

NOBODY = Author("")

Form = TypeVar("Form", bound=msgspec.Struct)

_json = msgspec.json.Encoder()
_json_decoder = msgspec.json.Decoder(dict[str, Any])


# records that hold their object in decoded form, the longest ago decoded first
_decoded: deque[Record] = deque()
_most_decoded = 0
_lately_decoded = 0
_shares = Shares()


def keep_decoded(records: int) -> None:
    """Let only so many records of this process hold their object decoded; the others decode it again when asked.

    For a process that answers with JSON far more often than it looks into objects; others decode each once.
    """
    global _most_decoded
    _most_decoded = records


def forget_decoded() -> None:
    """Let the records that were decoded before the last call of this hold their object encoded only."""
    global _lately_decoded
    while len(_decoded) > _lately_decoded:
        _decoded.popleft()._object = None
    _lately_decoded = 0


class Record:
    """A revision: `ref`, `revision`, `object`, `json`, `author`, `cause`, `time` (unix seconds), `deleted`.

    `predecessor` is the revision of the object that this one replaced, 0 if there was none, -1 if it is not known.

    `object` is shared by every reader and must not be changed: copy it first.
    """

    __slots__ = (
        "_json",
        "_object",
        "_raw",
        "author",
        "cause",
        "deleted",
        "predecessor",
        "ref",
        "revision",
        "row",
        "time",
    )

    def __init__(
        self,
        ref: Ref,
        revision: int,
        raw: bytes,
        author: Author = NOBODY,
        cause: str = "",
        time: float = 0.0,
        deleted: bool = False,
        predecessor: int = -1,
    ) -> None:
        self.ref = ref
        self.revision = revision
        self.author = author
        self.cause = cause
        self.time = time
        self.deleted = deleted
        self.predecessor = predecessor
        # a form of the object that its readers make and keep here, to go with it
        self.row: Any = None
        self._raw: bytes | Pieces = raw
        self._object: dict[str, Any] | None = None
        self._json: bytes | Pieces | None = None

    @property
    def object(self) -> dict[str, Any]:
        """The object with its metadata.resourceVersion."""
        obj = self._object
        if obj is None:
            obj = self._object = self._decode()
            if not _most_decoded:
                # one form is enough
                self._raw = b""
                return obj
            global _lately_decoded
            _decoded.append(self)
            _lately_decoded += 1
            while len(_decoded) > _most_decoded:
                _decoded.popleft()._object = None
        return obj

    @property
    def size(self) -> int:
        """How many bytes its encoded form has, 0 if there is none at hand."""
        encoded = self._raw or self._json or b""
        return len(encoded) if isinstance(encoded, bytes) else sum(map(len, encoded))

    @property
    def has_json(self) -> bool:
        """Whether the JSON is at hand."""
        return self._json is not None

    def encode(self) -> None:
        """Make the JSON now, for whoever asks for it later."""
        _ = self.json

    @property
    def json(self) -> bytes:
        """The object as JSON, encoded once."""
        known = self._json
        if known is not None:
            return _whole(known)
        json = _json.encode(self._object if self._object is not None else self._decode())
        self._json = json if isinstance(self._raw, bytes) else _shares.divide(json, sharing.JSON)
        # one encoded form is enough
        self._raw = b""
        return json

    @property
    def pieces(self) -> Pieces:
        """The JSON, in the pieces that it is held in."""
        json = self.json if self._json is None else self._json
        return json if isinstance(json, tuple) else (json,)

    def divide(self) -> None:
        """Hold the encoded form in pieces that are shared with other objects, for it is going to stay."""
        if isinstance(self._json, bytes):
            self._json = _shares.divide(self._json, sharing.JSON)
        elif self._json is None and isinstance(self._raw, bytes):
            self._raw = _shares.divide(self._raw, sharing.MSGPACK)

    def adopt(self, json: bytes) -> None:
        """Take the JSON from whoever wrote the object and has it at hand; it must be what `json` would make."""
        if self._json is None:
            self._json = json
            # one encoded form is enough
            self._raw = b""

    @property
    def raw(self) -> bytes:
        """The object as msgpack, with or without metadata.resourceVersion."""
        raw = self._raw
        if not raw:
            return msgspec.msgpack.encode(self.object)
        return _whole(raw)

    def read(self, form: type[Form]) -> Form:
        """The few fields that `form` declares, without decoding the rest. StateError if one is of another type."""
        try:
            if self._object is not None:
                return msgspec.convert(self._object, form)
            if self._raw:
                return msgspec.msgpack.decode(_whole(self._raw), type=form)
            return msgspec.json.decode(_whole(self._json or b""), type=form)
        except msgspec.MsgspecError as exc:
            raise StateError(f"object at revision {self.revision}: {exc}") from exc

    def _decode(self) -> dict[str, Any]:
        if self._json is not None:
            return _json_decoder.decode(_whole(self._json))
        obj = envelope.decode_object(_whole(self._raw))
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict):
            raise StateError(f"object at revision {self.revision} has no metadata")
        metadata["resourceVersion"] = str(self.revision)
        return obj

    def __repr__(self) -> str:
        return f"<Record {self.ref} at {self.revision}{' deleted' if self.deleted else ''}>"


def _whole(encoded: bytes | Pieces) -> bytes:
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)


class Change(NamedTuple):
    """What a revision meant to a reader: `type` ADDED, MODIFIED or DELETED; `previous` the record before, if known."""

    type: str
    record: Record
    previous: Record | None
    revision: int


def predecessor_of(headers: Mapping[str, str] | None) -> int:
    """The revision that a message was written on top of: the broker keeps what the writer expected."""
    text = headers.get(EXPECTED, "") if headers else ""
    return int(text) if text.isdecimal() else -1


def from_message(
    ref: Ref, revision: int, data: bytes, headers: Mapping[str, str] | None, authors: dict[Author, Author]
) -> Record:
    """The record in a message; `authors` keeps one copy of each author. StateError if the message is no envelope."""
    decoded = envelope.decode(data)
    author = decoded.written_by
    return Record(
        ref,
        revision,
        bytes(decoded.obj),
        authors.setdefault(author, author),
        decoded.cause,
        decoded.time,
        decoded.op == envelope.DELETE,
        predecessor_of(headers),
    )
