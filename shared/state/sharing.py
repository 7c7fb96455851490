"""Equal parts of many objects are held once: pods of a template differ in a seventh of their bytes.

An encoded object is cut where a part begins or ends that it is likely to have in common with others: the fields of a
manager, and the spec. Wherever it is cut, the pieces joined are the same bytes again, so a mark that is met in some
other place costs a little memory and nothing else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Pieces = tuple[bytes, ...]

# cutting and looking up take some microseconds, and each piece forty bytes
SMALLEST_BYTES: Final = 1 << 10
SMALLEST_PIECE: Final = 256
# of pieces that are remembered: what is evicted is held by its objects as before, and not shared with later ones
MOST_BYTES: Final = 2 << 20


class Marks(NamedTuple):
    """Where parts begin: the fields of a manager, the next manager, what follows the managers, spec and status."""

    fields: bytes
    manager: bytes
    version: bytes
    spec: bytes
    status: bytes


JSON: Final = Marks(b'"fieldsV1":', b',{"manager":', b'"resourceVersion":', b'"spec":{', b',"status":{')
MSGPACK: Final = Marks(b"\xa8fieldsV1", b"\xa7manager", b"\xa4spec", b"\xa4spec", b"\xa6status")


class Shares:
    """The pieces that were seen last."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._known: dict[bytes, bytes] = {}
        self._held = 0
        self._most_bytes = most_bytes

    def divide(self, encoded: bytes, marks: Marks) -> bytes | Pieces:
        """The pieces of an encoded object, shared with others; the object itself if it is too small."""
        if len(encoded) < SMALLEST_BYTES:
            return encoded
        pieces = cut(encoded, marks)
        return tuple([self._share(one) if len(one) >= SMALLEST_PIECE else one for one in pieces])

    def _share(self, piece: bytes) -> bytes:
        known = self._known.setdefault(piece, piece)
        if known is piece:
            self._held += len(piece)
            if self._held > self._most_bytes:
                self._known.clear()
                self._held = 0
        return known


def cut(encoded: bytes, marks: Marks) -> list[bytes]:
    """The pieces of which an encoded object consists."""
    pieces: list[bytes] = []
    start = 0
    while (begin := encoded.find(marks.fields, start)) >= 0:
        end = encoded.find(marks.manager, begin)
        if end < 0:
            end = encoded.find(marks.version, begin)
        if end < 0:
            break
        pieces += (encoded[start:begin], encoded[begin:end])
        start = end
    begin = encoded.find(marks.spec, start)
    if begin >= 0:
        end = encoded.find(marks.status, begin)
        if end < 0:
            end = len(encoded)
        if begin > start:
            pieces.append(encoded[start:begin])
        pieces.append(encoded[begin:end])
        start = end
    if start < len(encoded):
        pieces.append(encoded[start:])
    return pieces
