"""DNS messages as bytes (RFC 1035): names, questions, answers that are assembled once and sent often.

Exists because a message library builds an object per record: assembling an answer ahead and copying it under the
question takes a few microseconds, so that one process answers tens of thousands of queries per second.
"""

import struct
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 16, 28, 33, 41
CLASS_IN = 1

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)

HEADER_SIZE = 12
# the largest UDP answer without EDNS (RFC 1035), and the largest that is sure not to be fragmented (DNS flag day 2020)
PLAIN_LIMIT = 512
EDNS_LIMIT = 1232
MAX_MESSAGE = 65535

# compression pointer to the question's name, which always follows the header
_QUESTION_NAME = b"\xc0\x0c"
_A_RECORD_SIZE = 16
_RECORD = struct.Struct("!HHIH")
_COUNTS = struct.Struct("!HHHH")
_ROOT = b"\0"
OPT_RECORD = b"\0" + struct.pack("!HHIH", OPT, EDNS_LIMIT, 0, 0)


class Question(NamedTuple):
    """What a query asks: `name` in lower case, `raw` the question section as it came, `limit` the largest UDP
    answer.
    """

    identity: bytes
    name: bytes
    kind: int
    recursion: bool
    raw: bytes
    edns: bool
    limit: int


class Answer(NamedTuple):
    """An answer without header and question; its pointers assume the question it was made for.

    `rotating` is the number of address records of sixteen bytes at the start, `extra` the bytes and `extras` the number
    of additional records at the end, which may be left out.
    """

    rcode: int
    answers: int
    authorities: int
    body: bytes
    rotating: int = 0
    extra: int = 0
    extras: int = 0


def encode_name(text: str) -> bytes:
    """The wire form of a name in lower case; ValueError for an empty or overlong label or name."""
    labels = [label.encode("idna") if not label.isascii() else label.encode() for label in text.rstrip(".").split(".")]
    if labels == [b""]:
        return _ROOT
    if any(not 1 <= len(label) <= 63 for label in labels):
        raise ValueError(f"DNS name {text!r} has a label that is empty or longer than 63 bytes")
    wire = b"".join(bytes((len(label),)) + label for label in labels).lower() + _ROOT
    if len(wire) > 255:
        raise ValueError(f"DNS name {text!r} is longer than 255 bytes")
    return wire


def decode_name(wire: bytes) -> str:
    """The text of an uncompressed name, with a dot at the end."""
    labels = []
    offset = 0
    while offset < len(wire) and wire[offset]:
        labels.append(wire[offset + 1 : offset + 1 + wire[offset]].decode("ascii", "backslashreplace"))
        offset += 1 + wire[offset]
    return ".".join(labels) + "."


def parent(wire: bytes) -> bytes:
    """The name without its first label."""
    return wire[1 + wire[0] :]


def parse_question(data: bytes) -> Question | int:
    """The question of a query, or the rcode that answers it, or -1 for what deserves no answer."""
    if len(data) < HEADER_SIZE or data[2] & 0x80:
        return -1
    if data[2] & 0x78:
        return NOTIMP
    if data[4:8] != b"\0\1\0\0":
        return FORMERR
    end = _name_end(data, HEADER_SIZE)
    if end < 0 or end + 4 > len(data):
        return FORMERR
    edns, limit = False, PLAIN_LIMIT
    if data[8:12] != b"\0\0\0\0":
        # one additional record, and that an OPT with the root's name, is what clients send
        if data[8:12] != b"\0\0\0\1" or data[end + 4 : end + 7] != b"\0\0\x29" or len(data) < end + 15:
            return FORMERR
        if data[end + 10]:
            return NOTIMP
        edns = True
        limit = min(EDNS_LIMIT, max(PLAIN_LIMIT, data[end + 7] << 8 | data[end + 8]))
    if data[end + 2 : end + 4] != b"\0\1":
        return REFUSED
    return Question(
        data[:2],
        data[HEADER_SIZE:end].lower(),
        data[end] << 8 | data[end + 1],
        bool(data[2] & 1),
        data[HEADER_SIZE : end + 4],
        edns,
        limit,
    )


def _name_end(data: bytes, offset: int) -> int:
    start = offset
    size = len(data)
    while offset < size:
        length = data[offset]
        if length == 0:
            return offset + 1 if offset + 1 - start <= 255 else -1
        if length > 63:
            return -1
        offset += 1 + length
    return -1


def reply(question: Question, answer: Answer, turn: int, limit: int, *, authoritative: bool = True) -> bytes:
    """The message that answers a question, at most `limit` bytes; addresses start at number `turn` of them.

    If it does not fit, additional records are left out; then as many answers as needed, and the client is told so.
    """
    rcode, answers, authorities, body, rotating, extra, extras = answer
    if rotating > 1 and (first := turn % rotating * _A_RECORD_SIZE):
        end = rotating * _A_RECORD_SIZE
        body = body[first:end] + body[:first] + body[end:]
    trailer = OPT_RECORD if question.edns else b""
    truncated = 0
    room = limit - HEADER_SIZE - len(question.raw) - len(trailer)
    if len(body) > room:
        if extra:
            body, extras = body[: len(body) - extra], 0
        if len(body) > room:
            truncated = 2
            answers, size = _fitting(body, answers, room)
            authorities = extras = 0
            body = body[:size]
    flags = bytes((0x80 | authoritative << 2 | truncated | question.recursion, 0x80 | rcode))
    counts = _COUNTS.pack(1, answers, authorities, extras + question.edns)
    return b"".join((question.identity, flags, counts, question.raw, body, trailer))


def skip_name(message: bytes, offset: int) -> int:
    """The offset behind a name that may be compressed; ValueError if it is malformed."""
    while offset < len(message):
        length = message[offset]
        if length >= 0xC0:
            return offset + 2
        if length > 63:
            break
        offset += 1 + length
        if length == 0:
            return offset
    raise ValueError("a name is cut off")


def _fitting(body: bytes, records: int, room: int) -> tuple[int, int]:
    """How many of the first records fit into so many bytes, and their size."""
    end = 0
    for count in range(records):
        fixed = skip_name(body, end)
        following = fixed + _RECORD.size + int.from_bytes(body[fixed + 8 : fixed + 10], "big")
        if following > room:
            return count, end
        end = following
    return records, end


def failure(data: bytes, rcode: int) -> bytes:
    """The message that refuses a query which could not be parsed."""
    return data[:2] + bytes((0x80 | data[2] & 0x79, rcode)) + bytes(8)


def refusal(question: Question, rcode: int) -> bytes:
    """The message that answers a question with an error only."""
    trailer = OPT_RECORD if question.edns else b""
    flags = bytes((0x80 | question.recursion, 0x80 | rcode))
    return question.identity + flags + _COUNTS.pack(1, 0, 0, question.edns) + question.raw + trailer


def record(kind: int, rdata: bytes, ttl_s: int, owner: bytes = _QUESTION_NAME) -> bytes:
    """One resource record, by default owned by the question's name."""
    return owner + _RECORD.pack(kind, CLASS_IN, ttl_s, len(rdata)) + rdata


def pointer(offset: int) -> bytes:
    """A compression pointer to an offset of the message below 16384."""
    return (0xC000 | offset).to_bytes(2, "big")


def srv(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """The data of a SRV record (RFC 2782: its target is not compressed)."""
    return struct.pack("!HHH", priority, weight, port) + target


def txt(text: str) -> bytes:
    """The data of a TXT record with one string."""
    raw = text.encode()
    return bytes((len(raw),)) + raw
